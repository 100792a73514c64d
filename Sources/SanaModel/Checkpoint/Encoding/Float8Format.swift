/// Floats of 8 bits, alone or with a scale: as `torch_dtype=float8_e4m3fn` and layerwise casting
/// store them, and as ComfyUI does (`scale_weight` with the marker `scaled_fp8`, or `weight_scale`
/// with `comfy_quant`).
///
/// Sources: OCP 8-bit floating point (OFP8) 1.0 for the types; ComfyUI `comfy/ops.py` and
/// `comfy/quant_ops.py` for the names.
struct Float8Format: QuantizationFormat {
    private let model: QuantizedModel

    init?(_ model: QuantizedModel) {
        // Whoever names a method in the configuration means it.
        guard model.settings == nil,
            model.tensors.contains(where: { Float8.table($0.dtype) != nil })
        else { return nil }
        switch model.stored {
        // Scales of blocks that would go unread.
        case .foreign("fp8", "in blocks", _): return nil
        case .foreign("ComfyUI", _, _), .foreign("fp8", _, _): break
        case .foreign("compressed-tensors or ModelOpt", "scaled weights", _): break
        default: return nil
        }
        self.model = model
    }

    var findings: [QuantizationFinding] { [] }

    func isLeftOut(_ tensor: TensorInfo) -> Bool {
        tensor.name == "scaled_fp8" || tensor.name.hasSuffix(".scaled_fp8")
            || [".scale_input", ".input_scale", ".comfy_quant"].contains {
                tensor.name.hasSuffix($0)
            }
    }

    func encodings(
        of source: any TensorSource, shapes: [String: [Int]], file: String
    ) throws -> [TensorEncoding] {
        for tensor in source.tensors where tensor.name.hasSuffix(".comfy_quant") {
            try checkNote(tensor, source, file)
        }
        return try source.tensors.compactMap { tensor in
            guard let table = Float8.table(tensor.dtype), !isLeftOut(tensor) else { return nil }
            let module = tensor.name.dropLast("weight".count)
            let scale =
                tensor.name.hasSuffix(".weight")
                ? ["scale_weight", "weight_scale"].lazy.compactMap { source.info(module + $0) }
                    .first
                : nil
            return try encoding(tensor, table, scale, file)
        }
    }

    /// What a module's note says has to be a float of 8 bits.
    private func checkNote(_ note: TensorInfo, _ source: any TensorSource, _ file: String) throws {
        let json = try JSONFile.parse(
            source.bytes(of: note), path: file, maximumByteCount: 1 << 16)
        let format = json["format"]?.string ?? json.text()
        guard ["float8_e4m3fn", "float8_e5m2"].contains(format) else {
            throw QuantizationError(
                file: file,
                finding: QuantizationCheck.unsupported("ComfyUI", format, note.name))
        }
    }

    private func encoding(
        _ tensor: TensorInfo, _ table: [Float], _ scale: TensorInfo?, _ file: String
    ) throws -> TensorEncoding {
        let rows = tensor.shape.first ?? 1
        if let scale, ![1, rows].contains(scale.elementCount) || !scale.dtype.isFloatWeight {
            throw BadDataError.damagedWeights(
                file,
                "'\(scale.name.printable)' is \(scale.dtype.rawValue) \(scale.shape), not "
                    + "one scale or one for each of \(rows) rows")
        }
        let columns = rows > 0 ? tensor.elementCount / rows : 0
        let kind = tensor.dtype == .f8e4m3 || tensor.dtype == .f8e4m3fnuz ? "E4M3" : "E5M2"
        return TensorEncoding(
            tensor.name, shape: tensor.shape,
            recipe: scale == nil ? "fp8 \(kind)" : "scaled fp8 \(kind)",
            parts: [tensor] + (scale.map { [$0] } ?? [])
        ) { source in
            let bytes = try source.bytes(of: tensor)
            let scales = try scale.map { try source.floats($0, file: file) }
            return { range, target in
                let start = bytes.address.assumingMemoryBound(to: UInt8.self)
                for (index, row) in range.enumerated() {
                    let (values, output) = (start + row * columns, target + index * columns)
                    guard let scales else {
                        for column in 0..<columns { output[column] = table[Int(values[column])] }
                        continue
                    }
                    let factor = scales.pointer[scales.count == 1 ? 0 : row]
                    for column in 0..<columns {
                        output[column] = table[Int(values[column])] * factor
                    }
                }
            }
        }
    }
}

/// The numbers that 8 bits stand for.
enum Float8 {
    /// The 256 values of a type; `nil` for types of another width.
    static func table(_ dtype: DType) -> [Float]? { tables[dtype] }

    private static let tables: [DType: [Float]] = [
        .f8e4m3: values(mantissa: 3, bias: 7) { $0 & 0x7F == 0x7F ? .nan : nil },
        .f8e5m2: values(mantissa: 2, bias: 15) {
            $0 & 0x7F < 0x7C ? nil : $0 & 0x7F > 0x7C ? .nan : $0 < 0x80 ? .infinity : -.infinity
        },
        .f8e4m3fnuz: values(mantissa: 3, bias: 8) { $0 == 0x80 ? .nan : nil },
        .f8e5m2fnuz: values(mantissa: 2, bias: 16) { $0 == 0x80 ? .nan : nil },
    ]

    /// - Parameter special: the value of a byte that is none of sign, exponent and mantissa.
    private static func values(
        mantissa bits: Int, bias: Int, _ special: (Int) -> Float?
    ) -> [Float] {
        (0..<256).map { byte in
            if let value = special(byte) { return value }
            let (exponent, mantissa) = ((byte & 0x7F) >> bits, byte & ((1 << bits) - 1))
            let magnitude =
                exponent == 0
                ? Float(sign: .plus, exponent: 1 - bias - bits, significand: Float(mantissa))
                : Float(
                    sign: .plus, exponent: exponent - bias - bits,
                    significand: Float(mantissa + (1 << bits)))
            return byte < 0x80 ? magnitude : -magnitude
        }
    }
}
