/// A model's tensors under the names of NVlabs' code, fused projections joined: the other way round
/// from `OriginalNames.renamed`.
extension OriginalNames {
    /// Caption tokens of every released model.
    private static let captionTokens = 300

    /// - Parameters:
    ///   - positions: patches of a latent of the model's own size.
    ///   - file: for messages.
    /// - Throws: `BadDataError` for a network whose original files also hold another one, and for
    ///   projections that cannot be joined.
    public static func original(
        of source: any TensorSource, positions: Int, file: String
    ) throws -> any TensorSource {
        if let known = SanaClass.of(source), !known.original.foreign.isEmpty {
            throw BadDataError(
                file: file,
                reason: "is a \(known.noun), whose original file also holds its transformer",
                remedy: "leave out --names original")
        }
        var stored: [StoredTensor] = []
        var taken = Set<String>()
        for tensor in source.tensors where !taken.contains(tensor.name) {
            let (name, parts) = try original(tensor.name, in: source, file: file)
            taken.formUnion(parts.map(\.name))
            stored.append(try StoredTensor(joining: parts, as: name, of: source, file: file))
        }
        stored += unusedTensors(of: stored.map(\.info), positions: positions)
        return try MappedTensors(stored, path: file, metadata: source.metadata)
    }

    /// The table of positions and the empty caption, which no forward uses and which readers of
    /// originals look for, as zeros.
    private static func unusedTensors(of tensors: [TensorInfo], positions: Int) -> [StoredTensor] {
        func shape(_ name: String) -> [Int]? { tensors.first { $0.name == name }?.shape }
        guard let width = shape("x_embedder.proj.weight")?.first,
            let captions = shape("y_embedder.y_proj.fc1.weight")?.last
        else { return [] }
        return [
            ("pos_embed", [1, positions, width]),
            ("y_embedder.y_embedding", [captionTokens, captions]),
        ].compactMap { name, shape in
            guard let info = TensorInfo(name: name, dtype: .f32, shape: shape) else { return nil }
            return StoredTensor(info) {
                ByteView(count: info.byteCount) {
                    $0.initializeMemory(as: UInt8.self, repeating: 0)
                }
            }
        }
    }

    /// What the original code calls a tensor, with all tensors that it holds there.
    private static func original(
        _ name: String, in source: any TensorSource, file: String
    ) throws -> (String, [TensorInfo]) {
        if name == "scale_shift_table" {
            return ("final_layer.scale_shift_table", source.info(name).map { [$0] } ?? [])
        }
        guard let dot = name.lastIndex(of: ".") else {
            return (name, source.info(name).map { [$0] } ?? [])
        }
        let (module, parameter) = (String(name[..<dot]), String(name[dot...]))
        let parts = module.split(separator: ".", maxSplits: 2).map(String.init)
        if parts.first == "transformer_blocks", parts.count > 1 {
            let (block, inner) = ("blocks.\(parts[1]).", parts.count > 2 ? parts[2] : "")
            guard !inner.isEmpty else {
                return (block + String(parameter.dropFirst()), source.info(name).map { [$0] } ?? [])
            }
            guard let found = blockModules.first(where: { $0.value.contains(inner) }) else {
                throw unknown(name, file)
            }
            let names = found.value.map { "transformer_blocks.\(parts[1]).\($0)" + parameter }
            let tensors = names.compactMap(source.info)
            guard tensors.count == names.count else { throw unknown(name, file) }
            return (block + found.key + parameter, tensors)
        }
        for layer in [1, 2]
        where module.hasPrefix("time_embed.")
            && module.hasSuffix("timestep_embedder.linear_\(layer)")
        {
            return (
                "t_embedder.mlp.\(layer == 1 ? 0 : 2)" + parameter,
                source.info(name).map { [$0] } ?? []
            )
        }
        guard let found = modules.first(where: { $0.value == module }) else {
            throw unknown(name, file)
        }
        return (found.key + parameter, source.info(name).map { [$0] } ?? [])
    }

    private static func unknown(_ name: String, _ file: String) -> BadDataError {
        BadDataError(
            file: file, reason: "'\(name.printable)' has no name in NVlabs' code",
            remedy: "leave out --names original")
    }
}

extension StoredTensor {
    /// Tensors of one type one below the other, joined when they are asked for.
    ///
    /// - Throws: `BadDataError` where their types or columns differ.
    init(
        joining parts: [TensorInfo], as name: String, of source: any TensorSource, file: String
    ) throws {
        guard let first = parts.first else {
            throw BadDataError(file: file, reason: "'\(name.printable)' has no tensors")
        }
        // An adapter makes fp32 of the weights that it is for.
        let isOneType = parts.allSatisfy { $0.dtype == first.dtype }
        let dtype = isOneType ? first.dtype : .f32
        let isAlike = parts.allSatisfy {
            (isOneType || $0.dtype.isFloatWeight)
                && $0.shape.dropFirst() == first.shape.dropFirst()
        }
        let rows = parts.reduce(0) { $0 + ($1.shape.first ?? 1) }
        let shape = parts.count == 1 ? first.shape : [rows] + first.shape.dropFirst()
        guard isAlike, let info = TensorInfo(name: name, dtype: dtype, shape: shape) else {
            throw BadDataError(
                file: file,
                reason: "'\(first.name.printable)' and its neighbours differ in type or shape, and "
                    + "cannot be joined",
                remedy: "convert all weights to one type")
        }
        self.init(info) {
            if parts.count == 1 { return try source.bytes(of: first) }
            let values = try parts.map { part in
                let bytes = try source.bytes(of: part)
                return part.dtype == dtype ? bytes : bytes.asFloats(part.dtype)
            }
            return ByteView(count: info.byteCount) { memory in
                var offset = 0
                for value in values {
                    value.withUnsafeBytes {
                        UnsafeMutableRawBufferPointer(
                            rebasing: memory[offset..<offset + $0.count]
                        ).copyMemory(from: $0)
                    }
                    offset += value.count
                }
            }
        }
    }
}
