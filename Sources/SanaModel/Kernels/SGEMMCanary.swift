/// A fixed matmul that measures how fast the machine is at this moment, whatever the model.
public struct SGEMMCanary {
    /// Billions of operations of one measurement.
    public static let gflop = CanaryProduct.gflop

    private let product: CanaryProduct

    public init(workers: WorkerPool) {
        let side = CanaryProduct.channels
        let bytes = ByteView(count: side * side * 4) { memory in
            for index in 0..<side * side {
                memory.storeBytes(
                    of: Float(index % 17) - 8, toByteOffset: index * 4, as: Float.self)
            }
        }
        product = CanaryProduct(.float32(bytes), ForwardContext(workers: workers))
    }

    /// GFLOP/s of one product of 1024 × 1152 × 1152, 2.7 GFLOP.
    public func measure() -> Double { product.measure() }
}

/// A projection of the 0.6B transformer at 1024 × 1024 pixels by a weight of any storage, with
/// memory of its own. No power of two: rows of 4096 bytes would fall on each other in the cache.
struct CanaryProduct {
    static let tokens = 1024
    static let channels = 1152
    /// Billions of operations.
    static let gflop = 2 * Double(tokens * channels * channels) / 1e9
    private let context: ForwardContext
    private let weight: Weight
    private let input: Matrix
    private let output: Matrix

    init(_ storage: Weight.Storage, _ context: ForwardContext) {
        self.context = context
        weight = Weight(storage: storage, rows: Self.channels, columns: Self.channels)
        input = Matrix(rows: Self.tokens, columns: Self.channels)
        output = Matrix(rows: Self.tokens, columns: Self.channels)
        for index in 0..<input.count { input.pointer[index] = Float(index % 13) - 6 }
    }

    /// Billions of operations a second of one product.
    func measure() -> Double {
        let start = ContinuousClock.now
        context.multiply(input, weight, bias: nil, into: output)
        return Self.gflop / (ContinuousClock.now - start).inSeconds
    }
}
