/// What the gate takes for a regression.
struct GateOptions: Sendable, Equatable {
    /// Slowdown of the forward that is one: 0.02 is 2 %.
    var threshold = 0.02
    /// Slowdown of a block, or of a module outside the blocks, that is one; twice that for their parts,
    /// which are too short to be timed as well. `nil`: 3 %, and 2.5 % where runs are pooled.
    var layerThreshold: Double?
    /// Whether several runs are judged together: their medians differ less than those of single runs,
    /// so layers have a finer limit and need no canary, which they are not measured against.
    var isPooled = false
    /// Runs from which on they count as pooled.
    static let fewestPooled = 3
    /// Probability of a false alarm in one comparison that is accepted, for all layers together.
    var level = 0.001
    /// Layers that take a smaller part of the forward are not judged.
    var smallestShare = 0.005
    /// How much slower the canary may be than in the baseline for the host to count as the same.
    var canaryTolerance = 0.03
    /// How much more of the processors others may take than in the baseline.
    var loadTolerance = 0.05
    /// Relative rise of an error that is one.
    var errorRise = 0.02
    /// Rise of a relative RMS error that rounding alone explains: 16 units of fp32.
    static let rounding = 16 * 0x1p-24

    /// The ratio of medians above which a module is slower: over the threshold, and over so many times
    /// the spread among the baseline's runs as kept false alarms below 1 % on recorded noise
    /// (reports/gate.md). The forward has the largest factor, since only the canary takes the host out.
    func limit(_ path: String, spread: Double) -> Double {
        let (layerThreshold, layerFactor) =
            isPooled ? (layerThreshold ?? 0.025, 2.5) : (layerThreshold ?? 0.03, 3)
        let isPart = path.hasPrefix("transformer_blocks.") && path.count { $0 == "." } > 1
        let (threshold, factor) =
            path == Profile.totalPath
            ? (threshold, 7.0) : isPart ? (2 * layerThreshold, 5) : (layerThreshold, layerFactor)
        return 1 + max(threshold, factor * spread)
    }
}
