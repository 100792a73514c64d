import Foundation
import SanaModel

/// Judges recorded runs by those before them.
package struct Gate {
    /// What a run is compared with.
    package enum Baseline: Sendable, Equatable {
        /// So many runs of the same series just before it.
        case last(Int)
        /// The runs that have this name.
        case named(String)
        /// Just these runs, whatever their series.
        case runs([Int64])
    }

    package let store: HistoryStore
    package var options = GateOptions()
    package var baseline = Baseline.last(10)
    /// Newest runs of a series that are judged together.
    package var candidates = 1

    package init(
        store: HistoryStore, options: GateOptions = GateOptions(),
        baseline: Baseline = .last(10), candidates: Int = 1
    ) {
        (self.store, self.options, self.baseline) = (store, options, baseline)
        self.candidates = candidates
    }

    /// One run's judgement.
    package struct Judgement: Sendable {
        package let run: RunSummary
        package let baseline: [RunSummary]
        /// Runs of the series just before it that are judged with it.
        package var pooled: [RunSummary] = []
        package var latency: LatencyGate.Result?
        /// The cumulative sum of a profile's series; `nil` where it has too few runs.
        package var drift: DriftGate.Finding?
        package var accuracy: [AccuracyGate.Finding] = []
        /// Layers that the run has and its baseline lacks, or the other way round.
        package var unmatched: [String] = []
        /// Why nothing could be compared.
        package var reason: String?
        /// Whether the baseline has other weights, so that small changes of errors are expected.
        package var isOfOtherWeights = false
        /// What the comparison with the baseline comes to.
        package var change = Verdict.pass

        /// Why the run's own verification failed, whatever it is compared with; `nil` of a profile.
        package var failure: String? { run.failure }

        package var verdict: Verdict {
            if failure != nil { return .fail }
            let isOpen = run.run.verdict == Verdict.inconclusive.rawValue
            return isOpen ? max(change, .inconclusive) : change
        }

        /// How bad it is: a failed verification is worse than anything a comparison finds.
        package var rank: Int {
            if failure != nil { return 3 }
            return switch verdict {
            case .pass: 0
            case .inconclusive: 1
            case .fail: 2
            }
        }
    }

    /// Judges `ids`, or the newest run of every series that has one in the last day of the history.
    ///
    /// - Throws: `HistoryError`.
    package func judge(_ ids: [Int64] = []) throws -> [Judgement] {
        let chosen = try ids.isEmpty ? store.newestOfTheLastDay() : ids.map(store.summary)
        if chosen.isEmpty { throw HistoryError.noSuchRun(store.path, nil) }
        return try chosen.map(judge)
    }

    private func judge(_ run: RunSummary) throws -> Judgement {
        let series = run.joined.seriesId
        var pooled: [RunSummary] = []
        let baselineRuns: [RunSummary]
        var isItsOwn = false
        switch baseline {
        case .last(let count):
            pooled = try store.runs(ofSeries: series, before: run, limit: candidates - 1)
            baselineRuns = try baselines(of: run, before: pooled.first ?? run, limit: count)
        case .named(let name):
            let named = try store.runs(ofBaseline: name)
            let ids = Set(named.map(\.joined.id))
            pooled = try store.runs(
                ofSeries: series, before: run, limit: candidates - 1 + ids.count
            ).filter { !ids.contains($0.joined.id) }.suffix(candidates - 1)
            // A run that became the baseline says nothing of itself.
            baselineRuns = named.filter {
                $0.joined.seriesId == series && $0.joined.id != run.joined.id && $0.run.isSound
            }
            isItsOwn = ids.contains(run.joined.id)
        case .runs(let ids):
            baselineRuns = try ids.map(store.summary)
        }
        var result = Judgement(run: run, baseline: baselineRuns, pooled: pooled)
        guard !baselineRuns.isEmpty else {
            if case .named(let name) = baseline {
                result.reason =
                    isItsOwn
                    ? "baseline '\(name.printable)' is this run itself: record another with "
                        + "'sana-tools \(run.run.kind.printable)', then run the gate again"
                    : "baseline '\(name.printable)' has no run of this series"
                result.change = .inconclusive
            } else {
                let earlier = try store.runs(ofSeries: series, before: run, limit: 1)
                result.reason =
                    earlier.isEmpty
                    ? "the first run of its series"
                    : pooled.isEmpty
                        ? "no earlier run of its series passed on a golden of its own weights"
                        : "no earlier run of its series"
            }
            return result
        }
        if run.run.kind == RunRecord.Kind.profile.rawValue {
            try compareLatency(&result)
        } else {
            try compareAccuracy(&result)
        }
        return result
    }

    /// The runs of a series that `run` is compared with: those that passed on a golden of their own
    /// weights. A run that was itself allowed another golden is compared with others like it, too.
    private func baselines(
        of run: RunSummary, before: RunSummary, limit: Int
    ) throws -> [RunSummary] {
        let series = run.joined.seriesId
        guard run.run.allowed else {
            return try store.runs(ofSeries: series, before: before, areSound: true, limit: limit)
        }
        return try store.runs(ofSeries: series, before: before, limit: 2 * limit)
            .filter { $0.run.verdict == Verdict.pass.rawValue }.suffix(limit)
    }

    private func compareLatency(_ result: inout Judgement) throws {
        let candidates = try (result.pooled + [result.run]).map(store.gateSamples)
        let baseline = try result.baseline.map(store.gateSamples)
        let earlier = try store.runs(
            ofSeries: result.run.joined.seriesId, before: result.pooled.first ?? result.run,
            areSound: true, limit: GateOptions.spreadRuns)
        // A baseline of few runs does not tell how much runs differ; those before it do.
        let neighbours =
            baseline.count >= GateOptions.fewestRuns
            ? try earlier.map(store.forwardSamples)
            : try earlier.suffix(10).map(store.gateSamples)
        let latency = LatencyGate.compare(
            candidates, with: baseline, neighbours: neighbours, options)
        guard let latency else {
            result.reason = "one of them has no samples, or no canary samples (from an old version)"
            result.change = .inconclusive
            return
        }
        result.unmatched = Self.difference(
            candidates.flatMap { $0.layers.map(\.path) }, baseline.flatMap { $0.layers.map(\.path) }
        )
        (result.latency, result.change) = (latency, latency.verdict)
        if case .runs = self.baseline { return }
        let pinned =
            if case .named = self.baseline {
                result.baseline.last?.joined.id
            } else { try store.pinnedRun(like: result.run) }
        result.drift = DriftGate.judge(try store.nights(through: result.run), pinned: pinned)
        if result.drift?.isAlarm == true { result.change = .fail }
    }

    private func compareAccuracy(_ result: inout Judgement) throws {
        let layers = try store.run(result.run.joined.id).1
        // Errors of the same weights are the same to the bit, those of others are about as large.
        let same = result.baseline.filter { $0.joined.digest == result.run.joined.digest }
        result.isOfOtherWeights = same.isEmpty
        let baseline = try (same.isEmpty ? result.baseline : same).map {
            try store.run($0.joined.id).1
        }
        result.accuracy = AccuracyGate.compare(
            layers, with: baseline,
            largestRatio: !same.isEmpty
                ? 1 + options.errorRise
                : result.run.isQuantized
                    ? AccuracyGate.ratioOfOtherInt8 : AccuracyGate.ratioOfOtherFloats)
        result.unmatched = Self.difference(layers.map(\.path), baseline.joined().map(\.path))
        result.change = result.accuracy.map(\.verdict).max() ?? .inconclusive
        if result.accuracy.isEmpty { result.reason = "no layer in common with the baseline" }
    }

    /// Names in one list only, in order.
    private static func difference(_ left: [String], _ right: [String]) -> [String] {
        let (mine, theirs) = (Set(left), Set(right))
        return mine.symmetricDifference(theirs).sorted()
    }
}
