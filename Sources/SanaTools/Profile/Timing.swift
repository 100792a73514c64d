/// Latencies of one thing measured several times, in nanoseconds.
struct Timing: Sendable, Equatable {
    /// In the order they were taken; never empty.
    let samples: [Int]

    var median: Double { quantile(0.5) }
    var p95: Double { quantile(0.95) }

    /// Quantile by linear interpolation between the sorted samples.
    func quantile(_ share: Double) -> Double {
        let sorted = samples.sorted()
        let place = share * Double(sorted.count - 1)
        let below = Int(place)
        let above = min(below + 1, sorted.count - 1)
        return Double(sorted[below]) + (place - Double(below)) * Double(sorted[above] - sorted[below])
    }
}
