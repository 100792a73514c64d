import CSanaKernels

/// How far converted values lie from their source.
public struct ConversionStatistics: Sendable {
    private var sums = sk_comparison()
    /// Values compared.
    public private(set) var elements = 0
    /// Values that are not the same number as before.
    public private(set) var changed = 0
    /// Values beyond the largest finite number of the new type, which they became.
    public private(set) var clipped = 0
    /// Values that were not zero and became zero.
    public private(set) var flushed = 0

    init() {}

    /// ‖a − r‖₂ / ‖r‖₂ of converted a and source r; 0 when both are all zeros.
    public var relativeRMS: Double {
        guard sums.squared_difference > 0 else { return 0 }
        return (sums.squared_difference / sums.squared_reference).squareRoot()
    }
    /// max |a − r|
    public var maxError: Double { sums.max_difference }
    /// Whether every value is the same number as before.
    public var isExact: Bool { changed == 0 }

    /// Takes in `count` unchanged values.
    mutating func addUnchanged(_ count: Int) { elements += count }

    /// Takes in `count` values, at most 2³¹.
    ///
    /// - Parameters:
    ///   - actual: converted values, widened.
    ///   - reference: source values; must be finite, like `actual`.
    ///   - limit: largest finite number of the new type; magnitudes above it count as clipped.
    mutating func add(
        actual: UnsafePointer<Float>, reference: UnsafePointer<Float>, count: Int, limit: Float
    ) {
        var block = sk_comparison()
        Codec.kernels.compare(actual, reference, count, &block)
        sums.add(block)
        elements += count
        guard block.max_difference > 0 else { return }
        // Magnitudes of finite floats order as integers; wrapping 32-bit counters let the loop
        // vectorise.
        let limitBits = limit.bitPattern
        var (changed, clipped, flushed): (UInt32, UInt32, UInt32) = (0, 0, 0)
        for index in 0..<count {
            let (new, old) = (actual[index].bitPattern << 1, reference[index].bitPattern << 1)
            changed &+= new != old ? 1 : 0
            clipped &+= old >> 1 > limitBits ? 1 : 0
            flushed &+= new == 0 && old != 0 ? 1 : 0
        }
        self.changed += Int(changed)
        self.clipped += Int(clipped)
        self.flushed += Int(flushed)
    }

    /// Joins statistics of two parts of a tensor. Sums depend on the order of joining.
    mutating func merge(_ other: ConversionStatistics) {
        sums.add(other.sums)
        elements += other.elements
        changed += other.changed
        clipped += other.clipped
        flushed += other.flushed
    }
}

extension sk_comparison {
    fileprivate mutating func add(_ other: sk_comparison) {
        squared_difference += other.squared_difference
        squared_reference += other.squared_reference
        squared_actual += other.squared_actual
        product += other.product
        max_difference = max(max_difference, other.max_difference)
        nonfinite += other.nonfinite
    }
}
