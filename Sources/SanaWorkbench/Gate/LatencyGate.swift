import SanaModel

/// Compares a profile with a baseline: a slow host is not a slow model.
///
/// The verdict is CPU time's, which is blind to what others take of the CPUs. The forward is
/// measured against the canary between its own blocks, to the power that the baseline shows, a
/// layer against the rest of its own forward: what slows everything down slows neither. A module is
/// slower where its ratio is above the limit: the threshold, or three standard deviations of the
/// difference between runs, whichever is larger. It passes only where a slowdown of the threshold
/// would have been found.
package enum LatencyGate {
    /// One comparison on one clock.
    package struct Effect: Sendable, Equatable {
        /// Medians in nanoseconds.
        package let baseline: Double
        package let candidate: Double
        package let comparison: RunComparison

        /// candidate / baseline, the host divided out.
        package var ratio: Double { comparison.ratio }
        package var pValue: Double { comparison.pValue }
        /// Holds `ratio` with a confidence of 95 %, the spread between runs included.
        package var interval: Interval { comparison.interval }
        /// candidate / baseline as they were measured.
        package var rawRatio: Double { candidate / baseline }

        fileprivate init?(
            _ path: String, _ new: [String: GateSeries], _ old: [String: GateSeries],
            _ spread: [String: GateSeries], fitted: Int = 0, leverage: Double = 0,
            hosts: Double = 0
        ) {
            guard let mine = new[path], let before = old[path],
                let comparison = RunComparison(
                    mine.runs, before.runs, spread: spread[path]?.runs, fitted: fitted,
                    leverage: leverage, hosts: hosts)
            else { return nil }
            (baseline, candidate) = (before.raw.median, mine.raw.median)
            self.comparison = comparison
        }
    }

    /// One module, or the forward.
    package struct Finding: Sendable, Equatable {
        package let path: String
        package let wall: Effect
        /// `nil` for runs of old versions.
        package let cpu: Effect?
        /// CPU time over the canary, candidate / baseline: of a layer too.
        package let absolute: Double?
        /// Part of the candidate's forward.
        package let share: Double
        /// Slowdown that is one.
        package var threshold = 0.0
        /// Slowdown above which it is a regression: at least `threshold`.
        package var limit = 0.0
        /// `.fail` is a regression.
        package var verdict = Verdict.inconclusive

        /// The clock that is shown first.
        package var decisive: Effect { cpu ?? wall }
        package var isTotal: Bool { path == Profile.totalPath }
        /// Whether it stands for itself in a run's verdict; other modules are contained in one that
        /// does, and are there to say where the time went.
        package var decides: Bool { isTotal || ModuleLevel(path: path) == .block }
    }

    package struct Result: Sendable {
        package var total: Finding
        /// In execution order.
        package var layers: [Finding]
        /// What disturbed the comparison, and why nothing can be told.
        package var doubts: [String]
        /// Median canaries, GFLOP/s.
        package let canary: (baseline: Double?, candidate: Double?)
        /// The exponent of the canary's rate, see `HostSensitivity`.
        package let sensitivity: Double
        /// Runs that do not count, as their threads ran on other cores than usual.
        package let leftOut: (baseline: Int, candidate: Int)

        package var findings: [Finding] { [total] + layers }
        package var verdict: Verdict {
            findings.map { $0.decides || $0.verdict == .fail ? $0.verdict : .pass }.max()
                ?? .inconclusive
        }
    }

    /// `nil` where the two have no forward in common.
    ///
    /// - Parameters:
    ///   - candidates: the run to judge, or several of one model to judge together.
    ///   - neighbours: runs of the same series that tell how much runs differ: their forwards,
    ///     where they are more than the baseline has, and their layers, where that has too few.
    package static func compare(
        _ candidates: [GateSamples], with baseline: [GateSamples],
        neighbours: [GateSamples] = [], _ options: GateOptions
    ) -> Result? {
        let distances = CoreDistances(ofRuns: baseline + neighbours)
        let isElsewhere = [candidates, baseline].contains { runs in
            runs.allSatisfy { $0.placed(distances) == nil }
        }
        func placed(_ runs: [GateSamples]) -> [GateSamples] {
            isElsewhere ? runs : runs.compactMap { $0.placed(distances) }
        }
        let all = (baseline: baseline.count, candidate: candidates.count)
        let (candidates, baseline) = (placed(candidates), placed(baseline))
        let neighbours = placed(neighbours)
        let forwards = neighbours.count > baseline.count ? neighbours : baseline
        let tellsOfLayers = forwards.contains { !$0.layers.isEmpty }
        let isShort = baseline.count < GateOptions.fewestRuns && tellsOfLayers
        let spreading = isShort ? forwards : baseline
        let sensitivity = HostSensitivity(of: forwards)
        let leverage = sensitivity.leverage(candidates)
        let new = GatePool(candidates, sensitivity: sensitivity.exponent)
        let old = GatePool(baseline, sensitivity: sensitivity.exponent)
        let spread = isShort ? GatePool(spreading, sensitivity: sensitivity.exponent) : old
        let forwardSpread = GatePool(
            forwards.map(\.forward), sensitivity: sensitivity.exponent)
        let hosts = errorOfLoad(new, old)
        func find(_ path: String, forward: Double?) -> Finding? {
            let isTotal = path == Profile.totalPath
            guard isTotal else { return finding(path, new, old, spread, forward: forward) }
            return finding(
                path, new, old, forwardSpread, forward: forward, fitted: sensitivity.fitted,
                leverage: leverage, hosts: hosts)
        }
        guard let total = find(Profile.totalPath, forward: nil) else { return nil }
        let layers = new.paths.filter { ModuleLevel(path: $0) != .inner }
            .compactMap { find($0, forward: total.wall.candidate) }
            .filter { $0.share >= options.smallestShare }
        var result = Result(
            total: total, layers: layers, doubts: hostDoubts(new, old, options),
            canary: (old.canary, new.canary), sensitivity: sensitivity.exponent,
            leftOut: (all.baseline - baseline.count, all.candidate - candidates.count))
        let scarcity = scarcity(new, spreading.count, total, isElsewhere: isElsewhere)
        judge(&result, runs: candidates.count, isScarce: !scarcity.isEmpty, options)
        if result.doubts.isEmpty, let doubt = lostParallelism(result.total) {
            result.doubts.append(doubt)
            if result.total.verdict == .pass { result.total.verdict = .inconclusive }
        }
        result.doubts = scarcity + result.doubts
        return result
    }

    private static func finding(
        _ path: String, _ new: GatePool, _ old: GatePool, _ spread: GatePool, forward: Double?,
        fitted: Int = 0, leverage: Double = 0, hosts: Double = 0
    ) -> Finding? {
        guard let wall = Effect(path, new.wall, old.wall, spread.wall) else { return nil }
        var absolute: Double?
        if let mine = new.cpu[path]?.absolute, let before = old.cpu[path]?.absolute {
            absolute = RunComparison(mine, before)?.ratio
        }
        return Finding(
            path: path, wall: wall,
            cpu: Effect(
                path, new.cpu, old.cpu, spread.cpu, fitted: fitted, leverage: leverage,
                hosts: hosts),
            absolute: absolute, share: forward.map { wall.candidate / $0 } ?? 1)
    }

    /// Processes that take turns on a CPU empty each other's caches, which costs the model somewhat
    /// more than the canary: 2.7 % where one of two CPUs was busy and had not been before, on a
    /// host where runs differ by 1.2 % (reports/gate.md).
    private static func errorOfLoad(_ new: GatePool, _ old: GatePool) -> Double {
        guard let now = new.otherLoad, let before = old.otherLoad else { return 0 }
        return GateOptions.errorOfLoad * abs(now - before)
    }

    private static func judge(
        _ result: inout Result, runs: Int, isScarce: Bool, _ options: GateOptions
    ) {
        let blocks = result.layers.count(where: \.decides)
        let others = result.layers.count - blocks
        func judge(_ finding: inout Finding) {
            let level =
                finding.isTotal
                ? GateOptions.levels.forward
                : finding.decides
                    ? min(GateOptions.levels.forward, GateOptions.levels.blocks / Double(blocks))
                    : min(GateOptions.levels.forward, GateOptions.levels.others / Double(others))
            finding.threshold = options.threshold(
                finding.path, share: finding.share, runs: runs)
            guard let cpu = finding.cpu else { return }
            finding.limit = max(finding.threshold, cpu.comparison.reach(level: level))
            // Where another module got faster, all others take more of the rest.
            let isItself = finding.isTotal || (finding.absolute ?? 0) > 1 + finding.threshold / 2
            if isScarce {
                finding.verdict = .inconclusive
            } else if cpu.ratio > 1 + finding.limit, isItself {
                finding.verdict = .fail
            } else {
                finding.verdict = finding.limit > finding.threshold ? .inconclusive : .pass
            }
        }
        judge(&result.total)
        for index in result.layers.indices { judge(&result.layers[index]) }
    }

    /// Why so few measurements can tell nothing; empty where they can.
    private static func scarcity(
        _ new: GatePool, _ runs: Int, _ total: Finding, isElsewhere: Bool
    ) -> [String] {
        var result: [String] = []
        if isElsewhere {
            result.append(
                "in one of the two, threads ran on other cores than usual (see core_distance_ns): "
                    + "profile again")
        }
        if total.cpu == nil {
            result.append("CPU time was not read with the threads' clocks: profile again")
        }
        if runs < GateOptions.fewestRuns {
            result.append(
                "\(runs) run\(runs == 1 ? " does" : "s do") not show how much runs vary: record at "
                    + "least \(GateOptions.fewestRuns)")
        }
        if new.repetitions < GateOptions.fewestRepetitions {
            result.append(
                "\(new.repetitions) repetitions are too few: profile with --repeat "
                    + "\(GateOptions.fewestRepetitions) or more, or without --repeat")
        }
        return result
    }

    /// More wall time with the same CPU time, on a host that is as it was.
    private static func lostParallelism(_ total: Finding) -> String? {
        guard let cpu = total.cpu, total.verdict != .fail,
            total.wall.ratio > 1 + GateOptions.lostParallelism, total.wall.pValue < 0.001
        else { return nil }
        return
            "wall time rose by \(Format.percent(total.wall.ratio - 1)) against the canary, CPU time "
            + "by \(Format.percent(max(0, cpu.ratio - 1))): threads wait for each other, or for the host"
    }

    /// Ways in which the host was slower or busier; they silence no verdict.
    private static func hostDoubts(
        _ new: GatePool, _ old: GatePool, _ options: GateOptions
    ) -> [String] {
        var result: [String] = []
        if let now = new.canaryCPU, let before = old.canaryCPU,
            now < before * (1 - options.canaryTolerance)
        {
            result.append(
                "the host was slower: its canary ran at \(Format.decimal(now, digits: 1)) GFLOP per "
                    + "CPU second, \(Format.percent(1 - now / before)) below the baseline's")
        }
        if let load = new.otherLoad, load > (old.otherLoad ?? 0) + options.loadTolerance {
            result.append(
                "the host was busier: other processes took \(Format.percent(load)) of the CPUs, "
                    + "\(Format.percent(old.otherLoad ?? 0)) in the baseline")
        }
        return result
    }
}
