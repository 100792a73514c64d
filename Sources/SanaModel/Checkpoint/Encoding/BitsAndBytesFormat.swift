/// Weights of bitsandbytes: LLM.int8, NF4 and FP4, the latter two with absmax values that are
/// quantized themselves or not.
///
/// Sources: bitsandbytes 0.49, `functional.py` (`QuantState`, `dequantize_4bit`,
/// `int8_vectorwise_dequant`) and `nn/modules.py` for the names.
struct BitsAndBytesFormat: QuantizationFormat {
    private static let statePrefix = ".quant_state.bitsandbytes__"
    private let model: QuantizedModel
    /// Weights in 4 bits, by name, with the tensor that describes each.
    private let states: [(weight: String, state: TensorInfo)]
    /// Modules in int8.
    private let int8: [String]

    init?(_ model: QuantizedModel) {
        self.model = model
        int8 = model.tensors.compactMap { tensor in
            tensor.name.hasSuffix(".SCB") ? String(tensor.name.dropLast(".SCB".count)) : nil
        }
        states = model.tensors.compactMap { tensor in
            guard let range = tensor.name.firstRange(of: Self.statePrefix) else { return nil }
            return (String(tensor.name[..<range.lowerBound]), tensor)
        }
        guard !int8.isEmpty || !states.isEmpty else { return nil }
    }

    private var recipe: String { int8.isEmpty ? kind(states[0].state) : "int8" }

    private func kind(_ state: TensorInfo) -> String {
        state.name.firstRange(of: Self.statePrefix).map {
            String(state.name[$0.upperBound...])
        } ?? ""
    }

    var findings: [QuantizationFinding] {
        QuantizationCheck.settingFindings(
            model, method: "bitsandbytes", recipe: recipe,
            tensor: int8.first.map { $0 + ".SCB" } ?? states[0].state.name)
    }

    func isLeftOut(_ tensor: TensorInfo) -> Bool { tensor.name.hasSuffix(".weight_format") }

    func encodings(
        of source: any TensorSource, shapes: [String: [Int]], file: String
    ) throws -> [TensorEncoding] {
        try int8.map { try int8Encoding($0, source, file) }
            + states.map { try fourBitEncoding($0.weight, $0.state, source, file) }
    }

    // MARK: int8

    /// w = q · SCB of its row / 127.
    private func int8Encoding(
        _ module: String, _ source: any TensorSource, _ file: String
    ) throws -> TensorEncoding {
        let name = module + ".weight"
        guard let weight = source.info(name), weight.dtype == .i8, weight.shape.count == 2 else {
            throw BadDataError.damagedWeights(
                file, "'\(module.printable).SCB' has no int8 weight [out, in]")
        }
        try checkLayout(module, source, file)
        return try Int8Format.encoding(
            of: weight, scaledBy: module + ".SCB", recipe: "bitsandbytes (int8)",
            times: 7.874015718698502e-3, in: source, file: file)
    }

    /// Layouts of `weight_format`. Old releases also stored those of a kernel, which nothing reads
    /// any more.
    private static let layouts = ["row", "col32", "col_turing", "col_ampere"]

    private func checkLayout(_ module: String, _ source: any TensorSource, _ file: String) throws {
        guard let tensor = source.info(module + ".weight_format") else { return }
        let number = try source.bytes(of: tensor).withUnsafeBytes { $0.first }.map(Int.init) ?? 0
        guard number != 0 else { return }
        let layout = Self.layouts.indices.contains(number) ? Self.layouts[number] : "\(number)"
        throw QuantizationError(
            file: file,
            finding: QuantizationCheck.unsupported(
                "bitsandbytes", "int8 in the layout \(layout)", tensor.name))
    }

    // MARK: 4 bits

    /// What the state of a weight says.
    private struct State {
        let kind: String
        let shape: [Int]
        let block: Int
        /// The type that the library dequantizes to.
        let dtype: DType
        /// Of absmax values that are quantized themselves.
        let nested: (block: Int, offset: Float)?

        init(_ json: JSONValue, name: String, file: String) throws {
            func refuse(_ key: String) -> BadDataError {
                BadDataError.damagedWeights(
                    file,
                    "'\(name.printable)' has no usable \(key): "
                        + (json[key]?.text().printable ?? "it is absent"))
            }
            guard let kind = json["quant_type"]?.string, kind == "nf4" || kind == "fp4" else {
                throw refuse("quant_type")
            }
            guard let sizes = json["shape"]?.array?.map(\.int), sizes.count <= 8,
                !sizes.isEmpty, sizes.allSatisfy({ ($0 ?? -1) >= 0 })
            else { throw refuse("shape") }
            let blocks = 1...(1 << 24)
            guard let block = json["blocksize"]?.int, blocks.contains(block) else {
                throw refuse("blocksize")
            }
            let types: [String: DType] = ["float32": .f32, "float16": .f16, "bfloat16": .bf16]
            guard let dtype = json["dtype"]?.string.flatMap({ types[$0] }) else {
                throw refuse("dtype")
            }
            (self.kind, shape, self.block, self.dtype) = (
                kind, sizes.compactMap(\.self), block, dtype
            )
            guard json["nested_blocksize"] != nil else {
                nested = nil
                return
            }
            guard let size = json["nested_blocksize"]?.int, blocks.contains(size),
                let offset = json["nested_offset"]?.double
            else { throw refuse("nested_blocksize") }
            nested = (size, Float(offset))
        }
    }

    private func fourBitEncoding(
        _ name: String, _ stateTensor: TensorInfo, _ source: any TensorSource, _ file: String
    ) throws -> TensorEncoding {
        let json = try JSONFile.parse(
            source.bytes(of: stateTensor), path: file, maximumByteCount: 1 << 16)
        let state = try State(json, name: stateTensor.name, file: file)
        guard let logical = TensorInfo(name: name, dtype: .f32, shape: state.shape),
            let weight = source.info(name), weight.byteCount == (logical.elementCount + 1) / 2
        else {
            throw BadDataError.damagedWeights(
                file,
                "'\(name.printable)' does not hold the \(state.shape) values of 4 bits that "
                    + "its state describes")
        }
        let count = logical.elementCount
        let blocks = (count + state.block - 1) / state.block
        let code = try source.part(
            name + ".quant_map", of: 16, DType.floatWeights, file: file)
        let absmax = try source.part(
            name + ".absmax", of: blocks, state.nested == nil ? DType.floatWeights : [.u8],
            file: file)
        var parts = [weight, stateTensor, code, absmax]
        if let nested = state.nested {
            let outer = (blocks + nested.block - 1) / nested.block
            parts.append(
                try source.part(name + ".nested_absmax", of: outer, [.f32], file: file))
            parts.append(
                try source.part(name + ".nested_quant_map", of: 256, [.f32], file: file))
        }
        let (columns, companions) = (count / max(state.shape[0], 1), parts)
        let recipe = state.kind + (state.nested == nil ? "" : ", double quantization")
        return TensorEncoding(
            name, shape: state.shape, recipe: "bitsandbytes (\(recipe))", parts: parts
        ) { source in
            let bytes = try source.bytes(of: weight)
            let codes = try source.floats(code, file: file)
            let scales = try Self.absmax(companions, state.nested, source, file)
            return { range, target in
                let (first, end) = (range.lowerBound * columns, range.upperBound * columns)
                guard first < end else { return }
                let start = first / state.block
                scales.withValues(start..<(end - 1) / state.block + 1) { scales in
                    var element = first
                    while element < end {
                        let block = element / state.block
                        let count = min((block + 1) * state.block, end) - element
                        Self.decode(
                            bytes, element, count, codes, scales[block - start], state.dtype,
                            to: target + element - first)
                        element += count
                    }
                }
            }
        }
    }

    /// Writes `count` values of a block, the first of which is `element` of the weight.
    private static func decode(
        _ bytes: ByteView, _ element: Int, _ count: Int, _ codes: FloatBuffer, _ scale: Float,
        _ dtype: DType, to output: UnsafeMutablePointer<Float>
    ) {
        let start = bytes.address.assumingMemoryBound(to: UInt8.self)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: 16) { levels in
            for code in 0..<16 {
                levels[code] = (codes.pointer[code] * scale).rounded(to: dtype)
            }
            for index in 0..<count {
                let byte = start[(element + index) / 2]
                output[index] = levels[Int((element + index) % 2 == 0 ? byte >> 4 : byte & 15)]
            }
        }
    }

    /// - Parameter parts: of a weight: state, code and absmax, then those of the nested
    ///   quantization.
    private static func absmax(
        _ parts: [TensorInfo], _ nested: (block: Int, offset: Float)?, _ source: any TensorSource,
        _ file: String
    ) throws -> FloatRun {
        let absmax = parts[3]
        guard let nested else { return try source.floatRun(absmax, file: file) }
        let bytes = try source.bytes(of: absmax)
        let scales = try source.floats(parts[4], file: file)
        let code = try source.floats(parts[5], file: file)
        let values = FloatBuffer(count: absmax.elementCount)
        let start = bytes.address.assumingMemoryBound(to: UInt8.self)
        for index in 0..<absmax.elementCount {
            let value = code.pointer[Int(start[index])] * scales.pointer[index / nested.block]
            values.pointer[index] = value + nested.offset
        }
        return .made(values)
    }
}

extension Float {
    /// The nearest number of a float type, ties to even.
    func rounded(to dtype: DType) -> Float {
        switch dtype {
        case .f16: return Float(Float16(self))
        case .bf16:
            guard isFinite else { return self }
            let bits = bitPattern
            return Float(bitPattern: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) & 0xFFFF_0000)
        default: return self
        }
    }
}
