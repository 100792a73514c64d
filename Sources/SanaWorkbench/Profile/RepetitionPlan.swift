/// How often a forward is repeated where nobody says it: until the gate could see a slowdown of the
/// threshold, or the time is spent.
package struct RepetitionPlan: Sendable {
    /// Seconds of forwards after which no other is begun.
    package var budget = 60.0
    /// Seconds from the begin of one turn to that of the next where they are apart: see
    /// `Profile.Options.isPaced`.
    package var interval: Double { min(0.25, budget / 2 / Double(fewest)) }
    /// Runs that the gate will compare with, oldest first.
    package var baseline: [GateSamples] = []
    package var options = GateOptions()
    /// Where the threads of those runs were.
    package var distances: CoreDistances { CoreDistances(ofRuns: baseline) }

    /// Turns, if they fit into the budget: fewer do not tell how much forwards differ. A turn is a
    /// forward, or two short ones where turns are apart.
    package var fewest = 40
    private let most = 400
    /// The limit is looked at each time after so many.
    private let step = 5

    package init(
        budget: Double = 60.0, baseline: [GateSamples] = [],
        options: GateOptions = GateOptions()
    ) {
        (self.budget, self.baseline, self.options) = (budget, baseline, options)
    }

    /// Forwards of a turn where turns are apart: two, where they leave half of the interval to a
    /// warm-up and to loading.
    ///
    /// - Parameters:
    ///   - seconds: those of a forward.
    ///   - repetitions: forwards of the run, where somebody said it; `fewest` are turns of one.
    package func turn(ofForward seconds: Double, repetitions: Int?) -> Int {
        let isShort = seconds <= interval / 2
        return isShort && (repetitions ?? 2 * fewest) >= 2 * fewest ? 2 : 1
    }

    /// - Parameters:
    ///   - count: turns so far, and `samples` what they showed.
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
