import Foundation

/// What the repetitions of one run say of a time.
package struct RunEstimate: Sendable, Equatable {
    package let logarithm: Double
    private let repetitions: [Double]
    /// The variance of `logarithm` over that of a mean of the repetitions.
    private let factor: Double

    /// Variance of `logarithm` as far as the repetitions of the run differ.
    package var variance: Double {
        guard let spread = RobustSpread.qn(repetitions) else { return 0 }
        return factor * spread * spread / Double(repetitions.count)
    }

    /// A value without repetitions.
    package init(logarithm: Double) {
        (self.logarithm, repetitions, factor) = (logarithm, [], 1)
    }

    /// The middle of the logarithms of each repetition, of which there is at least one.
    package init(medianOf logs: [Double]) {
        logarithm = logs.median
        (repetitions, factor) = (logs, Self.medianFactor(logs.count))
    }

    /// The variance of a median over that of a mean, for normal values; of one value or two they
    /// are the same.
    package static func medianFactor(_ count: Int) -> Double { count > 2 ? 1.5 : 1 }
}
