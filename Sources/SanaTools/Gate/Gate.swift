import Foundation
import SanaModel

/// Judges recorded runs by those before them.
struct Gate {
    /// What a run is compared with.
    enum Baseline: Sendable, Equatable {
        /// So many runs of the same series just before it.
        case last(Int)
        /// The runs that have this name.
        case named(String)
        /// Just these runs, whatever their series.
        case runs([Int64])
    }

    let store: HistoryStore
    var options = GateOptions()
    var baseline = Baseline.last(10)
    /// Newest runs of a series that are judged together.
    var candidates = 1

    /// One run's judgement.
    struct Judgement: Sendable {
        let run: RunSummary
        let baseline: [RunSummary]
        /// Runs of the series just before it that are judged with it.
        var pooled: [RunSummary] = []
        var latency: LatencyGate.Result?
        var accuracy: [AccuracyGate.Finding] = []
        /// Layers that the run has and its baseline lacks, or the other way round.
        var unmatched: [String] = []
        /// Why nothing could be compared.
        var reason: String?
        var verdict = Verdict.pass
    }

    /// Judges `ids`, or the newest run of every series that has one in the last day of the history.
    ///
    /// - Throws: `HistoryError`.
    func judge(_ ids: [Int64] = []) throws -> [Judgement] {
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
            baselineRuns = try store.runs(
                ofSeries: series, before: pooled.first ?? run, areSound: true, limit: count)
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
                    ? "baseline '\(name.printable)' is this very run: record another with "
                        + "'sana-tools \(run.run.kind.printable)', then run the gate again"
                    : "baseline '\(name.printable)' has no run of this series"
                result.verdict = .inconclusive
            } else {
                result.reason =
                    pooled.isEmpty
                    ? "the first run of its series" : "no run of its series before those judged"
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

    private func compareLatency(_ result: inout Judgement) throws {
        let candidates = try (result.pooled + [result.run]).map(store.gateSamples)
        var options = options
        options.isPooled = candidates.count >= GateOptions.fewestPooled
        let baseline = try result.baseline.map(store.gateSamples)
        guard let latency = LatencyGate.compare(candidates, with: baseline, options) else {
            result.reason = "one of them has no samples, or none of the host (an old version's)"
            result.verdict = .inconclusive
            return
        }
        result.unmatched = Self.difference(
            candidates.flatMap { $0.layers.map(\.path) }, baseline.flatMap { $0.layers.map(\.path) }
        )
        (result.latency, result.verdict) = (latency, latency.verdict)
    }

    private func compareAccuracy(_ result: inout Judgement) throws {
        let layers = try store.run(result.run.joined.id).1
        let baseline = try result.baseline.map { try store.run($0.joined.id).1 }
        result.accuracy = AccuracyGate.compare(layers, with: baseline, options)
        result.unmatched = Self.difference(layers.map(\.path), baseline.joined().map(\.path))
        result.verdict = result.accuracy.map(\.verdict).max() ?? .inconclusive
        if result.accuracy.isEmpty { result.reason = "no layer in common with the baseline" }
    }

    /// Names in one list only, in order.
    private static func difference(_ left: [String], _ right: [String]) -> [String] {
        let (mine, theirs) = (Set(left), Set(right))
        return mine.symmetricDifference(theirs).sorted()
    }
}
