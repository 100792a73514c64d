/// A fixed matrix product that tells how fast the machine is at this moment, whatever the model.
public struct SGEMMCanary {
    private static let side = 1024
    private let context: ForwardContext
    private let weight: Weight
    private let input: Matrix
    private let output: Matrix

    public init(workers: WorkerPool) {
        context = ForwardContext(workers: workers)
        let side = Self.side
        let bytes = ByteView(count: side * side * 4) { memory in
            for index in 0..<side * side {
                memory.storeBytes(
                    of: Float(index % 17) - 8, toByteOffset: index * 4, as: Float.self)
            }
        }
        weight = Weight(storage: .float32(bytes), rows: side, columns: side)
        input = Matrix(rows: side, columns: side)
        output = Matrix(rows: side, columns: side)
        for index in 0..<input.count { input.pointer[index] = Float(index % 13) - 6 }
    }

    /// GFLOP/s of one product of 1024 × 1024 × 1024, 2.1 GFLOP.
    public func measure() -> Double {
        let start = ContinuousClock.now
        context.multiply(input, weight, bias: nil, into: output)
        let seconds = (ContinuousClock.now - start).inSeconds
        let operations = 2 * Double(Self.side * Self.side * Self.side)
        return operations / seconds / 1e9
    }
}
