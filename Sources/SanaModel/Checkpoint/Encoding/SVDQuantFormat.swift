/// Weights of nunchaku's SVDQuant: 4 bits with a scale for each group of input channels, smooth
/// factors that the input is divided by, and a low-rank branch in 16 bits beside.
///
/// w = q · scale / smooth + up · down, where the branch sees the input before it is divided.
///
/// Sources: nunchaku 1.0 at 4132b3b, `src/SanaModel.cpp` for the modules of a block,
/// `src/kernels/zgemm/epilogues.cuh` (`EpilogueLiteLA`) for the order of keys and values and
/// `gemm_base.cuh` (`load_act_to_fpsum`) for that of the gate; `SVDQuantPacking` for the rest.
///
/// By the format, the output of linear attention has no bias: `SanaLinearTransformerBlock` makes it
/// without one, and `Module::registerParams` passes over what is not made, so that nunchaku neither
/// asks for `attn.out_proj.bias` nor reads it. The model's own network has one: a stored bias is
/// read as that, and in place of an absent one there are zeros, which is what nunchaku computes.
struct SVDQuantFormat: QuantizationFormat {
    private let model: QuantizedModel
    /// Modules whose weights are packed.
    private let modules: [String]

    init?(_ model: QuantizedModel) {
        guard case .foreign("nunchaku", _, _) = model.stored else { return nil }
        modules = model.tensors.compactMap { tensor in
            tensor.name.hasSuffix(".qweight") ? String(tensor.name.dropLast(8)) : nil
        }
        guard !modules.isEmpty else { return nil }
        self.model = model
    }

    // MARK: Modules

    /// What a module of nunchaku's holds, by the names that diffusers has below the block.
    private enum Kind: Sendable {
        case plain(String)
        /// Queries, then for each head of 32 its keys and its values.
        case attention([String])
        /// Feed-forward channels interleaved with their gates.
        case gated(String)
        /// From the channels of the feed-forward.
        case fromHidden(String)
    }

    private static let kinds: [String: Kind] = [
        "attn.qkv_proj": .attention(["attn1.to_q", "attn1.to_k", "attn1.to_v"]),
        "attn.out_proj": .plain("attn1.to_out.0"), "cross_attn.q_linear": .plain("attn2.to_q"),
        "cross_attn.out_proj": .plain("attn2.to_out.0"),
        "ff.inverted_conv": .gated("ff.conv_inverted"),
        "ff.point_conv": .fromHidden("ff.conv_point"),
    ]

    /// Modules that are not packed, but called or laid out otherwise.
    private static let keysAndValues = "cross_attn.kv_linear"
    private static let depthwise = "ff.depth_conv"

    /// `transformer_blocks.N.` and the module in the block; `nil` for other names.
    private static func split(_ name: String) -> (block: String, module: String)? {
        let parts = name.split(separator: ".", maxSplits: 2)
        guard parts.count == 3, parts[0] == "transformer_blocks", Int(parts[1]) != nil else {
            return nil
        }
        return ("transformer_blocks.\(parts[1]).", String(parts[2]))
    }

    private static func kind(_ module: String) -> (block: String, kind: Kind)? {
        split(module).flatMap { place in kinds[place.module].map { (place.block, $0) } }
    }

    /// Which stored row the row of a weight is.
    private enum Order: Sendable {
        case plain
        /// Keys or values, the first of which stand at `first`, 32 of every 64 rows.
        case headed(first: Int)
        /// The second half stands between the first one's rows.
        case gated(count: Int)

        func stored(_ row: Int) -> Int {
            switch self {
            case .plain: row
            case .headed(let first): first + row / 32 * 64 + row % 32
            case .gated(let count): row < count ? 2 * row : 2 * (row - count) + 1
            }
        }
    }

    // MARK: Settings

    private var isInt4: Bool { model.byName[modules[0] + ".wscales"]?.dtype != .f8e4m3 }

    private var recipe: String { isInt4 ? "int4" : "fp4_e2m1_all" }

    var findings: [QuantizationFinding] {
        let scales = modules[0] + ".wscales"
        // Other networks and what their modulation is packed as.
        let unknown =
            modules.first { Self.kind($0) == nil }.map { $0 + ".qweight" }
            ?? model.tensors.first { $0.name.hasSuffix(".wzeros") }?.name
        if let unknown { return [QuantizationCheck.unsupported("nunchaku", "SVDQuant", unknown)] }
        // nunchaku has no Sana with them, and so no name for their weights.
        if let norm = model.config?["qk_norm"], norm != .null {
            return [
                QuantizationCheck.unsupported("nunchaku", "SVDQuant, with QK norms", scales)
            ]
        }
        let contradictions = QuantizationCheck.settingFindings(
            model, method: "svdquant", recipe: recipe, tensor: scales)
        guard contradictions.isEmpty, let size = model.settings?.groupSize, size != groupSize else {
            return contradictions
        }
        return [
            .init(
                kind: .contradiction, location: QuantizationCheck.key,
                reason:
                    "\(QuantizationCheck.key) says groups of \(size), and '\(scales.printable)' "
                    + "is \(recipe) in groups of \(groupSize)")
        ]
    }

    private var groupSize: Int { isInt4 ? 64 : 16 }

    // MARK: Tensors

    func isLeftOut(_ tensor: TensorInfo) -> Bool {
        // A copy of the values for guidance by perturbed attention, the factors before they were
        // joined with the layer before, and biases of zeros that no layer has.
        [".smooth_orig", ".qkv_proj.bias", ".point_conv.bias"].contains {
            tensor.name.hasSuffix($0)
        } || tensor.name.contains(".attn.pag_to_v.")
    }

    func unquantized(
        _ tensor: TensorInfo, of source: any TensorSource, shapes: [String: [Int]], file: String
    ) throws -> [StoredTensor] {
        let stored = StoredTensor(tensor, of: source)
        guard let (block, rest) = Self.split(tensor.name), let dot = rest.lastIndex(of: ".") else {
            return [stored]
        }
        let parameter = rest[dot...]
        switch String(rest[..<dot]) {
        case Self.keysAndValues:
            return try stored.parts(
                ["to_k", "to_v"].map { block + "attn2." + $0 + parameter }, file: file)
        case Self.depthwise:
            return [
                try depthwise(tensor, block + "ff.conv_depth" + parameter, source, shapes, file)
            ]
        default: return [stored]
        }
    }

    /// Separates feed-forward channels from their gates, which are stored interleaved.
    private func depthwise(
        _ tensor: TensorInfo, _ name: String, _ source: any TensorSource, _ shapes: [String: [Int]],
        _ file: String
    ) throws -> StoredTensor {
        guard let shape = shapes[name], let rows = shape.first, rows > 0, rows % 2 == 0,
            let info = TensorInfo(name: name, dtype: tensor.dtype, shape: shape),
            let stored = tensor.shape.first, stored >= rows,
            tensor.elementCount / stored == info.elementCount / rows
        else { throw Self.unfit(tensor, "the configuration", file) }
        let (width, order) = (info.byteCount / rows, Order.gated(count: rows / 2))
        return StoredTensor(info) {
            let bytes = try source.bytes(of: tensor)
            return ByteView(count: info.byteCount) { memory in
                for row in 0..<rows {
                    bytes.slice(order.stored(row) * width, width).withUnsafeBytes {
                        UnsafeMutableRawBufferPointer(
                            rebasing: memory[row * width..<(row + 1) * width]
                        ).copyMemory(from: $0)
                    }
                }
            }
        }
    }

    func encodings(
        of source: any TensorSource, shapes: [String: [Int]], file: String
    ) throws -> [TensorEncoding] {
        guard !shapes.isEmpty else {
            throw BadDataError(
                file: file,
                reason: "the packed weights do not tell what is padding, and config.json is absent",
                remedy: "name the model's config.json with --config")
        }
        return try modules.flatMap { module -> [TensorEncoding] in
            guard let (block, kind) = Self.kind(module) else { return [] }
            return try encodings(module, block, kind, source, shapes, file)
        }
    }

    private func encodings(
        _ module: String, _ block: String, _ kind: Kind, _ source: any TensorSource,
        _ shapes: [String: [Int]], _ file: String
    ) throws -> [TensorEncoding] {
        let names: [String] =
            switch kind {
            case .plain(let name), .gated(let name), .fromHidden(let name): [name]
            case .attention(let names): names
            }
        let parts = try SVDQuantParts(module, isInt4: isInt4, of: source, file: file)
        let recipe = "SVDQuant (\(isInt4 ? "int4" : "fp4"))"
        return try names.enumerated().flatMap { index, name -> [TensorEncoding] in
            guard let shape = shapes[block + name + ".weight"], shape.count > 1, shape[0] > 0,
                let info = TensorInfo(name: "", dtype: .f32, shape: shape)
            else { throw Self.unfit(parts.weight, "the configuration", file) }
            let (rows, columns) = (shape[0], info.elementCount / shape[0])
            let (order, needed) = Self.order(kind, index, rows: rows)
            let inner = Self.isFromHidden(kind) ? SVDQuantPacking.padded(columns, to: 64) : columns
            guard parts.rows == needed, parts.columns == SVDQuantPacking.padded(inner) else {
                throw Self.unfit(parts.weight, "the configuration's \(shape)", file)
            }
            let weight = TensorEncoding(
                block + name + ".weight", shape: shape, recipe: recipe, parts: parts.all,
                storedByteCount: parts.byteCount / names.count
            ) { source in
                let values = try SVDQuantValues(parts, columns: columns, of: source, file: file)
                return { range, target in
                    for (index, row) in range.enumerated() {
                        values.decode(order.stored(row), to: target + index * columns)
                    }
                }
            }
            let bias = block + name + ".bias"
            guard shapes[bias] != nil else { return [weight] }
            return [weight, try self.bias(bias, module, parts, rows, order, recipe, source, file)]
        }
    }

    /// A bias, in the order of the weight's rows.
    private func bias(
        _ name: String, _ module: String, _ parts: SVDQuantParts, _ rows: Int, _ order: Order,
        _ recipe: String, _ source: any TensorSource, _ file: String
    ) throws -> TensorEncoding {
        guard source.info(module + ".bias") != nil || module.hasSuffix(".attn.out_proj") else {
            throw BadDataError.damagedWeights(
                file, "tensor '\(module.printable).bias' is absent")
        }
        let bias = try source.info(module + ".bias").map {
            try source.part($0.name, of: parts.rows, [.bf16, .f16], file: file)
        }
        return TensorEncoding(
            name, shape: [rows], recipe: bias == nil ? "no bias in SVDQuant: zeros" : recipe,
            parts: [parts.weight] + (bias.map { [$0] } ?? []),
            storedByteCount: bias?.byteCount ?? 0
        ) { source in
            let values = try bias.map { try source.floats($0, file: file) }
            return { range, target in
                for (index, row) in range.enumerated() {
                    let place = SVDQuantPacking.scaleIndex(row: order.stored(row))
                    target[index] = values?.pointer[place] ?? 0
                }
            }
        }
    }

    private static func isFromHidden(_ kind: Kind) -> Bool {
        if case .fromHidden = kind { true } else { false }
    }

    /// The order of the rows of a weight, and how many are stored.
    private static func order(_ kind: Kind, _ index: Int, rows: Int) -> (Order, stored: Int) {
        let padded = SVDQuantPacking.padded(rows)
        switch kind {
        case .plain, .fromHidden: return (.plain, padded)
        case .attention:
            return (index == 0 ? .plain : .headed(first: padded + 32 * (index - 1)), 3 * padded)
        case .gated:
            let hidden = SVDQuantPacking.padded(rows / 2, to: 64)
            return (.gated(count: rows / 2), SVDQuantPacking.padded(2 * hidden))
        }
    }

    private static func unfit(_ tensor: TensorInfo, _ other: String, _ file: String) -> BadDataError
    {
        BadDataError(
            file: file,
            reason: "SVDQuant's '\(tensor.name.printable)' \(tensor.shape) does not fit \(other)",
            remedy: "use the config.json of this model")
    }
}
