import Foundation
import SanaModel

/// What recorded runs come to: the one answer that the last line, the exit code and the JSON of
/// 'history gate' and of `--gate`, and the title and headline of the report give.
///
/// A verification that failed, was made with a golden of other weights, or could not take place
/// outranks whatever is to be said of speed.
package struct NightOutcome: Sendable {
    /// One for each run judged.
    package let judgements: [Gate.Judgement]
    /// Models that were verified before and are not now.
    package var unverified: [Unverified] = []
    /// Whether it is of the whole history, not of runs that were named.
    package var isOfAll = false
    /// Steps of the night that failed before, as the caller names them.
    package var failedSteps: [String] = []

    /// A model whose last verification is older than the last day of the history.
    package struct Unverified: Sendable, Equatable {
        package let model: String
        /// When it was verified last, ISO 8601.
        package let date: String

        package var text: String {
            "\(model.printable) was verified last at \(date.printable): "
                + "run 'sana-tools verify' on it again"
        }
    }

    /// What the whole is called: `pass`, `inconclusive`, `regress`, or `fail` where a verification
    /// failed.
    package var word: String {
        guard failedSteps.isEmpty else { return Verdict.fail.rawValue }
        let worst = judgements.max { $0.rank < $1.rank }
        return worst.flatMap { $0.rank > 1 ? $0.word : nil } ?? verdict.gateWord
    }

    package var verdict: Verdict {
        guard failedSteps.isEmpty else { return .fail }
        let worst = judgements.map(\.verdict).max() ?? .pass
        return unverified.isEmpty ? worst : max(worst, .inconclusive)
    }

    /// One sentence: failed verifications first, then what got worse, then what is not known.
    package var headline: String {
        let (failed, verified) = (judgements.count { $0.failure != nil }, verifications.count)
        let regressions = judgements.filter { $0.failure == nil && $0.verdict == .fail }
        let slower = regressions.count { $0.latency != nil }
        let open = judgements.count { $0.failure == nil && $0.verdict == .inconclusive }
        let total = judgements.count
        let parts = [
            failedSteps.isEmpty
                ? nil : failedSteps.map(\.printable).joined(separator: ", ") + " failed",
            failed > 0 ? "\(failed) of \(Format.counted(verified, "verification")) failed" : nil,
            slower > 0 ? "\(slower) of \(total) got slower" : nil,
            regressions.count > slower
                ? "\(regressions.count - slower) of \(total) got less accurate" : nil,
            unverified.isEmpty
                ? nil : "\(Format.counted(unverified.count, "model")) not verified in the last day",
            open > 0 ? "\(open) of \(total) inconclusive" : nil,
        ].compactMap { $0 }
        guard parts.isEmpty else { return parts.joined(separator: ", ") }
        guard verified > 0 || isOfAll else { return "Nothing got worse" }
        return verified > 0
            ? "Nothing got worse, \(verified) of \(Format.counted(verified, "verification")) passed"
            : "Nothing got worse; nothing was verified"
    }

    /// The last line of whatever is printed of it.
    package var line: String { "\(word.uppercased()): \(headline)" }

    private var verifications: [Gate.Judgement] { judgements.filter(\.run.isVerification) }

    /// The worst first, since that is what a reader came for.
    package var ordered: [Gate.Judgement] {
        judgements.enumerated().sorted {
            ($1.element.rank, $0.offset) < ($0.element.rank, $1.offset)
        }.map(\.element)
    }
}

extension RunSummary {
    /// Whether any of its weights are stored quantized, by us or another program.
    package var isQuantized: Bool {
        joined.dtype.split(separator: "+").contains {
            DType(rawValue: String($0))?.isFloatWeight != true
        }
    }

    /// Whether `other` is of the same model: of the same weights in the same types, under the same
    /// name.
    func isOfModel(_ other: RunSummary) -> Bool {
        joined.digest == other.joined.digest && joined.dtype == other.joined.dtype
            && Series.modelName(run.modelPath) == Series.modelName(other.run.modelPath)
    }

    package var isVerification: Bool { run.kind != RunRecord.Kind.profile.rawValue }

    /// Why a verification failed; `nil` where it did not, or the run is a profile.
    package var failure: String? {
        guard isVerification, run.verdict == Verdict.fail.rawValue else { return nil }
        let problems = run.problemLines
        guard let first = problems.first else {
            return "the verification failed" + (run.cause.map { ", cause \($0.printable)" } ?? "")
        }
        return "the verification failed: \(first.printable)"
            + (problems.count > 1 ? " and \(problems.count - 1) more" : "")
    }

    /// Whether this is a later verification of what `other` verified, so that the other's answer no
    /// longer counts. One that could not take place gives way to any that did.
    fileprivate func supersedes(_ other: RunSummary, onAnyMachine: Bool = false) -> Bool {
        let (run, old) = (run, other.run)
        return isVerification && run.kind == old.kind && run.modelPath == old.modelPath
            && run.reference?.lastPathComponent == old.reference?.lastPathComponent
            && (onAnyMachine || run.machineId == old.machineId) && run.numerics == old.numerics
            && (run.compute == old.compute || old.compute == RunRecord.unknown)
            && (run.startedAt, joined.id) > (old.startedAt, other.joined.id)
    }
}

extension Gate {
    /// How long a verification is missed, and one that failed held against a model that nobody
    /// verified again.
    private static let memory: TimeInterval = 8 * 86400

    /// What `ids` come to, with failed verifications of the models that they profiled; without any,
    /// the newest run of every series of the last day, and the newest verifications of the days
    /// before where no later ones are known.
    ///
    /// - Throws: `HistoryError`.
    package func outcome(_ ids: [Int64] = []) throws -> NightOutcome {
        guard ids.isEmpty else {
            let runs = try ids.map(store.summary)
            let profiled = Set(runs.filter { !$0.isVerification }.map(\.run.modelPath))
            let known =
                profiled.isEmpty
                ? [] : try store.newestOfEachSeries().filter { profiled.contains($0.run.modelPath) }
            let failed = known.filter { run in
                run.failure != nil && !known.contains { $0.supersedes(run) }
            }
            return NightOutcome(judgements: try judge(ids + failed.map(\.joined.id)))
        }
        let recent = try store.newestOfTheLastDay()
        let ids = Set(recent.map(\.joined.id))
        let old = try store.newestOfEachSeries().filter {
            $0.isVerification && !ids.contains($0.joined.id)
        }
        let active = Set(recent.map(\.run.modelPath))
        let limit = recent.map(\.run.startedAt).max()
            .flatMap { try? Date($0, strategy: .iso8601) }?.addingTimeInterval(-Self.memory)
        func isRemembered(_ run: RunSummary) -> Bool {
            guard let limit, let date = try? Date(run.run.startedAt, strategy: .iso8601) else {
                return false
            }
            return date >= limit
        }
        let failed = old.filter { run in
            run.failure != nil && (active.contains(run.run.modelPath) || isRemembered(run))
                && !(recent + old).contains { $0.supersedes(run, onAnyMachine: true) }
        }
        let answered = Set((recent.filter(\.isVerification) + failed).map(\.run.modelPath))
        let missed = try old.filter { run in
            guard run.failure == nil, !answered.contains(run.run.modelPath) else { return false }
            if active.contains(run.run.modelPath) { return true }
            return try isRemembered(run) && isRegular(run)
        }
        let chosen =
            recent.filter { run in !recent.contains { $0.supersedes(run) } } + failed
        let dates = Dictionary(missed.map { ($0.run.modelPath, $0.run.startedAt) }) { max($0, $1) }
        return NightOutcome(
            judgements: try judge(chosen.map(\.joined.id)),
            unverified: dates.map { .init(model: $0.key, date: $0.value) }
                .sorted { $0.model < $1.model }, isOfAll: true)
    }

    /// Whether a model was verified on several days, so that a night without it is missed.
    private func isRegular(_ run: RunSummary) throws -> Bool {
        let days = try store.runs(ofSeries: run.joined.seriesId, limit: 10).map {
            $0.run.startedAt.prefix(10)
        }
        return Set(days).count > 1
    }
}
