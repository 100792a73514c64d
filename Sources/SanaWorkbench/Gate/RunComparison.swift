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

    /// - Parameters:
    ///   - candidates: what each run says.
    ///   - baseline: the same.
    ///   - spread: runs that tell the spread between runs, in place of the baseline's.
    ///   - fitted: constants that were fitted to those runs, which are so much more alike for it.
    ///   - leverage: what the errors of those constants add, in variances of one run.
    ///   - hosts: standard error that is due to hosts which differ, as a logarithm.
    package init?(
        _ candidates: [RunEstimate], _ baseline: [RunEstimate], spread runs: [RunEstimate]? = nil,
        fitted: Int = 0, leverage: Double = 0, hosts: Double = 0
    ) {
        guard !candidates.isEmpty, !baseline.isEmpty else { return nil }
        ratio = exp(candidates.map(\.logarithm).median - baseline.map(\.logarithm).median)
        let known = (runs ?? baseline).map(\.logarithm)
        let freedom = RobustSpread.degreesOfFreedom(max(1, known.count - fitted))
        let lost = Double(max(1, known.count - 1)) / Double(max(1, known.count - 1 - fitted))
        let between = (RobustSpread.qn(known) ?? 0) * lost.squareRoot()
        degreesOfFreedom = freedom + Self.prior.degreesOfFreedom
        let pooled =
            (freedom * between * between
                + Self.prior.degreesOfFreedom * Self.prior.spread * Self.prior.spread)
            / degreesOfFreedom
        // A run of few repetitions differs by more than those of the baseline do.
        let within = candidates.reduce(0) { $0 + $1.variance } / Double(candidates.count)
        gainsFromRepetitions = within > pooled / 4
        spread = max(pooled, within).squareRoot()
        let mineVariance =
            Self.medianFactor(candidates.count) * max(pooled, within)
            / Double(candidates.count)
        let theirVariance =
            Self.medianFactor(baseline.count) * pooled / Double(baseline.count)
        error =
            (mineVariance + theirVariance + leverage * pooled + hosts * hosts).squareRoot()
    }

    /// The variance of a median over that of a mean, for normal values; of one value or two they
    /// are the same.
    private static func medianFactor(_ count: Int) -> Double { count > 2 ? 1.5 : 1 }

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
