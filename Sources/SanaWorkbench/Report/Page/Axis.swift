import Foundation

/// Round values for the ticks of an axis.
enum Axis {
    /// Multiples of 1, 2 or 5 times a power of ten from 0 to `high`, about `count` steps.
    static func linear(to high: Double, count: Int = 4) -> [Double] {
        guard high > 0, high.isFinite else { return [0] }
        let power = pow(10, log10(high / Double(count)).rounded(.down))
        let step = [1, 2, 5, 10].map { $0 * power }.first { high / $0 <= Double(count) }
        guard let step else { return [0] }
        return (0...Int(high / step + 1e-9)).map { Double($0) * step }
    }

    /// Powers of ten within `low` and `high`, at most about `count`.
    static func powers(_ low: Double, _ high: Double, count: Int = 6) -> [Int] {
        guard low > 0, high >= low, high.isFinite else { return [] }
        let first = Int(log10(low).rounded(.up))
        let last = Int((log10(high) + 1e-9).rounded(.down))
        guard first <= last else { return [] }
        let step = max(1, Int((Double(last - first + 1) / Double(count)).rounded(.up)))
        return Array(stride(from: first, through: last, by: step))
    }
}
