/// Page's cumulative sum (1954): a shift too small to be seen on any one night adds up.
package struct Cusum: Sendable, Equatable {
    /// Standard deviations a night that are let pass: half of the shift that is looked for.
    package static let slack = 1.0
    /// A single night counts for no more standard deviations.
    package static let clip = 4.0
    /// The sum above which it is an alarm: fewer than two of a hundred histories of a hundred
    /// nights alike get there, by simulation with a reference of ten.
    package static let alarm = 10.0

    /// The sum after each value; never below 0.
    package let sums: [Double]
    /// Index at which the present rise began; `nil` where the sum is 0.
    package let start: Int?

    /// - Parameter values: distances from the reference in standard deviations, oldest first.
    package init(_ values: [Double]) {
        var (sums, sum, start): ([Double], Double, Int?) = ([], 0, nil)
        for (index, value) in values.enumerated() {
            sum = max(0, sum + min(value, Self.clip) - Self.slack)
            if sum == 0 { start = nil } else if start == nil { start = index }
            sums.append(sum)
        }
        (self.sums, self.start) = (sums, start)
    }

    package var isAlarm: Bool { (sums.last ?? 0) > Self.alarm }
}
