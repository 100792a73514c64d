import SanaModel

/// What the gate takes for a regression.
struct GateOptions: Sendable, Equatable {
    /// Slowdown of the forward that is one: 0.03 is 3 %.
    var threshold = 0.03
    /// Slowdown of a block that is one; twice that for modules outside the blocks and for parts of
    /// blocks, which are too short to be timed as well. `nil`: 3 %, and 2.5 % where runs are pooled.
    var layerThreshold: Double?
    /// Runs from which on they count as pooled.
    static let fewestPooled = 3
    /// Runs that it takes to know how much runs differ.
    static let fewestRuns = 5
    /// Repetitions that it takes to judge a run.
    static let fewestRepetitions = 6
    /// Probabilities of a false alarm that are accepted where nothing changed: of the forward (three
    /// standard deviations), of all blocks together, and of all other modules together.
    static let levels = (forward: 0.00135, blocks: 0.005, others: 0.002)
    /// Layers that take a smaller part of the forward are not judged.
    var smallestShare = 0.005
    /// How much slower the canary may be than in the baseline before it is reported.
    var canaryTolerance = 0.03
    /// How much more of the CPUs others may take than in the baseline before it is reported.
    var loadTolerance = 0.05
    /// Rise of wall time that is doubtful where CPU time did not rise and the host is as it was.
    static let lostParallelism = 0.2
    /// Relative rise of an error that is one.
    var errorRise = 0.02
    /// Rise of a relative RMS error that rounding alone explains: 16 units of fp32.
    static let rounding = 16 * 0x1p-24

    /// The slowdown of a module that is worth an alarm.
    ///
    /// - Parameter runs: number of runs that are judged together.
    func threshold(_ path: String, runs: Int) -> Double {
        if path == Profile.totalPath { return threshold }
        let block = layerThreshold ?? (runs >= Self.fewestPooled ? 0.025 : 0.03)
        return ModuleLevel(path: path) == .block ? block : 2 * block
    }
}
