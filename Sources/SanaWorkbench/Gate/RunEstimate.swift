import Foundation

/// What the repetitions of one run say of a time.
package struct RunEstimate: Sendable, Equatable {
    package let logarithm: Double
    /// Variance of `logarithm` as far as the repetitions of the run differ.
    package let variance: Double

    /// A value without repetitions.
    package init(logarithm: Double) {
        (self.logarithm, variance) = (logarithm, 0)
    }

    /// The trimmed mean of the logarithms of each repetition, of which there is at least one: a
    /// fifth of them at either end does not count. It ignores a disturbance of a fifth of the run,
    /// where a median ignores one of half, but has three quarters of a median's variance. Its
    /// error follows from the winsorized variance (Tukey and McLaughlin 1963, Yuen 1974).
    package init(trimmedMeanOf logs: [Double]) {
        let count = logs.count
        let cut = count > 2 ? max(1, count / 5) : 0
        let kept = logs.ascending[cut..<(count - cut)]
        logarithm = kept.reduce(0, +) / Double(kept.count)
        guard count > 1, let least = kept.first, let most = kept.last else {
            variance = 0
            return
        }
        let winsorized = logs.map { min(max($0, least), most) }
        let mean = winsorized.reduce(0, +) / Double(count)
        let squares = winsorized.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        variance =
            squares / Double(count - 1) * Double(count) / Double(kept.count * kept.count)
    }
}
