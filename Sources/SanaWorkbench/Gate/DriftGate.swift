import Foundation

/// Finds a slow drift of the forward: distances from a reference that does not move add up, though
/// each night is like the one before.
package enum DriftGate {
    /// Runs of a series that make the reference: those from the pinned one on, or the first.
    package static let referenceRuns = 10
    /// A drift below this passes, however significant: a forward over the canary drifted by more
    /// than one percent within two hours though nothing had changed (reports/gate.md).
    package static let smallest = 0.02

    /// One run: the logarithm of its CPU time over the canary's, see `RunEstimate`.
    package struct Night: Sendable, Equatable {
        package let run: Int64
        package let logarithm: Double
    }

    package struct Finding: Sendable, Equatable {
        package let reference: [Int64]
        /// The sum at the newest run, in standard deviations.
        package let sum: Double
        /// The run with which the present rise began; `nil` where there is none.
        package let since: Int64?
        /// Median of the runs since then over the reference's; 1 where there are none.
        package let ratio: Double

        package var isAlarm: Bool { sum > Cusum.alarm && ratio > 1 + DriftGate.smallest }
    }

    /// - Parameters:
    ///   - nights: one series, oldest first, the judged run last.
    ///   - pinned: the oldest run of a baseline, with which the reference begins.
    /// - Returns: `nil` where there are too few runs to tell.
    package static func judge(_ nights: [Night], pinned: Int64? = nil) -> Finding? {
        let first = pinned.flatMap { run in nights.firstIndex { $0.run == run } } ?? 0
        let reference = nights[first...].prefix(referenceRuns)
        let later = nights[reference.endIndex...]
        guard reference.count == referenceRuns, !later.isEmpty else { return nil }
        let logs = reference.map(\.logarithm)
        let runs = logs.map { RunEstimate(logarithm: $0) }
        guard let comparison = RunComparison([RunEstimate(logarithm: logs.median)], runs)
        else { return nil }
        let sum = Cusum(later.map { ($0.logarithm - logs.median) / comparison.error })
        let rise = sum.start.map { Array(later.dropFirst($0)) } ?? []
        return Finding(
            reference: reference.map(\.run), sum: sum.sums.last ?? 0, since: rise.first?.run,
            ratio: rise.isEmpty ? 1 : exp(rise.map(\.logarithm).median - logs.median))
    }
}
