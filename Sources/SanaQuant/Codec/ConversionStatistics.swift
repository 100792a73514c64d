import CSanaKernels

/// How far converted values are from their source.
public struct ConversionStatistics: Sendable {
    private var sums = sk_rounding()
    /// Values compared.
    public private(set) var elements = 0
    /// Values that are not the same number as before.
    public var changed: Int { Int(sums.changed) }
    /// Values beyond the largest finite number of the new type, which they became.
    public var clipped: Int { Int(sums.clipped) }
    /// Values that were not zero and became zero.
    public var flushed: Int { Int(sums.flushed) }

    init() {}

    /// ‖a − r‖₂ / ‖r‖₂ of converted a and source r; 0 when both are all zeros.
    public var relativeRMS: Double {
        guard sums.squared_difference > 0 else { return 0 }
        return (sums.squared_difference / sums.squared_reference).squareRoot()
    }
    /// ‖r‖₂² of the source values.
    var squaredReference: Double { sums.squared_reference }
    /// max |a − r|
    public var maxError: Double { sums.max_difference }
    /// Whether every value is the same number as before.
    public var isExact: Bool { changed == 0 }

    /// Takes in `count` unchanged values.
    mutating func addUnchanged(_ count: Int) { elements += count }

    /// Takes in `count` values.
    ///
    /// - Parameters:
    ///   - actual: converted values, widened.
    ///   - reference: source values; must be finite, like `actual`.
    ///   - limit: largest finite number of the new type; magnitudes above it count as clipped.
    mutating func add(
        actual: UnsafePointer<Float>, reference: UnsafePointer<Float>, count: Int, limit: Float
    ) {
        Codec.kernels.measure_rounding(actual, reference, limit, count, &sums)
        elements += count
    }

    /// Joins statistics of two parts of a tensor. Sums depend on the order of joining.
    mutating func merge(_ other: ConversionStatistics) {
        sums.squared_difference += other.sums.squared_difference
        sums.squared_reference += other.sums.squared_reference
        sums.max_difference = max(sums.max_difference, other.sums.max_difference)
        sums.changed += other.sums.changed
        sums.clipped += other.sums.clipped
        sums.flushed += other.sums.flushed
        elements += other.elements
    }
}
