/// Latencies of one thing measured several times, in nanoseconds.
struct Timing: Sendable, Equatable {
    /// In the order they were taken; never empty.
    let samples: [Int]

    /// The samples as statistics take them.
    var values: [Double] { samples.map(Double.init) }
    var median: Double { values.median }
    var p95: Double { quantile(0.95) }
    /// Median distance from the median.
    var mad: Double { values.medianAbsoluteDeviation }
    /// Holds the median with a confidence of 95 %; `nil` for a single sample.
    var interval: Interval? { Bootstrap.median(of: values) }

    /// Quantile by linear interpolation between the sorted samples.
    func quantile(_ share: Double) -> Double { values.quantile(share) }
}
