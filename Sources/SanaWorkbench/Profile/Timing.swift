/// Latencies of one thing measured several times, in nanoseconds.
package struct Timing: Sendable, Equatable {
    /// In the order they were taken; never empty.
    package let samples: [Int]

    /// The samples as statistics take them.
    package var values: [Double] { samples.map(Double.init) }
    package var median: Double { values.median }
    package var p95: Double { quantile(0.95) }
    /// Median distance from the median.
    package var mad: Double { values.medianAbsoluteDeviation }
    /// Holds the median with a confidence of 95 %; `nil` for a single sample.
    package var interval: Interval? { Bootstrap.median(of: values) }

    /// Quantile by linear interpolation between the sorted samples.
    package func quantile(_ share: Double) -> Double { values.quantile(share) }
}
