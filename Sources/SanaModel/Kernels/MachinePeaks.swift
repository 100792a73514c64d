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
            .int8(bytes, scale: scale), ForwardContext(workers: workers, compute: .int8))
    }

    /// Billions of operations a second of one product of 1024 × 1152 × 1152, rounding included.
    public func measure() -> Double { product.measure() }
}

/// Multiply-adds on registers, with every worker: the rate that no product can beat.
public struct MultiplyAddCanary {
    /// About ten milliseconds.
    private static let rounds = 1_000_000
    private let workers: WorkerPool
    private let operands: ComputeMode

    /// - Parameter operands: one of `ComputeMode.pure`; a mixed mode counts as its int8 part.
    public init(workers: WorkerPool, _ operands: ComputeMode = .fp32) {
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
            case .bf16: Kernels.best.multiply_adds_bf16_each
            case .int8, .int8BF16: Kernels.best.multiply_adds_i8_each
            }
        return Double(workers.threadCount * Self.rounds * each)
    }

    func run() {
        workers.run(workers.threadCount) { _, _ in
            switch operands {
            case .fp32: _ = Kernels.best.multiply_adds(Self.rounds)
            case .bf16: _ = Kernels.best.multiply_adds_bf16(Self.rounds)
            case .int8, .int8BF16: _ = Kernels.best.multiply_adds_i8(Self.rounds)
            }
        }
    }
}

/// One tile of an fp32 product again and again, with every worker: the rate of a product that waits
/// for no memory.
public struct TileCanary {
    /// As many as the longest sums of Sana's products have in one chain.
    private static let columns = 448
    private static let rounds = 4000
    private let workers: WorkerPool
    private let tokens = max(1, Kernels.best.tile_tokens)
    private let x: Matrix
    private let panel: FloatBuffer
    private let y: [Matrix]

    public init(workers: WorkerPool) {
        let rows = PanelProduct.packedRows
        self.workers = workers
        x = Matrix(rows: tokens, columns: Self.columns)
        panel = FloatBuffer(count: PanelProduct.fp32.floats(rows: rows, columns: Self.columns))
        let tokens = tokens
        y = (0..<workers.threadCount).map { _ in Matrix(rows: tokens, columns: rows) }
        x.pointer.update(repeating: 1, count: x.count)
        panel.pointer.update(repeating: 0.5, count: panel.count)
    }

    /// Billions of operations a second.
    public func measure() -> Double {
        let rows = PanelProduct.packedRows
        let start = ContinuousClock.now
        workers.run(workers.threadCount) { task, _ in
            for _ in 0..<Self.rounds {
                PanelProduct.multiply(
                    x.pointer, stride: x.columns, tokens: tokens, columns: x.columns,
                    panel: panel.pointer, rows: rows, into: y[task].pointer, stride: rows)
            }
        }
        let each = 2 * tokens * Self.columns * rows
        let operations = Double(workers.threadCount * Self.rounds * each)
        return operations / (ContinuousClock.now - start).inSeconds / 1e9
    }
}

/// Reads memory with every worker: the slope of a roofline.
public struct MemoryCanary {
    /// More than caches hold.
    public static let beyondCaches = 256 << 20
    /// Bytes read in one measurement at least.
    private static let leastRead = 64 << 20
    private let pieces: Int
    private let pieceFloats: Int
    private let rounds: Int
    private let workers: WorkerPool
    private let memory: FloatBuffer

    /// - Parameter bytes: read again and again by the same threads, so that caches hold what fits.
    public init(workers: WorkerPool, bytes: Int = beyondCaches) {
        self.workers = workers
        let bytes = min(max(bytes, 64 << 10), Self.beyondCaches)
        pieces = max(workers.threadCount, min(64, bytes >> 22))
        pieceFloats = bytes / 4 / pieces
        rounds = max(1, Self.leastRead / bytes)
        memory = FloatBuffer(count: pieces * pieceFloats)
        memory.pointer.update(repeating: 1, count: memory.count)
    }

    /// Billions of bytes read a second.
    public func measure() -> Double {
        let start = ContinuousClock.now
        workers.run(pieces) { piece, _ in
            for _ in 0..<rounds {
                _ = blas_sasum(Int32(pieceFloats), memory.pointer + piece * pieceFloats)
            }
        }
        let seconds = (ContinuousClock.now - start).inSeconds
        return Double(4 * memory.count * rounds) / seconds / 1e9
    }
}
