/// Values with a shape, row-major fp32: an input or the output of the model, in diffusers' layout.
public struct DenseTensor: Sendable {
    public let shape: [Int]
    public let values: FloatBuffer

    /// `values` must hold the product of `shape`.
    public init(shape: [Int], values: FloatBuffer) {
        precondition(values.count >= shape.reduce(1, *))
        (self.shape, self.values) = (shape, values)
    }

    /// Zeros.
    public init(shape: [Int]) {
        self.init(shape: shape, values: FloatBuffer(count: shape.reduce(1, *)))
    }

    public var count: Int { shape.reduce(1, *) }
}
