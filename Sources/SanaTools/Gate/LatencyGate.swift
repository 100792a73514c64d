/// Compares a profile with a baseline: a slow host is not a slow model.
///
/// Two clocks are read. Processor time is blind to what others take of the processors, so it tells
/// whether a model does more work on any host; the wall clock also tells of lost parallelism, on a
/// quiet host. The forward is measured against the canary beside it, a layer against the rest of its
/// own forward: what slows everything down slows neither. A regression takes the size of the effect,
/// a rank test on the samples and the agreement of the host.
enum LatencyGate {
    /// One comparison on one clock.
    struct Effect: Sendable, Equatable {
        /// Medians in nanoseconds.
        let baseline: Double
        let candidate: Double
        /// candidate / baseline, the host taken out.
        let ratio: Double
        let pValue: Double
        /// The smallest one that so many samples can have.
        let leastPValue: Double
        /// See `GateSeries.spread`, of the baseline.
        let spread: Double
        private let samples: [[Double]]

        /// - Parameter byRuns: compare medians of the runs' medians, not of all samples.
        init(_ candidate: GateSeries, _ baseline: GateSeries, byRuns: Bool = false) {
            self.baseline = baseline.raw.median
            self.candidate = candidate.raw.median
            ratio =
                byRuns
                ? candidate.runMedians.median / baseline.runMedians.median
                : candidate.adjusted.median / baseline.adjusted.median
            samples = [candidate.adjusted, baseline.adjusted]
            spread = baseline.spread
            let test = MannWhitney(larger: candidate.adjusted, smaller: baseline.adjusted)
            (pValue, leastPValue) = (test.pValue, test.leastPValue)
        }

        /// Holds `ratio` with a confidence of 95 %.
        var interval: Interval? { Bootstrap.ratioOfMedians(samples[0], to: samples[1]) }

        /// candidate / baseline as they were measured.
        var rawRatio: Double { candidate / baseline }
    }

    /// One module, or the forward.
    struct Finding: Sendable, Equatable {
        let path: String
        let wall: Effect
        /// `nil` for runs of old versions.
        let cpu: Effect?
        /// Part of the candidate's forward.
        let share: Double
        /// `.fail` is a regression.
        var verdict = Verdict.pass

        /// The clock that the verdict goes by.
        var decisive: Effect { cpu ?? wall }
    }

    struct Result: Sendable {
        var total: Finding
        /// In execution order.
        var layers: [Finding]
        /// Why the host cannot be trusted; empty where it can.
        let doubts: [String]
        /// Median canaries, GFLOP/s.
        let canary: (baseline: Double?, candidate: Double?)

        var findings: [Finding] { [total] + layers }
        var verdict: Verdict { findings.map(\.verdict).max() ?? .pass }
    }

    /// `nil` where the two have no forward in common.
    ///
    /// - Parameter candidates: the run to judge, or several of one model to judge together.
    static func compare(
        _ candidates: [GateSamples], with baseline: [GateSamples], _ options: GateOptions
    ) -> Result? {
        let (new, old) = (GatePool(candidates), GatePool(baseline))
        guard var total = finding(Profile.totalPath, new, old, forward: nil) else { return nil }
        let canaryDoubts = canaryDoubts(new, old, options)
        let loadDoubts = loadDoubts(new, old, options)
        let doubts = canaryDoubts + loadDoubts
        total.verdict = verdict(
            total, isDoubtful: !doubts.isEmpty,
            isSlower: {
                $0.pValue <= options.level
                    && $0.ratio > options.limit(Profile.totalPath, spread: $0.spread)
            })
        let isSlowByTheClock =
            total.wall.rawRatio > 1 + options.threshold
            && MannWhitney(
                larger: new.wall[total.path]?.raw ?? [], smaller: old.wall[total.path]?.raw ?? []
            ).pValue <= options.level
        if total.verdict == .pass, isSlowByTheClock, !doubts.isEmpty {
            total.verdict = .inconclusive
        }
        let (layers, sampleDoubts) = compareLayers(
            new, old, total.wall.candidate, options,
            !(options.isPooled ? loadDoubts : doubts).isEmpty)
        return Result(
            total: total, layers: layers, doubts: doubts + sampleDoubts,
            canary: (old.canary, new.canary))
    }

    private static func compareLayers(
        _ new: GatePool, _ old: GatePool, _ forward: Double, _ options: GateOptions,
        _ isDoubtful: Bool
    ) -> (layers: [Finding], doubts: [String]) {
        var layers = new.paths.filter(isJudged).compactMap {
            finding($0, new, old, forward: forward, byRuns: options.isPooled)
        }
        .filter { $0.share >= options.smallestShare }
        let pValues = layers.flatMap { [$0.wall.pValue] + [$0.cpu?.pValue].compactMap { $0 } }
        let cutoff = Holm.cutoff(pValues, level: options.level)
        var undecided: [String] = []
        for index in layers.indices {
            let layer = layers[index]
            func verdict(upTo limit: Double, isDoubtful: Bool) -> Verdict {
                Self.verdict(
                    layer, isDoubtful: isDoubtful,
                    isSlower: {
                        $0.pValue <= limit
                            && $0.ratio > options.limit(layer.path, spread: $0.spread)
                    })
            }
            layers[index].verdict = verdict(upTo: cutoff, isDoubtful: isDoubtful)
            // What could not be significant among so many tests must not pass for the same.
            if layers[index].verdict == .pass,
                layer.decisive.leastPValue > options.level / Double(pValues.count),
                verdict(upTo: options.level, isDoubtful: true) != .pass
            {
                layers[index].verdict = .inconclusive
                undecided.append(layer.path)
            }
        }
        guard let first = undecided.first, let samples = new.wall[first]?.raw.count else {
            return (layers, [])
        }
        let others = undecided.count > 1 ? " and \(undecided.count - 1) more" : ""
        return (
            layers,
            [
                "\(first)\(others) took longer, which \(samples) repetitions are too few to be sure of: "
                    + "profile with a larger --repeat"
            ]
        )
    }

    /// Modules of the first levels, blocks and their parts: a single product is too short to judge.
    private static func isJudged(_ path: String) -> Bool {
        path.split(separator: ".").count <= (path.hasPrefix("transformer_blocks.") ? 3 : 1)
    }

    /// Regress where processor time says so and the clock does not deny it, or the clock alone by much,
    /// on a host that is as it was.
    private static func verdict(
        _ finding: Finding, isDoubtful: Bool, isSlower: (Effect) -> Bool
    ) -> Verdict {
        let isSlow: Bool
        if let cpu = finding.cpu {
            let lostThreads = finding.wall.ratio > 1 + clockAlone && isSlower(finding.wall)
            isSlow = isSlower(cpu) && finding.wall.ratio > 1 || lostThreads
        } else {
            isSlow = isSlower(finding.wall)
        }
        guard isSlow else { return .pass }
        return isDoubtful ? .inconclusive : .fail
    }

    /// Slowdown that the clock must show where processor time shows none.
    private static let clockAlone = 0.2

    private static func finding(
        _ path: String, _ new: GatePool, _ old: GatePool, forward: Double?, byRuns: Bool = false
    ) -> Finding? {
        guard let mine = new.wall[path], let before = old.wall[path] else { return nil }
        var cpu: Effect?
        if let mine = new.cpu[path], let before = old.cpu[path] {
            cpu = Effect(mine, before, byRuns: byRuns)
        }
        return Finding(
            path: path, wall: Effect(mine, before, byRuns: byRuns), cpu: cpu,
            share: forward.map { mine.raw.median / $0 } ?? 1)
    }

    /// Ways in which the host was slower than the baseline's.
    private static func canaryDoubts(
        _ new: GatePool, _ old: GatePool, _ options: GateOptions
    ) -> [String] {
        guard let now = new.canaryCPU, let before = old.canaryCPU,
            now < before * (1 - options.canaryTolerance)
        else { return [] }
        return [
            "the host's canary ran at \(Format.decimal(now, digits: 1)) GFLOP per processor "
                + "second, \(Format.percent(1 - now / before)) below the baseline's"
        ]
    }

    /// Ways in which it was busier.
    private static func loadDoubts(
        _ new: GatePool, _ old: GatePool, _ options: GateOptions
    ) -> [String] {
        guard new.canaryCPU != nil, old.canaryCPU != nil, let load = new.otherLoad,
            load > (old.otherLoad ?? 0) + options.loadTolerance
        else { return [] }
        return [
            "other processes took \(Format.percent(load)) of the processors, "
                + "\(Format.percent(old.otherLoad ?? 0)) in the baseline"
        ]
    }
}
