import COpenBLAS

/// The weights of a model with adapters added: w + scale · B · A of each, in fp32.
///
/// Weights that change are F32 here whatever they were stored in, so whoever narrows them rounds
/// once. They are computed when they are asked for and not kept; all others are the source's own.
struct FusedTensors: TensorSource {
    let tensors: [TensorInfo]
    private let source: any TensorSource
    private let adapters: [LoraAdapter]
    /// Names of the weights that change.
    private let changed: Set<String>
    private let fusedByName: [String: TensorInfo]

    /// Rows that are computed at once.
    private static let blockRows = 64

    /// - Parameter file: the model, for messages.
    /// - Throws: `BadDataError` that names the first module which the model does not have, or has in
    ///   another shape or type.
    init(_ source: any TensorSource, adding adapters: [LoraAdapter], file: String) throws {
        var changed = Set<String>()
        for adapter in adapters {
            for (module, pair) in adapter.pairs.sorted(by: { $0.key < $1.key }) {
                let name = module + ".weight"
                func refuse(_ reason: String) -> BadDataError {
                    BadDataError(
                        file: adapter.path,
                        reason: "LoRA of module '\(module.printable)' \(reason)",
                        remedy: "use the model that the LoRA was trained for")
                }
                guard let weight = source.info(name) else {
                    throw refuse("has no weight in \(file.printable) to add to")
                }
                let expected =
                    [pair.up.shape[0], pair.down.shape[1]]
                    + Array(repeating: 1, count: max(0, weight.shape.count - 2))
                guard weight.shape == expected, weight.shape.count == pair.up.shape.count,
                    weight.shape.allSatisfy({ $0 <= Int32.max }), pair.rank <= Int32.max
                else {
                    throw refuse(
                        "has shapes \(pair.down.shape) and \(pair.up.shape), which do not fit the "
                            + "weight's \(weight.shape)")
                }
                guard weight.dtype.isFloatWeight else {
                    throw refuse("cannot be added to a weight of type \(weight.dtype.rawValue)")
                }
                changed.insert(name)
            }
        }
        let tensors = source.tensors.map { tensor in
            guard changed.contains(tensor.name) else { return tensor }
            return TensorInfo(name: tensor.name, dtype: .f32, shape: tensor.shape) ?? tensor
        }
        (self.tensors, self.source, self.adapters) = (tensors, source, adapters)
        self.changed = changed
        fusedByName = Dictionary(
            tensors.filter { changed.contains($0.name) }.map { ($0.name, $0) }
        ) { first, _ in first }
    }

    func info(_ name: String) -> TensorInfo? { fusedByName[name] ?? source.info(name) }

    func bytes(of tensor: TensorInfo) throws -> ByteView {
        guard let fused = fusedByName[tensor.name], let stored = source.info(tensor.name) else {
            return try source.bytes(of: tensor)
        }
        let module = String(tensor.name.dropLast(".weight".count))
        let base = try source.bytes(of: stored)
        let terms = try adapters.compactMap { adapter in
            try adapter.pairs[module].map { try Term($0, adapter.file) }
        }
        let rows = fused.shape[0]
        let columns = rows > 0 ? fused.elementCount / rows : 0
        return ByteView(count: fused.byteCount) { memory in
            guard let start = memory.bindMemory(to: Float.self).baseAddress, columns > 0 else {
                return
            }
            let width = stored.dtype.bitWidth / 8
            for first in stride(from: 0, to: rows, by: Self.blockRows) {
                let count = min(Self.blockRows, rows - first)
                let output = start + first * columns
                let part = base.slice(first * columns * width, count * columns * width)
                part.widen(from: stored.dtype, into: output)
                part.releasePages()
                for term in terms {
                    term.add(to: output, rows: first..<first + count, columns: columns)
                }
            }
        }
    }
}

/// One adapter's product for one weight, its matrices widened.
private struct Term {
    let down: FloatBuffer
    let up: FloatBuffer
    let rank: Int
    let scale: Float

    init(_ pair: LoraAdapter.Pair, _ file: SafetensorsFile) throws {
        guard let down = try file.bytes(of: pair.down).widened(from: pair.down.dtype),
            let up = try file.bytes(of: pair.up).widened(from: pair.up.dtype)
        else { throw BadDataError(file: file.path, reason: "matrices of a LoRA are no floats") }
        (self.down, self.up, rank, scale) = (down, up, pair.rank, Float(pair.scale))
    }

    /// Adds the rows `range` of the product to as many rows of `output`.
    func add(to output: UnsafeMutablePointer<Float>, rows range: Range<Int>, columns: Int) {
        blas_sgemm(
            0, Int32(range.count), Int32(columns), Int32(rank), scale,
            up.pointer + range.lowerBound * rank, Int32(rank), down.pointer, Int32(columns), 1,
            output, Int32(columns))
    }
}

extension Checkpoint {
    /// The same model with adapters added to its weights, one after the other.
    ///
    /// - Throws: `BadDataError` when an adapter does not fit.
    public func fusing(_ adapters: [LoraAdapter]) throws -> Checkpoint {
        guard !adapters.isEmpty else { return self }
        try Arithmetic.prepareBLAS(callers: WorkerPool.processorCount)
        var fused = self
        fused.source = try FusedTensors(source, adding: adapters, file: path)
        fused.adapters += adapters
        return fused
    }
}
