import Foundation

/// How much more a model feels of a slower host than the canary does.
///
/// Neighbours on a shared host take caches and the other half of a core. What the canary takes
/// longer by, the model may take longer by to a power above one; dividing by the canary alone would
/// leave the rest as if it were the model's own. The exponent is measured on the runs that a
/// candidate is compared with: the slope of log CPU time over log canary rate.
package struct HostSensitivity: Sendable, Equatable {
    /// The exponent of the canary's rate.
    package let exponent: Double
    /// Where it was measured: the middle of the canary's rates, as a logarithm, and the sum of
    /// their squared distances from it; `nil` where it was not.
    private let measured: (middle: Double, squares: Double)?

    /// That of a model which feels the same, for want of runs that tell.
    package static let neutral = HostSensitivity(exponent: 1, measured: nil)
    private static let range = 1.0...2.5
    /// Rates of the canary that differ by less, as a standard deviation, tell nothing of a slope.
    private static let smallestSpread = 0.005

    private init(exponent: Double, measured: (middle: Double, squares: Double)?) {
        (self.exponent, self.measured) = (exponent, measured)
    }

    package static func == (one: Self, other: Self) -> Bool {
        one.exponent == other.exponent && one.measured?.middle == other.measured?.middle
            && one.measured?.squares == other.measured?.squares
    }

    /// The median of the slopes of all pairs, each with the weight of its difference in rates
    /// (Theil 1950, Sen 1968), within bounds.
    ///
    /// - Parameter runs: logarithms of CPU time and of the canary's rate, see `RunEstimate`.
    package init(_ runs: [(time: Double, rate: Double)]) {
        let rates = runs.map(\.rate)
        guard runs.count >= GateOptions.fewestRuns,
            let spread = RobustSpread.qn(rates), spread >= Self.smallestSpread
        else {
            self = .neutral
            return
        }
        var slopes: [(slope: Double, weight: Double)] = []
        for (index, one) in runs.enumerated() {
            for other in runs[..<index] where one.rate != other.rate {
                let difference = one.rate - other.rate
                slopes.append(((other.time - one.time) / difference, abs(difference)))
            }
        }
        slopes.sort { $0.slope < $1.slope }
        var rest = slopes.reduce(0) { $0 + $1.weight } / 2
        let middle = slopes.first { slope in
            rest -= slope.weight
            return rest <= 0
        }
        let slope = middle?.slope ?? Self.range.lowerBound
        exponent = min(max(slope, Self.range.lowerBound), Self.range.upperBound)
        let median = rates.median
        measured = (median, rates.reduce(0) { $0 + ($1 - median) * ($1 - median) })
    }

    /// Of the forwards of `runs`.
    package init(of runs: [GateSamples]) {
        self.init(
            runs.compactMap { run in
                guard !run.host.isEmpty, run.host.count == run.total.cpu.count, run.clock != nil
                else { return nil }
                let times = run.total.cpu.map { log(max($0, 1)) }
                return (times.median, Self.rate(run))
            })
    }

    private static func rate(_ run: GateSamples) -> Double {
        run.host.map { log($0.canaryCPUGFLOPS) }.median
    }

    /// Constants that were fitted to the runs.
    package var fitted: Int { measured == nil ? 0 : 1 }

    /// What the exponent's own error adds to the variance of a comparison of `runs`, in variances
    /// of one run: the further the canary's rate is from those that it was measured at, the more.
    package func leverage(_ runs: [GateSamples]) -> Double {
        guard let measured else { return 0 }
        let known = runs.filter { !$0.host.isEmpty }
        guard !known.isEmpty else { return 0 }
        let distance = known.map(Self.rate).median - measured.middle
        return distance * distance / measured.squares
    }
}
