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

    /// The part of a run's repetitions that are at most as disturbed as those which count.
    private static let quietShare = 0.2
    /// The variance of such a quantile over that of a mean, for normal values.
    private static let quietFactor = 2.0

    /// CPU time of forwards over the canary's where the host disturbed both least.
    ///
    /// What a host does to a process only takes time. So the fastest forwards of a night are more
    /// like those of another night than the middle ones are: on recorded noise of an
    /// idle host, the lower fifth of the times over the upper fifth of the canary's rates has a
    /// standard deviation of 2 %, the median of the ratios one of 4 to 7 %.
    ///
    /// - Parameters:
    ///   - times, rates: logarithms of CPU time and of the canary's rate, of each repetition.
    ///   - sensitivity: see `HostSensitivity`.
    package init(quiet times: [Double], rates: [Double], sensitivity: Double) {
        let (time, rate) = (Self.quietTime(times), Self.quietRate(rates))
        logarithm = time + sensitivity * rate
        (repetitions, factor) = (
            zip(times, rates).map { $0 + sensitivity * $1 }, Self.quietFactor
        )
    }

    /// The time of the least disturbed of some repetitions.
    package static func quietTime(_ times: [Double]) -> Double { times.quantile(quietShare) }

    /// The rate of the least disturbed of some repetitions.
    package static func quietRate(_ rates: [Double]) -> Double { rates.quantile(1 - quietShare) }

    /// The variance of a median over that of a mean, for normal values; of one value or two they
    /// are the same.
    package static func medianFactor(_ count: Int) -> Double { count > 2 ? 1.5 : 1 }
}
