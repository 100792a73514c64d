/// A standard deviation that a few odd values hardly move.
package enum RobustSpread {
    /// Qn of Rousseeuw and Croux (1993): the first quartile of the distances between all pairs of
    /// values, made consistent for normal ones and, by Croux's factors, for few of them. Half of
    /// the values may be off, and of normal ones it makes four fifths of the use that the standard
    /// deviation does; the median absolute deviation makes two fifths.
    ///
    /// - Returns: `nil` for fewer than two values, which do not differ.
    package static func qn(_ values: [Double]) -> Double? {
        let count = values.count
        guard count > 1 else { return nil }
        var distances: [Double] = []
        distances.reserveCapacity(count * (count - 1) / 2)
        for (index, value) in values.enumerated() {
            for other in values[..<index] { distances.append(abs(value - other)) }
        }
        distances = distances.ascending
        let half = count / 2 + 1
        return 2.2219 * factor(count) * distances[half * (half - 1) / 2 - 1]
    }

    /// Croux's correction for `count` values.
    private static func factor(_ count: Int) -> Double {
        let few = [0.399, 0.994, 0.512, 0.844, 0.611, 0.857, 0.669, 0.872]
        if count - 2 < few.count { return few[count - 2] }
        let n = Double(count)
        return n / (n + (count % 2 == 1 ? 1.4 : 3.8))
    }

    /// Degrees of freedom that Qn of so many normal values is worth, by simulation of 5 to 10.
    package static func degreesOfFreedom(_ count: Int) -> Double { 0.6 * Double(max(0, count - 1)) }
}
