import Foundation

/// The Mann–Whitney U test: do values of one sample tend to be larger than those of another?
///
/// It looks at ranks alone, so neither outliers nor the shape of the noise matter.
package struct MannWhitney: Sendable, Equatable {
    /// Pairs in which the first sample's value is larger; ties count one half.
    package let u: Double
    /// Probability of such a `u` or a larger one if both samples came from one distribution.
    package let pValue: Double

    /// The smallest probability that samples of these sizes can have.
    package let leastPValue: Double

    /// Additions that counting out the orders exactly may take; with more, samples are large enough
    /// for the normal approximation. It makes too little of small ones: of 5 values above 50 others
    /// 1.4e-4 in place of 2.9e-7.
    private static let exactLimit = 1_000_000

    /// - Parameters:
    ///   - larger: the sample that may be the larger one.
    ///   - smaller: what it is compared with.
    package init(larger: [Double], smaller: [Double]) {
        let (n, m) = (larger.count, smaller.count)
        guard n > 0, m > 0 else {
            (u, pValue, leastPValue) = (0, 1, 1)
            return
        }
        let pooled = (larger.map { ($0, true) } + smaller.map { ($0, false) })
            .sorted { $0.0 < $1.0 }
        var (rankSum, tieTerm, start) = (0.0, 0.0, 0)
        while start < pooled.count {
            var end = start + 1
            while end < pooled.count, pooled[end].0 == pooled[start].0 { end += 1 }
            let size = Double(end - start)
            let rank = Double(start + end + 1) / 2
            rankSum += rank * Double(pooled[start..<end].count { $0.1 })
            tieTerm += size * size * size - size
            start = end
        }
        u = rankSum - Double(n * (n + 1)) / 2
        pValue =
            tieTerm == 0 && (n + m) * n * n * m <= Self.exactLimit
            ? Self.exact(n, m, atLeast: Int(u))
            : Self.approximate(n, m, u, tieTerm: tieTerm)
        let orders = lgamma(Double(n + m + 1)) - lgamma(Double(n + 1)) - lgamma(Double(m + 1))
        leastPValue = exp(-orders)
    }

    /// Share of the orders of n + m values in which U is `limit` or more.
    private static func exact(_ n: Int, _ m: Int, atLeast limit: Int) -> Double {
        // counts[i][u]: ways to choose i of the values so far with the sum of their U equal to u.
        var counts = Array(repeating: Array(repeating: 0.0, count: n * m + 1), count: n + 1)
        counts[0][0] = 1
        for value in 0..<n + m {
            for chosen in stride(from: min(n, value + 1), through: 1, by: -1) {
                // The value with `value` others below it, of which `chosen - 1` are of its own
                // sample.
                let beaten = value - (chosen - 1)
                guard beaten <= m else { continue }
                for sum in 0...n * m - beaten {
                    counts[chosen][sum + beaten] += counts[chosen - 1][sum]
                }
            }
        }
        let total = counts[n].reduce(0, +)
        return counts[n][max(0, limit)...].reduce(0, +) / total
    }

    /// The normal approximation, corrected for ties and continuity.
    private static func approximate(
        _ n: Int, _ m: Int, _ u: Double, tieTerm: Double
    ) -> Double {
        let (n, m) = (Double(n), Double(m))
        let total = n + m
        let variance = n * m / 12 * (total + 1 - tieTerm / (total * (total - 1)))
        guard variance > 0 else { return 1 }
        let z = (u - n * m / 2 - 0.5) / variance.squareRoot()
        return 0.5 * erfc(z / 2.0.squareRoot())
    }
}

/// Holm's correction for many tests at once.
package enum Holm {
    /// The largest p-value that is significant at `level` for all tests together; 0 where none is.
    package static func cutoff(_ pValues: [Double], level: Double) -> Double {
        var cutoff = 0.0
        for (place, value) in pValues.sorted().enumerated() {
            guard value <= level / Double(pValues.count - place) else { break }
            cutoff = value
        }
        return cutoff
    }
}
