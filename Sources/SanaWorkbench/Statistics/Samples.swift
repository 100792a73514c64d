import Libc
import SanaModel

/// What repeated measurements of one thing say of it.
///
/// Order is that of measuring; functions that need an order sort by themselves.
extension [Double] {
    /// Quantile by linear interpolation between the sorted values; NaN where there are none.
    package func quantile(_ share: Double) -> Double { ascending.sortedQuantile(share) }

    /// Sorted, by the C library: the standard library's sort is slow where a debug build does not
    /// specialize it.
    package var ascending: [Double] {
        var result = self
        qsort(&result, count, MemoryLayout<Double>.stride) { one, other in
            guard let one, let other else { return 0 }
            let values = (one.load(as: Double.self), other.load(as: Double.self))
            return values.0 < values.1 ? -1 : values.0 > values.1 ? 1 : 0
        }
        return result
    }

    /// The middle value.
    package var median: Double { quantile(0.5) }

    /// Median distance from the median: a spread that outliers do not move.
    package var medianAbsoluteDeviation: Double {
        let middle = median
        return map { abs($0 - middle) }.median
    }

    /// `quantile` of values that are in order already.
    package func sortedQuantile(_ share: Double) -> Double {
        guard !isEmpty else { return .nan }
        let place = share * Double(count - 1)
        let below = Int(place)
        let above = Swift.min(below + 1, count - 1)
        return self[below] + (place - Double(below)) * (self[above] - self[below])
    }
}

/// A range that holds an estimate with some confidence.
package struct Interval: Sendable, Equatable {
    package let low: Double
    package let high: Double
}

/// Confidence intervals by resampling (Efron's percentile method), the same in every run.
package enum Bootstrap {
    /// Resamples; an interval of 95 % has 25 beyond each end.
    package static let resamples = 1000

    /// The interval of the median of `samples`; `nil` where a single one says nothing of spread.
    package static func median(of samples: [Double], confidence: Double = 0.95) -> Interval? {
        guard samples.count > 1 else { return nil }
        let sorted = samples.sorted()
        return interval(confidence) { resampledMedian(sorted, &$0) }
    }

    /// The interval of median(candidate) / median(baseline).
    package static func ratioOfMedians(
        _ candidate: [Double], to baseline: [Double], confidence: Double = 0.95
    ) -> Interval? {
        guard candidate.count > 1, baseline.count > 1 else { return nil }
        let (candidate, baseline) = (candidate.sorted(), baseline.sorted())
        return interval(confidence) {
            resampledMedian(candidate, &$0) / resampledMedian(baseline, &$0)
        }
    }

    private static func interval(
        _ confidence: Double, _ statistic: (inout SplitMix64) -> Double
    ) -> Interval {
        var generator = SplitMix64(seed: 1979)
        let values = (0..<resamples).map { _ in statistic(&generator) }.sorted()
        let tail = (1 - confidence) / 2
        return Interval(low: values.sortedQuantile(tail), high: values.sortedQuantile(1 - tail))
    }

    /// The median of as many draws from `sorted` as it holds: draws are counted, not sorted.
    private static func resampledMedian(
        _ sorted: [Double], _ generator: inout SplitMix64
    ) -> Double {
        let count = sorted.count
        var draws = Array(repeating: 0, count: count)
        for _ in 0..<count { draws[Int(generator.next() % UInt64(count))] += 1 }
        var (seen, lower) = (0, -1)
        for index in 0..<count where draws[index] > 0 {
            seen += draws[index]
            if lower == -1, (count - 1) / 2 < seen { lower = index }
            if count / 2 < seen { return (sorted[lower] + sorted[index]) / 2 }
        }
        return sorted[count - 1]
    }
}
