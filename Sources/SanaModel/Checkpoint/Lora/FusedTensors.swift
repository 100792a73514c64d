/// The weights of a model with adapters added, in fp32: see `LoraDelta`.
///
/// Weights that change are F32 here whatever they were stored in, so whoever narrows them rounds
/// once. They are computed when they are asked for and not kept; all others are the source's own.
struct FusedTensors: TensorSource {
    let tensors: [TensorInfo]
    private let source: any TensorSource
    private let fusedByName: [String: TensorInfo]
    /// What each weight gains, in the order of the adapters.
    private let gains: [String: [Gain]]

    private struct Gain: Sendable {
        let delta: LoraDelta
        let firstRow: Int
        let file: SafetensorsFile
    }

    /// Rows that are computed at once.
    private static let blockRows = 64

    /// - Parameter file: the model, for messages.
    /// - Throws: `BadDataError` that names the first module which the model does not have, or has
    ///   in another shape or type.
    init(_ source: any TensorSource, adding adapters: [LoraAdapter], file: String) throws {
        let targets = LoraTargets(source)
        var gains: [String: [Gain]] = [:]
        for adapter in adapters {
            var own = Set<String>()
            for (module, delta) in adapter.deltas.sorted(by: { $0.key < $1.key }) {
                let found = targets.targets(of: module)
                try Self.check(delta, module, found.map(\.weight), adapter, file)
                for target in found {
                    guard own.insert(target.weight.name).inserted else {
                        throw BadDataError(
                            file: adapter.path,
                            reason: "module '\(module.printable)' occurs twice, in two spellings",
                            remedy: "keep one adapter per file")
                    }
                    gains[target.weight.name, default: []].append(
                        Gain(delta: delta, firstRow: target.firstRow, file: adapter.file))
                }
            }
        }
        let tensors = source.tensors.map { tensor in
            guard gains[tensor.name] != nil else { return tensor }
            return TensorInfo(name: tensor.name, dtype: .f32, shape: tensor.shape) ?? tensor
        }
        (self.tensors, self.source, self.gains) = (tensors, source, gains)
        fusedByName = Dictionary(
            tensors.filter { gains[$0.name] != nil }.map { ($0.name, $0) }
        ) { first, _ in first }
    }

    /// - Throws: `BadDataError` for a delta that does not fit the weights it is for.
    static func check(
        _ delta: LoraDelta, _ module: String, _ weights: [TensorInfo], _ adapter: LoraAdapter,
        _ file: String
    ) throws {
        func refuse(_ reason: String) -> BadDataError {
            BadDataError(
                file: adapter.path,
                reason: "\(delta.kind) of module '\(module.printable)' \(reason)",
                remedy: "use the model that the LoRA was trained for")
        }
        guard let first = weights.first else {
            throw refuse("has no weight in \(file.printable) to add to")
        }
        let rows = weights.reduce(0) { $0 + ($1.shape.first ?? 0) }
        let columns = first.elementCount / max(first.shape.first ?? 1, 1)
        guard delta.size == (rows, columns), columns > 0,
            delta.rank.map({ $0 == first.shape.count }) ?? true,
            first.shape.allSatisfy({ $0 <= Int32.max })
        else {
            throw refuse("has shapes \(delta.shapes), which do not fit the weight's \(first.shape)")
        }
        if let magnitude = delta.magnitude, magnitude.elementCount != rows {
            throw refuse("has \(magnitude.elementCount) magnitudes for \(rows) rows")
        }
        for weight in weights where !weight.dtype.isFloatWeight {
            throw refuse("cannot be added to a weight of type \(weight.dtype.rawValue)")
        }
    }

    func info(_ name: String) -> TensorInfo? { fusedByName[name] ?? source.info(name) }

    func rows(of tensor: TensorInfo) throws -> EncodedRows? {
        fusedByName[tensor.name] == nil ? try source.rows(of: tensor) : nil
    }

    func recipe(of tensor: TensorInfo) -> String? { source.recipe(of: tensor) }

    func storedByteCount(of tensor: TensorInfo) -> Int { source.storedByteCount(of: tensor) }

    var computesValues: Bool { true }

    var metadata: [String: String] { source.metadata }

    func bytes(of tensor: TensorInfo) throws -> ByteView {
        guard let fused = fusedByName[tensor.name], let stored = source.info(tensor.name) else {
            return try source.bytes(of: tensor)
        }
        let base = try source.bytes(of: stored)
        let terms = try (gains[tensor.name] ?? []).map {
            try LoraTerm($0.delta, from: $0.firstRow, of: $0.file)
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

extension Checkpoint {
    /// The same model with adapters added to its weights, one after the other; int8 ones are
    /// decoded.
    ///
    /// - Throws: `BadDataError` when an adapter does not fit.
    public func fusing(_ adapters: [LoraAdapter]) throws -> Checkpoint {
        let added = adapters.filter { $0.moduleCount > 0 }
        var fused = self
        if !added.isEmpty {
            try Arithmetic.prepareBLAS(callers: WorkerPool.processorCount)
            fused = try decodingInt8()
            fused.source = try FusedTensors(fused.source, adding: added, file: path)
        }
        fused.adapters += adapters
        return fused
    }
}
