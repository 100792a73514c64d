import Foundation

/// Student's distribution: how far a value lies from a mean when the spread is itself estimated.
package enum StudentT {
    /// Probability of a value above `t`.
    package static func upperTail(_ t: Double, _ degreesOfFreedom: Double) -> Double {
        guard !t.isNaN, degreesOfFreedom > 0 else { return .nan }
        let x = degreesOfFreedom / (degreesOfFreedom + t * t)
        let tail = incompleteBeta(x, degreesOfFreedom / 2, 0.5) / 2
        return t < 0 ? 1 - tail : tail
    }

    /// The value above which lies a part `tail` of the distribution.
    ///
    /// - Parameter tail: above 0 and at most one half.
    package static func quantile(upperTail tail: Double, _ degreesOfFreedom: Double) -> Double {
        var (low, high) = (0.0, 1.0)
        while upperTail(high, degreesOfFreedom) > tail, high < 1e12 { high *= 2 }
        for _ in 0..<200 where high - low > 1e-13 * high {
            let middle = (low + high) / 2
            if upperTail(middle, degreesOfFreedom) > tail { low = middle } else { high = middle }
        }
        return (low + high) / 2
    }

    /// The regularized incomplete beta function, by Lentz's continued fraction.
    private static func incompleteBeta(_ x: Double, _ a: Double, _ b: Double) -> Double {
        guard x > 0 else { return 0 }
        guard x < 1 else { return 1 }
        let logGammas: Double = lgamma(a + b) - lgamma(a) - lgamma(b)
        let front = exp(logGammas + a * log(x) + b * log1p(-x))
        return x < (a + 1) / (a + b + 2)
            ? front * fraction(x, a, b) / a : 1 - front * fraction(1 - x, b, a) / b
    }

    private static func fraction(_ x: Double, _ a: Double, _ b: Double) -> Double {
        let tiny = 1e-300
        func away(_ value: Double) -> Double { abs(value) < tiny ? tiny : value }
        var c = 1.0
        var d = 1 / away(1 - (a + b) * x / (a + 1))
        var result = d
        for step in 1...500 {
            let m = Double(step)
            let even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
            d = 1 / away(1 + even * d)
            c = away(1 + even / c)
            result *= d * c
            let odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
            d = 1 / away(1 + odd * d)
            c = away(1 + odd / c)
            result *= d * c
            if abs(d * c - 1) < 1e-15 { break }
        }
        return result
    }
}
