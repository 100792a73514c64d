/// Arithmetic that differs between the precisions diffusers runs in.
public enum Numerics: String, Sendable, CaseIterable, Codable {
    /// As diffusers in fp32.
    case fp32
    /// The output of linear attention is clipped to ±65504, as diffusers does when it runs in fp16.
    case fp16Clip = "fp16-clip"
    /// Attention scores of a text encoder are not capped, as PyTorch's SDPA leaves them.
    case noSoftCap = "no-soft-cap"
}

/// The element type of products, however weights are stored. Norms, softmax, activations and
/// residuals are fp32 in all of them.
public enum ComputeMode: String, Sendable, CaseIterable, Codable {
    /// Weights are widened or dequantized a panel at a time.
    case fp32
    /// Weights and activations are rounded to bf16, attention's queries, keys, values and weights
    /// among them; sums are fp32.
    case bf16
    /// Where weights are int8, activations are rounded to int8 with one scale a token; sums are
    /// exact in int32, and scales and bias are applied in fp32. Other weights meet activations in
    /// fp32.
    case int8
    /// As `int8` where weights are int8, and as `bf16` everywhere else.
    case int8BF16 = "int8-bf16"

    /// What is used where nobody chooses.
    public static let standard = ComputeMode.fp32

    /// Modes all of whose products have one type.
    public static let pure: [ComputeMode] = [.fp32, .bf16, .int8]

    /// The type of products with weights that are int8, or are not.
    public func products(isInt8: Bool) -> ComputeMode {
        switch self {
        case .fp32, .bf16: self
        case .int8: isInt8 ? .int8 : .fp32
        case .int8BF16: isInt8 ? .int8 : .bf16
        }
    }
}

/// What a forward pass needs besides weights and inputs: threads, scratch memory, probes.
///
/// Buffers are made on first use and kept, so a second forward of the same sizes allocates next to
/// nothing. One forward at a time.
public final class ForwardContext {
    /// Threads that share the work.
    public let workers: WorkerPool
    /// Arithmetic to mirror.
    public let numerics: Numerics
    /// The element type of products.
    public let compute: ComputeMode
    /// Watches the forward; held strongly.
    public let probe: (any LayerProbe)?

    /// Writes down the modules of a forward on shapes, in which nothing is computed.
    let recorder: GraphRecorder?

    /// Floats of one image that are kept for a second pass over it, rather than made again.
    static let mostKeptFloats = 32 << 20
    var mostKeptFloats = ForwardContext.mostKeptFloats

    /// Products of activations with weights that are no int8, and with each other.
    var floatProduct: PanelProduct { compute.products(isInt8: false) == .bf16 ? .bf16 : .fp32 }

    /// Whether passes may be joined so that some activations are never materialized.
    var fusesPasses: Bool { probe?.readsActivations != true && recorder == nil }

    /// The context of a part of the inputs, whose activations are not those of the whole: nobody
    /// reads them.
    var ofTiles: ForwardContext {
        guard probe?.readsActivations == true else { return self }
        return ForwardContext(workers: workers, numerics: numerics, compute: compute)
    }

    private var buffers: [Scratch: FloatBuffer] = [:]

    /// The matrix that several products read without a write between them.
    private var sharedInput: UnsafeMutablePointer<Float>?
    /// Whose rounded tokens are in memory.
    private var roundedInput: UnsafeMutablePointer<Float>?
    /// Time spent on rounding activations to int8 or bf16 so far.
    public private(set) var quantizationTime = Duration.zero

    public init(
        workers: WorkerPool, numerics: Numerics = .fp32, compute: ComputeMode = .standard,
        probe: (any LayerProbe)? = nil
    ) {
        (self.workers, self.numerics, self.compute) = (workers, numerics, compute)
        (self.probe, recorder) = (probe, nil)
    }

    /// A forward on shapes: `recorder` gets its modules, and nothing is computed or allocated.
    init(recording recorder: GraphRecorder) {
        workers = WorkerPool(threadCount: 1)
        (numerics, compute, probe) = (.fp32, .standard, nil)
        self.recorder = recorder
    }

    /// Runs a module under the probe.
    ///
    /// - Parameters:
    ///   - path: its place in the network, as in diffusers.
    ///   - kind: its class in diffusers or torch.
    func module(_ path: String, _ kind: String, _ body: () throws -> [Activation]) rethrows {
        probe?.begin(path)
        recorder?.begin(path, kind)
        let outputs = try body()
        recorder?.end(outputs)
        probe?.end(path, outputs)
    }

    /// Whether this forward only records: then the pass is in the graph, and the caller computes
    /// nothing.
    ///
    /// - Parameters:
    ///   - reads: what it reads, `writes` among them where it updates that in place.
    ///   - work: its matrix products and convolutions.
    func records(
        _ reads: [Matrix], into writes: Matrix, _ work: ModuleGraph.Work = .none
    ) -> Bool {
        guard let recorder else { return false }
        recorder.pass(reads.map(\.buffer), into: writes.buffer, work)
        return true
    }

    /// A tensor that leaves the forward.
    func tensor(shape: [Int]) -> DenseTensor {
        guard recorder != nil else { return DenseTensor(shape: shape) }
        return DenseTensor(shapeOnly: shape)
    }

    /// Lets `body` write `x` from other values.
    func fill(_ x: Matrix, from reads: [Matrix] = [], _ body: () -> Void) {
        if !records(reads, into: x) { body() }
    }

    /// Runs products that read `x`, which nobody writes meanwhile: it is rounded once for all.
    func sharing(_ x: Matrix, _ body: () -> Void) {
        sharedInput = x.pointer
        body()
        (sharedInput, roundedInput) = (nil, nil)
    }

    /// Calls `round` unless the rounded tokens of `x` are in memory.
    func roundOnce(_ x: Matrix, _ round: () -> Void) {
        if roundedInput == x.pointer { return }
        let start = ContinuousClock.now
        round()
        quantizationTime += ContinuousClock.now - start
        roundedInput = sharedInput == x.pointer ? sharedInput : nil
    }

    /// A buffer as `[rows, columns]`; its old contents are left in place.
    func matrix(_ scratch: Scratch, rows: Int, columns: Int) -> Matrix {
        Matrix(buffer(scratch, count: rows * columns), rows: rows, columns: columns)
    }

    /// Scratch memory of one task per worker.
    func scratch(floatsPerWorker count: Int) -> WorkerScratch {
        let stride = (count + 15) / 16 * 16
        return WorkerScratch(
            buffer: buffer(.workers, count: stride * workers.threadCount), stride: stride)
    }

    private func buffer(_ scratch: Scratch, count: Int) -> FloatBuffer {
        if let buffer = buffers[scratch], buffer.count >= count { return buffer }
        buffers[scratch] = nil
        let buffer =
            recorder == nil ? FloatBuffer(count: count) : FloatBuffer(shapeOnly: count)
        buffers[scratch] = buffer
        return buffer
    }
}

extension Scratch {
    /// That of the tasks of workers.
    fileprivate static let workers = Scratch()
}

/// A run of floats for each worker.
struct WorkerScratch {
    let buffer: FloatBuffer
    let stride: Int

    subscript(worker: Int) -> UnsafeMutablePointer<Float> { buffer.pointer + worker * stride }
}
