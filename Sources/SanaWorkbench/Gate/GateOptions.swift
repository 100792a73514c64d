import SanaModel

/// What the gate takes for a regression.
package struct GateOptions: Sendable, Equatable {
    /// Slowdown of the forward that is one: 0.03 is 3 %.
    package var threshold = 0.03
    /// Slowdown of a block that is one; twice that for modules outside the blocks and for parts of
    /// blocks, which are too short to be timed as well. `nil`: 3 %, and 2.5 % where runs are
    /// pooled.
    package var layerThreshold: Double?
    /// Runs from which on they count as pooled.
    package static let fewestPooled = 3
    /// Runs that it takes to know how much runs differ.
    package static let fewestRuns = 5
    /// Runs of a series that tell how much its forwards differ, if there are so many: what ten tell
    /// is itself off by a quarter, which the limit has to allow for.
    package static let spreadRuns = 30
    /// Repetitions that it takes to judge a run.
    package static let fewestRepetitions = 6
    /// Probabilities of a false alarm that are accepted where nothing changed: of the forward
    /// (three standard deviations), of all blocks together, and of all other modules together.
    package static let levels = (forward: 0.00135, blocks: 0.005, others: 0.002)
    /// Layers that take a smaller part of the forward are not judged.
    package var smallestShare = 0.005
    /// Part of the forward that a slowdown of a module outside the blocks must cost: where nothing
    /// had changed, modules of a hundredth of it were above their limit in 5 of 60 nights.
    package static let smallestLoss = 0.005
    /// How much slower the canary may be than in the baseline before it is reported.
    package var canaryTolerance = 0.03
    /// How much more of the CPUs others may take than in the baseline before it is reported.
    package var loadTolerance = 0.05
    /// Standard error of a forward over the canary where others took so much more of the CPUs, or
    /// so much less, than before: of all of them 4 %.
    package static let errorOfLoad = 0.04
    /// Rise of wall time that is doubtful where CPU time did not rise and the host is as it was.
    package static let lostParallelism = 0.2
    /// Relative rise of an error that is one.
    package var errorRise = 0.02

    package init(
        threshold: Double = 0.03, layerThreshold: Double? = nil, smallestShare: Double = 0.005,
        canaryTolerance: Double = 0.03, loadTolerance: Double = 0.05, errorRise: Double = 0.02
    ) {
        (self.threshold, self.layerThreshold) = (threshold, layerThreshold)
        (self.smallestShare, self.canaryTolerance) = (smallestShare, canaryTolerance)
        (self.loadTolerance, self.errorRise) = (loadTolerance, errorRise)
    }
    /// Rise of a relative RMS error that rounding alone explains: 16 units of fp32.
    package static let rounding = 16 * 0x1p-24

    /// The slowdown of a module that is worth an alarm.
    ///
    /// - Parameters:
    ///   - share: the module's part of the forward.
    ///   - runs: number of runs that are judged together.
    package func threshold(_ path: String, share: Double, runs: Int) -> Double {
        if path == Profile.totalPath { return threshold }
        let block = layerThreshold ?? (runs >= Self.fewestPooled ? 0.025 : 0.03)
        return switch ModuleLevel(path: path) {
        case .block: block
        case .part, .inner: 2 * block
        case .outer: max(2 * block, Self.smallestLoss / max(share, 1e-9))
        }
    }
}
