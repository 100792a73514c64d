import Foundation

/// The Wilcoxon signed-rank test: do paired differences tend to lie above zero?
///
/// It looks at signs and ranks alone, so outliers do not matter. Differences of zero are left out,
/// as Wilcoxon did.
package struct Wilcoxon: Sendable, Equatable {
    /// Sum of the ranks of the positive differences; ties share their mean rank.
    package let rankSum: Double
    /// Probability of such a sum or a larger one if differences lay evenly around zero.
    package let pValue: Double

    /// Up to so many differences are counted out exactly where no magnitudes are tied.
    package static let exactLimit = 60

    /// Differences, all of them positive, that it takes for a p-value of `level`.
    package static func fewestPairs(level: Double) -> Int { Int(log2(1 / level).rounded(.up)) }

    package init(_ differences: [Double]) {
        let sorted = differences.filter { $0 != 0 }.sorted { abs($0) < abs($1) }
        let count = sorted.count
        guard count > 0 else {
            (rankSum, pValue) = (0, 1)
            return
        }
        var (sum, tieTerm, start) = (0.0, 0.0, 0)
        while start < count {
            var end = start + 1
            while end < count, abs(sorted[end]) == abs(sorted[start]) { end += 1 }
            let size = Double(end - start)
            sum += Double(start + end + 1) / 2 * Double(sorted[start..<end].count { $0 > 0 })
            tieTerm += size * size * size - size
            start = end
        }
        rankSum = sum
        pValue =
            tieTerm == 0 && count <= Self.exactLimit
            ? Self.exact(count, atLeast: Int(sum))
            : Self.approximate(count, sum, tieTerm: tieTerm)
    }

    /// Share of the ways to choose signs in which the positive ranks add up to `limit` or more.
    private static func exact(_ count: Int, atLeast limit: Int) -> Double {
        var shares = [1.0]
        for rank in 1...count {
            var next = Array(repeating: 0.0, count: shares.count + rank)
            for (sum, share) in shares.enumerated() {
                next[sum] += share / 2
                next[sum + rank] += share / 2
            }
            shares = next
        }
        return shares[limit...].reduce(0, +)
    }

    /// The normal approximation, corrected for ties and continuity.
    private static func approximate(_ count: Int, _ sum: Double, tieTerm: Double) -> Double {
        let n = Double(count)
        let variance = n * (n + 1) * (2 * n + 1) / 24 - tieTerm / 48
        guard variance > 0 else { return 1 }
        let z = (sum - n * (n + 1) / 4 - 0.5) / variance.squareRoot()
        return 0.5 * erfc(z / 2.0.squareRoot())
    }
}

/// Hodges and Lehmann's estimate of where values lie: the median of the means of all pairs of them,
/// each with itself too. It is nearly as exact as the mean on quiet values and as hard to move by
/// outliers as a trimmed one.
package struct HodgesLehmann: Sendable, Equatable {
    package let estimate: Double
    /// Holds it with a confidence of 95 %, from Wilcoxon's distribution; `nil` below six values,
    /// which do not allow one.
    package let interval: Interval?

    /// - Parameter values: at least one.
    package init(_ values: [Double]) {
        let means = values.indices.flatMap { first in
            values[first...].map { (values[first] + $0) / 2 }
        }.sorted()
        estimate = means.sortedQuantile(0.5)
        let n = Double(values.count)
        let spread = (n * (n + 1) * (2 * n + 1) / 24).squareRoot()
        let outside = Int((n * (n + 1) / 4 - 1.959964 * spread).rounded(.down))
        interval =
            outside > 0 && values.count >= 6
            ? Interval(low: means[outside - 1], high: means[means.count - outside]) : nil
    }
}
