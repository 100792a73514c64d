import CSanaKernels

/// Sums over actual values a and reference values r, in fp64 and in a fixed order.
///
/// Elements where a or r is NaN or infinite are counted, differ infinitely and enter no sum.
public struct ErrorSums: Sendable, Equatable {
    /// Σ (a − r)²
    public let squaredDifference: Double
    /// Σ r²
    public let squaredReference: Double
    /// Σ a²
    public let squaredActual: Double
    /// Σ a · r
    public let product: Double
    /// Σ |a − r|
    public let absoluteDifference: Double
    /// max |a − r|; infinite where an element is not finite.
    public let maxDifference: Double
    /// The first element, in diffusers' order, that differs by `maxDifference`.
    public let maxIndex: Int
    /// max |a|
    public let maxActual: Double
    /// max |r|
    public let maxReference: Double
    /// Elements left out.
    public let nonfinite: Int
    /// Elements compared, those left out among them.
    public let count: Int
    /// A bound that 99 % of all |a − r| keep, less than 1 % above the exact quantile.
    public let p99Difference: Double

    /// Compares an activation with as many values in diffusers' layout.
    public init(_ activation: Activation, with reference: FloatBuffer) {
        precondition(reference.count >= activation.values.count)
        self.init { body in
            activation.forEachRun { start, run in body(run, reference.pointer + start) }
        }
    }

    /// Compares two tensors of one shape.
    public init(_ actual: DenseTensor, with reference: FloatBuffer) {
        precondition(reference.count >= actual.count)
        self.init { body in
            body(
                UnsafeBufferPointer(start: actual.values.pointer, count: actual.count),
                reference.pointer)
        }
    }

    /// Compares two activations of one layout.
    public init(_ actual: Activation, with reference: Activation) {
        precondition(actual.values.count == reference.values.count)
        self.init { body in
            body(
                UnsafeBufferPointer(start: actual.values.pointer, count: actual.values.count),
                reference.values.pointer)
        }
    }

    /// - Parameter runs: calls its argument with every run of actual values and the reference's.
    init(
        _ runs: ((UnsafeBufferPointer<Float>, UnsafePointer<Float>) -> Void) -> Void
    ) {
        var sums = sk_comparison()
        var bins = [UInt32](repeating: 0, count: Int(SK_HISTOGRAM_BINS))
        runs { actual, reference in
            guard let start = actual.baseAddress else { return }
            Kernels.best.compare(start, reference, actual.count, &sums)
            Kernels.best.difference_histogram(start, reference, actual.count, &bins)
        }
        squaredDifference = sums.squared_difference
        squaredReference = sums.squared_reference
        squaredActual = sums.squared_actual
        product = sums.product
        absoluteDifference = sums.absolute_difference
        maxDifference = sums.max_difference
        maxIndex = Int(sums.max_index)
        maxActual = sums.max_actual
        maxReference = sums.max_reference
        nonfinite = Int(sums.nonfinite)
        count = Int(sums.count)
        p99Difference = min(Self.quantile(0.99, of: bins, count), sums.max_difference)
    }

    /// The upper end of the bin that holds the quantile.
    private static func quantile(_ share: Double, of bins: [UInt32], _ count: Int) -> Double {
        let rank = (share * Double(count)).rounded(.up)
        let bin = sk_histogram_bin(bins, UInt64(rank))
        // The first bin holds zero and what is next to it.
        guard bin > 0 else { return 0 }
        let edge = Float(bitPattern: UInt32(bin + 1) << 16 - 1)
        return edge.isFinite ? Double(edge) : .infinity
    }
}
