/// Weights of torchao as its safetensors support flattens them: `M._weight_qdata` with
/// `_weight_scale` and at times `_weight_zero_point`, described in the file's metadata.
///
/// Sources: torchao 0.17, `prototype/safetensors/safetensors_support.py`; `Int8Tensor`,
/// `IntxUnpackedToInt8Tensor` and `Float8Tensor`. Types that are packed for one kernel are named.
struct TorchAOFormat: QuantizationFormat {
    private static let ending = "._weight_qdata"
    private let model: QuantizedModel
    private let modules: [String]

    init?(_ model: QuantizedModel) {
        modules = model.tensors.compactMap { tensor in
            tensor.name.hasSuffix(Self.ending)
                ? String(tensor.name.dropLast(Self.ending.count)) : nil
        }
        guard !modules.isEmpty else { return nil }
        self.model = model
    }

    var findings: [QuantizationFinding] {
        let (name, types): (String, Set<DType>) = (
            modules[0] + Self.ending, [.i8, .f8e4m3, .f8e5m2]
        )
        if let dtype = model.byName[name]?.dtype, !types.contains(dtype) {
            return [QuantizationCheck.unsupported("torchao", "packed \(dtype.rawValue)", name)]
        }
        return QuantizationCheck.settingFindings(
            model, method: "torchao", recipe: "integers or fp8", tensor: name)
    }

    func encodings(
        of source: any TensorSource, shapes: [String: [Int]], file: String
    ) throws -> [TensorEncoding] {
        try modules.map { try encoding($0, source, file) }
    }

    private func encoding(
        _ module: String, _ source: any TensorSource, _ file: String
    ) throws -> TensorEncoding {
        let name = module + ".weight"
        let note = try source.metadata[name].map {
            try JSONFile.parse(ByteView(Array($0.utf8)), path: file, maximumByteCount: 1 << 16)
        }
        let kind = note?["_type"]?.string ?? "a type that the file does not name"
        guard ["Int8Tensor", "IntxUnpackedToInt8Tensor", "Float8Tensor"].contains(kind) else {
            throw QuantizationError(
                file: file,
                finding: QuantizationCheck.unsupported("torchao", kind, module + Self.ending))
        }
        guard let data = source.info(module + Self.ending), data.shape.count == 2,
            data.shape.allSatisfy({ $0 > 0 }), data.dtype == .i8 || Float8.table(data.dtype) != nil
        else {
            throw BadDataError.damagedWeights(
                file, "'\(name.printable)' of torchao is not a matrix of int8 or fp8")
        }
        let (rows, columns) = (data.shape[0], data.shape[1])
        guard let scale = source.info(module + "._weight_scale"), scale.dtype.isFloatWeight,
            scale.elementCount > 0, scale.elementCount % rows == 0 || scale.elementCount == 1,
            scale.elementCount == 1 || columns % (scale.elementCount / rows) == 0
        else {
            throw BadDataError.damagedWeights(
                file, "'\(name.printable)' of torchao has no scale that fits it")
        }
        let offset = source.info(module + "._weight_zero_point")
        if let offset, offset.elementCount != scale.elementCount {
            throw BadDataError(
                file: file, reason: "'\(name.printable)' of torchao has zero points that do not fit"
            )
        }
        let types: [String: DType] = ["float32": .f32, "float16": .f16, "bfloat16": .bf16]
        let result = note?["_data"]?["dtype"]?["_data"]?.string.flatMap { types[$0] } ?? .f32
        let parts = [data, scale] + (offset.map { [$0] } ?? [])
        return TensorEncoding(
            name, shape: data.shape, recipe: "torchao (\(kind))", parts: parts
        ) { source in
            let bytes = try source.bytes(of: data)
            let scales = try source.floats(scale, file: file)
            let offsets = try offset.map { try Self.offsets($0, source, file) }
            let table = Float8.table(data.dtype)
            let blocks = max(scales.count / rows, 1)
            return { range, target in
                let start = bytes.address.assumingMemoryBound(to: UInt8.self)
                for (index, row) in range.enumerated() {
                    let (values, output) = (start + row * columns, target + index * columns)
                    for column in 0..<columns {
                        let place =
                            scales.count == 1 ? 0 : row * blocks + column / (columns / blocks)
                        let value =
                            table.map { $0[Int(values[column])] }
                            ?? Float(Int8(bitPattern: values[column]))
                        let shifted = value - (offsets?.pointer[place] ?? 0)
                        output[column] = (shifted * scales.pointer[place]).rounded(to: result)
                    }
                }
            }
        }
    }

    /// Zero points, which are integers or floats.
    private static func offsets(
        _ tensor: TensorInfo, _ source: any TensorSource, _ file: String
    ) throws -> FloatBuffer {
        guard tensor.dtype == .i8 else { return try source.floats(tensor, file: file) }
        let bytes = try source.bytes(of: tensor)
        let values = FloatBuffer(count: tensor.elementCount)
        let start = bytes.address.assumingMemoryBound(to: Int8.self)
        for index in 0..<tensor.elementCount { values.pointer[index] = Float(start[index]) }
        return values
    }
}
