/// How often a forward is repeated where nobody says it: until the gate could see a slowdown of the
/// threshold, or the time is spent.
struct RepetitionPlan: Sendable {
    /// Seconds of forwards after which no other is begun.
    var budget = 60.0
    /// Runs that the gate will compare with, oldest first.
    var baseline: [GateSamples] = []
    var options = GateOptions()
    /// The least distance of cores that is known of runs of the same kind, see `CoreDistances`.
    var nearestCores: Double?

    /// Repetitions, if they fit into the budget: fewer do not tell how much they differ.
    let fewest = 20
    private let most = 400
    /// The limit is looked at each time after so many.
    private let step = 5

    /// - Parameter seconds: those that have passed since the first.
    func isDone(_ timer: ForwardTimer, seconds: Double) -> Bool {
        let count = timer.repetitions.count
        if seconds >= budget { return count >= step }
        if count < fewest || count % step != 0 { return false }
        return count >= most || isEnough(timer.gateSamples)
    }

    /// Whether the limits of the forward and of all blocks are at their thresholds, or are due to the
    /// spread between runs, which no repetition makes smaller.
    func isEnough(_ samples: GateSamples) -> Bool {
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
