/// A fixed matrix product that tells how fast the machine is at this moment, whatever the model.
public struct SGEMMCanary {
    /// Billions of operations of one measurement.
    public static let gflop = CanaryProduct.gflop

    private let product: CanaryProduct

    public init(workers: WorkerPool) {
        let side = CanaryProduct.side
        let bytes = ByteView(count: side * side * 4) { memory in
            for index in 0..<side * side {
                memory.storeBytes(
                    of: Float(index % 17) - 8, toByteOffset: index * 4, as: Float.self)
            }
        }
        product = CanaryProduct(.float32(bytes), ForwardContext(workers: workers))
    }

    /// GFLOP/s of one product of 1024 × 1024 × 1024, 2.1 GFLOP.
    public func measure() -> Double { product.measure() }
}

/// A square product by a weight of any storage, with memory of its own.
struct CanaryProduct {
    static let side = 1024
    /// Billions of operations.
    static let gflop = 2 * Double(side * side * side) / 1e9
    private let context: ForwardContext
    private let weight: Weight
    private let input: Matrix
    private let output: Matrix

    init(_ storage: Weight.Storage, _ context: ForwardContext) {
        let side = Self.side
        self.context = context
        weight = Weight(storage: storage, rows: side, columns: side)
        input = Matrix(rows: side, columns: side)
        output = Matrix(rows: side, columns: side)
        for index in 0..<input.count { input.pointer[index] = Float(index % 13) - 6 }
    }

    /// Billions of operations a second of one product.
    func measure() -> Double {
        let start = ContinuousClock.now
        context.multiply(input, weight, bias: nil, into: output)
        return Self.gflop / (ContinuousClock.now - start).inSeconds
    }
}
