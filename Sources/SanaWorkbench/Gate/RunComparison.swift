import Foundation

/// A run, or several of one model, against the runs of a baseline: the logarithm of their ratio,
/// and how far it may be off.
///
/// The unit is the run. Repetitions of one run are alike, since they share its memory layout and
/// its minute; what runs differ by is measured between runs. So an error has the spread between the
/// baseline's runs in it, and an interval from repetitions alone would hold the truth too seldom.
package struct RunComparison: Sendable, Equatable {
    /// candidate / baseline.
    package let ratio: Double
    /// Standard deviation of one run's logarithm, as the limit takes it.
    package let spread: Double
    /// Standard error of the logarithm of `ratio`.
    package let error: Double
    package let degreesOfFreedom: Double
    /// Whether more repetitions of the candidate would make `error` notably smaller.
    package let gainsFromRepetitions: Bool

    /// What is known of the spread before any run: a standard deviation of so much, worth so many
    /// runs. Without it, runs that are alike by chance would make the limit too small.
    package static let prior = (spread: 0.005, degreesOfFreedom: 4.0)
    /// The variance of a median over that of a mean, for normal values; of one value or two they
    /// are the same.
    private static func medianFactor(_ count: Int) -> Double { count > 2 ? 1.5 : 1 }

    /// - Parameters:
    ///   - candidates: logarithms of each repetition, by run.
    ///   - baseline: the same.
    ///   - spread: runs that tell the spread between runs, in place of the baseline's.
    ///   - fitted: constants that were fitted to those runs, which are so much more alike for it.
    ///   - leverage: what the errors of those constants add, in variances of one run.
    package init?(
        _ candidates: [[Double]], _ baseline: [[Double]], spread runs: [[Double]]? = nil,
        fitted: Int = 0, leverage: Double = 0
    ) {
        let mine = candidates.filter { !$0.isEmpty }
        let theirs = baseline.filter { !$0.isEmpty }
        guard !mine.isEmpty, !theirs.isEmpty else { return nil }
        ratio = exp(mine.map(\.median).median - theirs.map(\.median).median)
        let known = (runs ?? theirs).filter { !$0.isEmpty }.map(\.median)
        let freedom = RobustSpread.degreesOfFreedom(max(1, known.count - fitted))
        let lost = Double(max(1, known.count - 1)) / Double(max(1, known.count - 1 - fitted))
        let between = (RobustSpread.qn(known) ?? 0) * lost.squareRoot()
        degreesOfFreedom = freedom + Self.prior.degreesOfFreedom
        let pooled =
            (freedom * between * between
                + Self.prior.degreesOfFreedom * Self.prior.spread * Self.prior.spread)
            / degreesOfFreedom
        // A run of few repetitions differs by more than those of the baseline do.
        let within = mine.map(Self.medianVariance).reduce(0, +) / Double(mine.count)
        gainsFromRepetitions = within > pooled / 4
        spread = max(pooled, within).squareRoot()
        let mineVariance =
            Self.medianFactor(mine.count) * max(pooled, within) / Double(mine.count)
        let theirVariance = Self.medianFactor(theirs.count) * pooled / Double(theirs.count)
        error = (mineVariance + theirVariance + leverage * pooled).squareRoot()
    }

    /// The variance of the median of one run's repetitions.
    private static func medianVariance(_ logs: [Double]) -> Double {
        guard let spread = RobustSpread.qn(logs) else { return 0 }
        return medianFactor(logs.count) * spread * spread / Double(logs.count)
    }

    /// Probability that runs alike differ by so much or more.
    package var pValue: Double { StudentT.upperTail(log(ratio) / error, degreesOfFreedom) }

    /// The ratio that runs alike exceed with probability `level`, less 1.
    package func reach(level: Double) -> Double {
        exp(StudentT.quantile(upperTail: level, degreesOfFreedom) * error) - 1
    }

    /// Holds the true ratio with a confidence of 95 %.
    package var interval: Interval {
        let reach = StudentT.quantile(upperTail: 0.025, degreesOfFreedom) * error
        return Interval(low: ratio * exp(-reach), high: ratio * exp(reach))
    }
}
