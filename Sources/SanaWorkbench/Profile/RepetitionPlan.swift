/// How often a forward is repeated where nobody says it: until the gate could see a slowdown of the
/// threshold, or the time is spent.
package struct RepetitionPlan: Sendable {
    /// Seconds of forwards after which no other is begun.
    package var budget = 60.0
    /// Seconds from the begin of one repetition to that of the next, see
    /// `Profile.Options.isPaced`.
    package var interval: Double { min(1, budget / 2 / Double(fewest)) }
    /// Seconds of an interval that forwards may fill; the rest is for loading and a warm-up.
    package var busy: Double { 0.7 * interval }
    /// Forwards of a repetition, however short they are.
    package static let mostForwards = 16
    /// Runs that the gate will compare with, oldest first.
    package var baseline: [GateSamples] = []
    package var options = GateOptions()
    /// Where the threads of those runs were.
    package var distances: CoreDistances { CoreDistances(ofRuns: baseline) }

    /// Repetitions, if they fit into the budget: fewer do not tell how much they differ.
    package let fewest = 20
    private let most = 400
    /// The limit is looked at each time after so many.
    private let step = 5

    package init(
        budget: Double = 60.0, baseline: [GateSamples] = [],
        options: GateOptions = GateOptions()
    ) {
        (self.budget, self.baseline, self.options) = (budget, baseline, options)
    }

    /// - Parameters:
    ///   - count: repetitions so far, and `samples` what they showed.
    ///   - seconds: those that have passed since the first.
    package func isDone(_ count: Int, seconds: Double, _ samples: @autoclosure () -> GateSamples)
        -> Bool
    {
        if seconds >= budget { return count >= step }
        if count < fewest || count % step != 0 { return false }
        return count >= most || isEnough(samples())
    }

    /// Whether the limits of the forward and of all blocks are at their thresholds, or are due to
    /// the spread between runs, which no repetition makes smaller.
    package func isEnough(_ samples: GateSamples) -> Bool {
        let others = baseline.count < GateOptions.fewestRuns ? [samples] : baseline
        guard let result = LatencyGate.compare([samples], with: others, options) else {
            return true
        }
        return result.findings.filter(\.decides).allSatisfy { finding in
            guard let comparison = finding.cpu?.comparison else { return true }
            return finding.limit <= finding.threshold || !comparison.gainsFromRepetitions
        }
    }
}
