import CSanaKernels

/// What the values of a tensor are like.
public struct ValueStatistics: Sendable {
    /// Number of all values.
    public private(set) var count = 0
    public private(set) var zeroCount = 0
    public private(set) var nanCount = 0
    public private(set) var infinityCount = 0
    /// Values other than zero below the smallest normal number of the stored type; none for int8.
    public private(set) var subnormalCount = 0
    /// Finite values beyond ±65504.
    public private(set) var overFP16Count = 0
    /// Values other than zero below fp16's smallest subnormal number, 2⁻²⁴.
    public private(set) var underFP16Count = 0
    /// Values that fp16 would change; NaN does not count.
    public private(set) var inexactFP16Count = 0
    /// Of the finite values; 0 where there are none.
    public private(set) var minimum: Float = .infinity
    public private(set) var maximum: Float = -.infinity
    /// Finite values in parts of equal width from the minimum to the maximum, once finished.
    public private(set) var histogram: [Int] = []
    private var finiteCount = 0
    private var sum = 0.0
    private var squares = 0.0
    /// Values by sign, exponent and five digits of the mantissa.
    private var bins: [UInt64] = []
    /// Values where they are few enough to be counted exactly.
    private var exact: [Float] = []

    /// Parts of a histogram.
    public static let histogramCount = 16

    /// Nothing measured yet.
    public init() {}

    /// Adds a run that follows.
    public mutating func merge(_ other: ValueStatistics) {
        guard count > 0 else {
            self = other
            return
        }
        addCounts(other)
        exact = []
        if bins.isEmpty {
            bins = other.bins
        } else {
            for index in other.bins.indices { bins[index] += other.bins[index] }
        }
    }

    private mutating func addCounts(_ other: ValueStatistics) {
        count += other.count
        zeroCount += other.zeroCount
        nanCount += other.nanCount
        infinityCount += other.infinityCount
        subnormalCount += other.subnormalCount
        overFP16Count += other.overFP16Count
        underFP16Count += other.underFP16Count
        inexactFP16Count += other.inexactFP16Count
        minimum = min(minimum, other.minimum)
        maximum = max(maximum, other.maximum)
        finiteCount += other.finiteCount
        sum += other.sum
        squares += other.squares
    }

    /// Whether any finite value is there.
    public var hasFinite: Bool { finiteCount > 0 }
    /// Of the finite values; 0 where there are none.
    public var mean: Double { finiteCount > 0 ? sum / Double(finiteCount) : 0 }
    /// Of the whole population of finite values.
    public var standardDeviation: Double {
        guard finiteCount > 0 else { return 0 }
        return max(0, squares / Double(finiteCount) - mean * mean).squareRoot()
    }
    /// Largest magnitude of the finite values.
    public var absoluteMaximum: Float { hasFinite ? max(abs(minimum), abs(maximum)) : 0 }

    /// Fills `histogram`, and releases the data it was built from.
    ///
    /// Where the tensor is large, a value is taken for the middle of a bin 1/32 of its octave wide.
    public mutating func finish() {
        defer { (bins, exact) = ([], []) }
        histogram = Array(repeating: 0, count: Self.histogramCount)
        guard hasFinite else { return }
        let (low, width) = (Double(minimum), Double(maximum) - Double(minimum))
        func add(_ value: Double, _ number: Int) {
            let last = Self.histogramCount - 1
            let place = width > 0 ? (value - low) / width * Double(Self.histogramCount) : 0
            histogram[min(max(Int(place), 0), last)] += number
        }
        if !exact.isEmpty {
            for value in exact where value.isFinite { add(Double(value), 1) }
            return
        }
        for (index, number) in bins.enumerated() where number > 0 {
            let value = Float(bitPattern: UInt32(index) << 18 | 1 << 17)
            guard value.isFinite else { continue }
            // The lowest bin of either sign is zero, or next to it.
            let isZero = index & 0x1FFF == 0
            add(isZero ? 0 : Double(min(max(value, minimum), maximum)), Int(number))
        }
    }

    /// The values of `range`.
    fileprivate init(_ values: StoredValues, _ range: Range<Int>) {
        let smallestNormal: Float =
            switch values.dtype {
            case .f16: 0x1p-14
            case .i8: 0
            default: .leastNormalMagnitude
            }
        var fine = [UInt32](repeating: 0, count: Int(SK_VALUE_BINS))
        let block = StoredValues.blockCount
        let buffer = FloatBuffer(count: min(range.count, block))
        for start in stride(from: range.lowerBound, to: range.upperBound, by: block) {
            let part = start..<min(start + block, range.upperBound)
            values.widen(part, to: buffer.pointer)
            let sums = sk_measure_values(buffer.pointer, part.count, smallestNormal, &fine)
            addCounts(ValueStatistics(sums, count: part.count))
            inexactFP16Count += Kernels.best.inexact_f16(buffer.pointer, part.count)
        }
        bins = fine.map(UInt64.init)
        if range.count <= block {
            exact = Array(UnsafeBufferPointer(start: buffer.pointer, count: range.count))
        }
    }

    private init(_ sums: sk_values, count: Int) {
        self.count = count
        (zeroCount, nanCount) = (Int(sums.zeros), Int(sums.nans))
        (infinityCount, subnormalCount) = (Int(sums.infinities), Int(sums.subnormals))
        (overFP16Count, underFP16Count) = (Int(sums.over_f16), Int(sums.under_f16))
        (minimum, maximum) = (sums.minimum, sums.maximum)
        (finiteCount, sum, squares) = (Int(sums.finite), sums.sum, sums.squares)
    }
}

extension StoredValues {
    /// Values that are measured by one call of `statistics`, a bound on its memory.
    public static let measuredCount = 1 << 20

    /// What the values of `range` are like, at most `measuredCount` of them; pages of mapped files
    /// are let go behind it.
    public func statistics(of range: Range<Int>) -> ValueStatistics {
        precondition(range.count <= Self.measuredCount)
        return ValueStatistics(self, range)
    }
}
