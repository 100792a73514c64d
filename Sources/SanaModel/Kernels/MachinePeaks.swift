import COpenBLAS
import CSanaKernels

/// A fixed product of int8 weights with activations rounded to int8: the rate that `w8a8` layers
/// are read against.
public struct Int8Canary {
    private let product: CanaryProduct

    public init(workers: WorkerPool) {
        let side = CanaryProduct.channels
        let bytes = ByteView(count: side * side) { memory in
            for index in 0..<side * side { memory[index] = UInt8(truncatingIfNeeded: index % 251) }
        }
        let scale = FloatBuffer(count: side)
        scale.pointer.update(repeating: 1, count: side)
        product = CanaryProduct(
            .int8(bytes, scale: scale), ForwardContext(workers: workers, compute: .w8a8))
    }

    /// Billions of operations a second of one product of 1024 × 1152 × 1152, rounding included.
    public func measure() -> Double { product.measure() }
}

/// Multiply-adds on registers, with every worker: the rate that no product can beat.
public struct MultiplyAddCanary {
    /// What is multiplied.
    public enum Operands: Sendable { case fp32, int8 }

    /// About ten milliseconds.
    private static let rounds = 1_000_000
    private let workers: WorkerPool
    private let operands: Operands

    public init(workers: WorkerPool, _ operands: Operands = .fp32) {
        (self.workers, self.operands) = (workers, operands)
    }

    /// Billions of operations a second.
    public func measure() -> Double {
        let start = ContinuousClock.now
        run()
        return operations / (ContinuousClock.now - start).inSeconds / 1e9
    }

    /// Operations of one run.
    var operations: Double {
        let each =
            switch operands {
            case .fp32: Kernels.best.multiply_adds_each
            case .int8: Kernels.best.multiply_adds_i8_each
            }
        return Double(workers.threadCount * Self.rounds * each)
    }

    func run() {
        workers.run(workers.threadCount) { _, _ in
            switch operands {
            case .fp32: _ = Kernels.best.multiply_adds(Self.rounds)
            case .int8: _ = Kernels.best.multiply_adds_i8(Self.rounds)
            }
        }
    }
}

/// Reads more memory than caches hold, with every worker: the slope of a roofline.
public struct MemoryCanary {
    /// 256 MiB, in pieces that workers take in turn.
    private static let pieces = 64
    private static let pieceFloats = 1 << 20
    private let workers: WorkerPool
    private let memory: FloatBuffer

    public init(workers: WorkerPool) {
        self.workers = workers
        memory = FloatBuffer(count: Self.pieces * Self.pieceFloats)
        memory.pointer.update(repeating: 1, count: memory.count)
    }

    /// Billions of bytes read a second.
    public func measure() -> Double {
        let start = ContinuousClock.now
        workers.run(Self.pieces) { piece, _ in
            _ = cblas_sasum(
                Int32(Self.pieceFloats), memory.pointer + piece * Self.pieceFloats, 1)
        }
        let seconds = (ContinuousClock.now - start).inSeconds
        return Double(4 * memory.count) / seconds / 1e9
    }
}
