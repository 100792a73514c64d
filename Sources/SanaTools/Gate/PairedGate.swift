import Foundation

/// Judges a paired profile: the forward by its times, a block as a part of its own forward.
enum PairedGate {
    /// One comparison on one clock.
    struct Effect: Sendable, Equatable {
        /// Medians in nanoseconds.
        let baseline: Double
        let candidate: Double
        /// candidate / baseline: Hodges and Lehmann's estimate over the pairs; of a block, of its time
        /// over the rest of its forward.
        let ratio: Double
        /// Holds it with a confidence of 95 %.
        let interval: Interval?
        /// Wilcoxon's.
        let pValue: Double

        fileprivate init(_ pairs: [(candidate: Double, baseline: Double)], _ ratios: [Double]) {
            (baseline, candidate) = (
                pairs.map(\.baseline).median, pairs.map(\.candidate).median
            )
            let shift = HodgesLehmann(ratios)
            ratio = exp(shift.estimate)
            interval = shift.interval.map { Interval(low: exp($0.low), high: exp($0.high)) }
            pValue = Wilcoxon(ratios).pValue
        }
    }

    struct Finding: Sendable, Equatable {
        let path: String
        let wall: Effect
        let cpu: Effect
        var verdict = Verdict.pass

        /// The clock that tells more of it.
        var decisive: Effect { wall.pValue < cpu.pValue ? wall : cpu }
    }

    struct Result: Sendable {
        /// The forward, then the blocks in execution order.
        let findings: [Finding]
        /// Why nothing, or no regression, can be told; empty where it can.
        let doubts: [String]
        let verdict: Verdict
    }

    static func judge(_ profile: PairedProfile) -> Result {
        let options = profile.options
        var findings = [finding(profile.total, in: nil)].compactMap { $0 }
        findings += profile.blocks.compactMap { finding($0, in: profile.total) }
        let pValues = findings.flatMap { [$0.wall.pValue, $0.cpu.pValue] }
        let cutoff = Holm.cutoff(pValues, level: options.level)
        let fewest = Wilcoxon.fewestPairs(level: options.level / Double(max(1, pValues.count)))
        var doubts: [String] = []
        if profile.total.pairs.count < fewest {
            doubts.append(
                "\(profile.total.pairs.count) pairs cannot tell: --pairs must be at least \(fewest)"
            )
        }
        let isScarce = !doubts.isEmpty
        if let load = profile.otherLoad, load > options.loadTolerance {
            doubts.append(
                "other processes took \(Format.percent(load)) of the processors: repeat it on a "
                    + "quieter machine")
        }
        for index in findings.indices {
            let isTotal = findings[index].path == Profile.totalPath
            let limit = 1 + (isTotal ? options.threshold : options.blockThreshold)
            let isSlow = [findings[index].cpu, findings[index].wall].contains {
                $0.ratio > limit && $0.pValue <= cutoff
            }
            if isSlow { findings[index].verdict = doubts.isEmpty ? .fail : .inconclusive }
            if isScarce { findings[index].verdict = .inconclusive }
        }
        return Result(
            findings: findings, doubts: doubts,
            verdict: findings.map(\.verdict).max() ?? .inconclusive)
    }

    private static func finding(
        _ samples: PairedProfile.Samples, in total: PairedProfile.Samples?
    ) -> Finding? {
        guard !samples.pairs.isEmpty else { return nil }
        func effect(_ time: (PairedProfile.Times) -> Double) -> Effect {
            let pairs = samples.pairs.map { (time($0.candidate), time($0.baseline)) }
            guard let total else {
                return Effect(pairs, pairs.map { log(max($0, 1) / max($1, 1)) })
            }
            let ratios = zip(pairs, total.pairs).map { pair, whole in
                let mine = pair.0 / max(time(whole.candidate) - pair.0, 1)
                let theirs = pair.1 / max(time(whole.baseline) - pair.1, 1)
                return log(max(mine, 1e-12) / max(theirs, 1e-12))
            }
            return Effect(pairs, ratios)
        }
        return Finding(path: samples.path, wall: effect(\.wall), cpu: effect(\.cpu))
    }
}
