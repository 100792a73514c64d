import CSanaKernels

/// Sums over actual values a and reference values r, in fp64 and in a fixed order.
///
/// Elements where a or r is NaN or infinite are counted and enter no sum.
public struct ErrorSums: Sendable, Equatable {
    /// Σ (a − r)²
    public let squaredDifference: Double
    /// Σ r²
    public let squaredReference: Double
    /// Σ a²
    public let squaredActual: Double
    /// Σ a · r
    public let product: Double
    /// max |a − r|
    public let maxDifference: Double
    /// Elements left out.
    public let nonfinite: Int

    /// Compares an activation with as many values in diffusers' layout.
    public init(_ activation: Activation, with reference: FloatBuffer) {
        precondition(reference.count >= activation.values.count)
        var sums = sk_comparison()
        activation.forEachRun { start, run in
            guard let actual = run.baseAddress else { return }
            Kernels.best.compare(actual, reference.pointer + start, run.count, &sums)
        }
        self.init(sums)
    }

    /// Compares two tensors of one shape.
    public init(_ actual: DenseTensor, with reference: FloatBuffer) {
        precondition(reference.count >= actual.count)
        var sums = sk_comparison()
        Kernels.best.compare(actual.values.pointer, reference.pointer, actual.count, &sums)
        self.init(sums)
    }

    private init(_ sums: sk_comparison) {
        squaredDifference = sums.squared_difference
        squaredReference = sums.squared_reference
        squaredActual = sums.squared_actual
        product = sums.product
        maxDifference = sums.max_difference
        nonfinite = Int(sums.nonfinite)
    }
}
