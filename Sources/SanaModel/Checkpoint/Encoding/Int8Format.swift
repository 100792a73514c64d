import CSanaKernels

/// Plain int8, ours and SDNQ's: `X.weight` I8 with `X.scale`, one float for each row.
///
/// Products take its integers as they are; this is for those who need numbers.
enum Int8Format {
    /// The same tensors with int8 weights as fp32, decoded when they are asked for; the source
    /// itself where there are none.
    ///
    /// - Parameter file: for messages.
    /// - Throws: `BadDataError` for an int8 weight without a scale for each row.
    static func decoded(_ source: any TensorSource, file: String) throws -> any TensorSource {
        let weights = source.tensors.filter { $0.dtype == .i8 && $0.name.hasSuffix(".weight") }
        guard !weights.isEmpty else { return source }
        let encodings = try weights.map { weight in
            try encoding(
                of: weight, scaledBy: weight.name.dropLast("weight".count) + "scale",
                recipe: "int8", in: source, file: file)
        }
        let byWeight = Dictionary(encodings.map { ($0.name, $0) }) { first, _ in first }
        let scales = Set(encodings.flatMap { $0.parts.dropFirst() })
        let tensors = try source.tensors.compactMap { tensor -> StoredTensor? in
            if let encoding = byWeight[tensor.name] {
                return try StoredTensor(encoding, of: source, file: file)
            }
            return scales.contains(tensor.name) ? nil : StoredTensor(tensor, of: source)
        }
        return try MappedTensors(tensors, path: file, metadata: source.metadata)
    }

    /// w = q · scale of its row, then · `factor`, each product rounded.
    ///
    /// - Parameters:
    ///   - name: of the tensor with the scales.
    ///   - recipe: method and recipe, for people.
    /// - Throws: `BadDataError` unless there is one scale per row.
    static func encoding(
        of weight: TensorInfo, scaledBy name: String, recipe: String, times factor: Float = 1,
        in source: any TensorSource, file: String
    ) throws -> TensorEncoding {
        let rows = weight.shape.first ?? 1
        let scale = try source.part(name, of: rows, DType.floatWeights, file: file)
        let columns = rows > 0 ? weight.elementCount / rows : 0
        return TensorEncoding(
            weight.name, shape: weight.shape, recipe: recipe, parts: [weight, scale]
        ) { source in
            let bytes = try source.bytes(of: weight)
            let scales = try source.floats(scale, file: file)
            return { range, target in
                let start = bytes.address.assumingMemoryBound(to: Int8.self)
                for (index, row) in range.enumerated() {
                    let output = target + index * columns
                    Kernels.best.widen_i8(
                        start + row * columns, scales.pointer[row], output, columns)
                    guard factor != 1 else { continue }
                    for column in 0..<columns { output[column] *= factor }
                }
            }
        }
    }
}

extension Checkpoint {
    /// The same weights with plain int8 as numbers, and a configuration without it; itself where
    /// nothing is int8.
    ///
    /// - Throws: `BadDataError` for an int8 weight without a scale for each row.
    public func decodingInt8() throws -> Checkpoint {
        let decoded = try Int8Format.decoded(source, file: path)
        guard decoded.tensors.count != source.tensors.count else { return self }
        var checkpoint = self
        checkpoint.source = decoded
        checkpoint.configJSON = configJSON.removing(QuantizationCheck.key)
        return checkpoint
    }
}
