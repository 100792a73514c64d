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

    /// Without values, for a forward that is recorded on shapes.
    init(shapeOnly shape: [Int]) {
        self.init(shape: shape, values: FloatBuffer(shapeOnly: shape.reduce(1, *)))
    }

    /// All values as one row.
    var row: Matrix { Matrix(values, rows: 1, columns: count) }

    public var count: Int { shape.reduce(1, *) }

    /// How many of the values are infinite or NaN.
    public var nonfiniteCount: Int { (0..<count).count { !values.pointer[$0].isFinite } }

    /// One of `parts` equal shares of the first dimension, copied.
    public func part(_ index: Int, of parts: Int) -> DenseTensor {
        let share = DenseTensor(shape: [shape[0] / parts] + shape.dropFirst())
        share.values.pointer.update(
            from: values.pointer + index * share.count, count: share.count)
        return share
    }

    /// The tensor `count` times over along its first dimension, copied.
    public func repeated(_ count: Int) -> DenseTensor {
        let result = DenseTensor(shape: [shape[0] * count] + shape.dropFirst())
        for index in 0..<count {
            (result.values.pointer + index * self.count).update(
                from: values.pointer, count: self.count)
        }
        return result
    }
}
