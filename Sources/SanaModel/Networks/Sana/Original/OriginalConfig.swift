/// The configuration of an original checkpoint, which comes without one: from the shapes of its
/// tensors, and from the released models where shapes do not tell.
enum OriginalConfig {
    /// Cross-attention heads × head dimension by width: 16 heads for the width of 0.6B, 20 for that
    /// of 1.6B to 4.8B (`SanaMS_*` of NVlabs/Sana).
    private static let crossHeads = [1152: (16, 72), 2240: (20, 112)]
    /// `linear_head_dim` of every released model.
    private static let headDimension = 32
    /// Latent side of 1024 pixels, which models without a table of positions were trained for.
    private static let commonSampleSize = 32
    /// By latent side: the 2K and 4K models add sincos positions, smaller ones none.
    private static let interpolationScales = [64: 1.0, 128: 2.0]
    private static let releasedRatio = 2.5

    /// Makes what `config.json` would hold.
    ///
    /// - Parameter tensors: under their original names, without prefixes.
    /// - Throws: `BadDataError` when a tensor that tells is absent or misshapen, or the shapes are
    ///   of no released model; `--config` stands in for what cannot be told.
    static func infer(_ tensors: [TensorInfo], file: String) throws -> JSONValue {
        let shapes = Dictionary(tensors.map { ($0.name, $0.shape) }) { first, _ in first }
        func shape(_ name: String, rank: Int) throws -> [Int] {
            guard let shape = shapes[name], shape.count == rank, shape.allSatisfy({ $0 > 0 }) else {
                throw unknown(
                    file,
                    "'\(name)' is absent or not of \(rank) dimensions, so the configuration is unknown"
                )
            }
            return shape
        }
        let patches = try shape("x_embedder.proj.weight", rank: 4)
        let (width, patch) = (patches[0], patches[2])
        let modelClass = OriginalBlocks.of(shapes.keys)
        let blocks = modelClass.original.prefix
        let block = blocks + "0." + modelClass.original.inner
        let captions = try shape("y_embedder.y_proj.fc1.weight", rank: 2)[1]
        let hidden = try shape(block + "mlp.point_conv.conv.weight", rank: 4)[1]
        guard let (crossHeads, crossDimension) = crossHeads[width], width % headDimension == 0
        else {
            throw unknown(
                file,
                "no released model has a width of \(width), so the number of heads is unknown")
        }
        let ratio = mlpRatio(hidden: hidden, width: width)
        let (area, overflow) = patch.multipliedReportingOverflow(by: patches[3])
        guard !overflow, patch == patches[3], let ratio else {
            throw unknown(file, "patches or feed-forward have shapes that match no configuration")
        }
        // A class without a last layer does not use the number.
        let channels =
            try modelClass.original.foreign.contains(OriginalNames.lastLayer)
            ? patches[1] * area : shape(OriginalNames.lastLayer + "linear.weight", rank: 2)[0]
        guard channels % area == 0 else {
            throw unknown(file, "the last layer has a shape that matches no configuration")
        }
        let sampleSize = try sampleSize(shapes["pos_embed"], patch: patch, file: file)
        let hasGuidance = shapes.keys.contains { $0.hasPrefix("cfg_embedder.") }
        let members: [JSONValue.Member] = [
            .init("_class_name", .string(modelClass.name)),
            .init("attention_bias", .bool(shapes[block + "attn.qkv.bias"] != nil)),
            .init("attention_head_dim", .int(headDimension)),
            .init("caption_channels", .int(captions)),
            .init("cross_attention_dim", .int(width)),
            .init("cross_attention_head_dim", .int(crossDimension)),
            .init("guidance_embeds", .bool(hasGuidance)),
            .init("guidance_embeds_scale", .double(0.1)),
            .init("in_channels", .int(patches[1])),
            .init(
                "interpolation_scale",
                interpolationScales[sampleSize].map(JSONValue.double) ?? .null),
            .init("mlp_ratio", .double(ratio)),
            .init("norm_elementwise_affine", .bool(false)),
            .init("norm_eps", .double(1e-6)),
            .init("num_attention_heads", .int(width / headDimension)),
            .init("num_cross_attention_heads", .int(crossHeads)),
            .init("num_layers", .int(layerCount(shapes.keys, below: blocks))),
            .init("out_channels", .int(channels / area)),
            .init("patch_size", .int(patch)),
            .init(
                "qk_norm",
                shapes[block + "attn.q_norm.weight"] == nil
                    ? .null : .string("rms_norm_across_heads")),
            .init("sample_size", .int(sampleSize)),
            // As released with Sprint, whose timesteps are in 0...π/2; diffusers' script leaves 1.
            .init("timestep_scale", .double(hasGuidance ? 1000 : 1)),
        ]
        return .object(members.filter { SanaConfig.isKnown($0.key, of: modelClass) })
    }

    /// One more than the highest index behind `prefix`.
    private static func layerCount(_ names: some Sequence<String>, below prefix: String) -> Int {
        let indices = names.lazy.compactMap { name -> Int? in
            guard name.hasPrefix(prefix) else { return nil }
            let parts = name.dropFirst(prefix.count).split(separator: ".", maxSplits: 1)
            return parts.count == 2 ? Int(parts[0]) : nil
        }
        // Counted with care: an index is untrusted and may be the largest there is.
        return (indices.filter { (0..<Int.max).contains($0) }.max() ?? -1) + 1
    }

    /// The factor that gives `hidden` when cut to a whole number; `nil` when none does.
    private static func mlpRatio(hidden: Int, width: Int) -> Double? {
        let exact = Double(hidden) / Double(width)
        return [releasedRatio, exact, exact.nextUp].first { Int($0 * Double(width)) == hidden }
    }

    /// The latent side for which a table of positions was made.
    private static func sampleSize(_ table: [Int]?, patch: Int, file: String) throws -> Int {
        guard let table else { return commonSampleSize }
        let side = table.count == 3 ? Int(Double(max(table[1], 0)).squareRoot().rounded()) : 0
        guard side > 0, side <= 1 << 14, side * side == table[1], patch <= 64 else {
            throw unknown(file, "'pos_embed' of shape \(table) is not a table of a square image")
        }
        return side * patch
    }

    private static func unknown(_ file: String, _ reason: String) -> BadDataError {
        BadDataError(
            file: file, reason: reason,
            remedy: "give the config.json of the same model in diffusers' format with --config")
    }
}
