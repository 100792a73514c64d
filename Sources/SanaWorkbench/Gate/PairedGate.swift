import Foundation

/// Judges a paired profile: the forward by its times, a block as a part of its own forward.
package enum PairedGate {
    /// One comparison on one clock.
    package struct Effect: Sendable, Equatable {
        /// Medians in nanoseconds.
        package let baseline: Double
        package let candidate: Double
        /// candidate / baseline: Hodges and Lehmann's estimate over the pairs; of a block, of its
        /// time over the rest of its forward.
        package let ratio: Double
        /// Holds it with a confidence of 95 %.
        package let interval: Interval?
        /// Wilcoxon's.
        package let pValue: Double

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

    package struct Finding: Sendable, Equatable {
        package let path: String
        package let wall: Effect
        package let cpu: Effect
        package var verdict = Verdict.pass

        /// The clock that verdicts go by.
        package var decisive: Effect { cpu }
    }

    package struct Result: Sendable {
        /// The forward, then the blocks in execution order.
        package let findings: [Finding]
        /// Why nothing can be told, and what disturbed it; empty where nothing did.
        package let doubts: [String]
        package let verdict: Verdict
    }

    /// The verdict is CPU time's, at any load: what others take of the CPUs is not in it.
    package static func judge(_ profile: PairedProfile) -> Result {
        let options = profile.options
        var findings = [finding(profile.total, in: nil)].compactMap { $0 }
        findings += profile.blocks.compactMap { finding($0, in: profile.total) }
        let pValues = findings.map(\.cpu.pValue)
        let cutoff = Holm.cutoff(pValues, level: options.level)
        let fewest = Wilcoxon.fewestPairs(level: options.level / Double(max(1, pValues.count)))
        let isScarce = profile.total.pairs.count < fewest
        var doubts: [String] = []
        if isScarce {
            doubts.append(
                "\(profile.total.pairs.count) pairs are too few: --pairs must be at least \(fewest)"
            )
        }
        for index in findings.indices {
            let isTotal = findings[index].path == Profile.totalPath
            findings[index].verdict = verdict(
                findings[index].cpu,
                threshold: isTotal ? options.threshold : options.blockThreshold,
                cutoff: cutoff, isScarce: isScarce)
        }
        if let doubt = lostParallelism(&findings, options) { doubts.append(doubt) }
        if let load = profile.otherLoad, load > options.loadTolerance {
            doubts.append("other processes took \(Format.percent(load)) of the CPUs")
        }
        return Result(
            findings: findings, doubts: doubts,
            verdict: findings.map(\.verdict).max() ?? .inconclusive)
    }

    /// A pass takes an interval that ends below the threshold: what it holds could be the truth.
    private static func verdict(
        _ effect: Effect, threshold: Double, cutoff: Double, isScarce: Bool
    ) -> Verdict {
        if isScarce { return .inconclusive }
        if effect.ratio > 1 + threshold, effect.pValue <= cutoff { return .fail }
        guard let interval = effect.interval else { return .inconclusive }
        return interval.high > 1 + threshold ? .inconclusive : .pass
    }

    /// More wall time with the same CPU time on a quiet host, which makes the forward inconclusive.
    private static func lostParallelism(
        _ findings: inout [Finding], _ options: PairedProfile.Options
    ) -> String? {
        guard let total = findings.first, total.path == Profile.totalPath, total.verdict == .pass,
            total.wall.ratio > 1 + GateOptions.lostParallelism, total.wall.pValue <= options.level
        else { return nil }
        findings[0].verdict = .inconclusive
        return
            "wall time rose by \(Format.percent(total.wall.ratio - 1)) with the same CPU time: threads "
            + "wait for each other, or for the host"
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
