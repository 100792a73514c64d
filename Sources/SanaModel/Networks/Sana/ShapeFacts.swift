/// What the shapes of a checkpoint's tensors say of its configuration, without reading it.
///
/// A value is `nil` where its tensor is absent or has another number of dimensions.
public struct ShapeFacts: Sendable, Equatable {
    /// Width of a token.
    public var innerDim: Int?
    public var inChannels: Int?
    public var outChannels: Int?
    public var patchSize: Int?
    /// Number of blocks from 0 on, without a gap.
    public var numLayers = 0
    public var crossInnerDim: Int?
    public var crossAttentionDim: Int?
    public var captionChannels: Int?
    /// Channels after the gate of the feed-forward.
    public var ffHiddenDim: Int?
    public var qkNorm = false
    public var guidanceEmbeds = false
    public var attentionBias = false
    public var normElementwiseAffine = false
    /// By a tensor that only that class has.
    public var modelClass = SanaClass.transformer

    public init(_ source: any TensorSource) {
        func shape(_ name: String, _ count: Int) -> [Int]? {
            source.info(name).flatMap { $0.shape.count == count ? $0.shape : nil }
        }
        func has(_ name: String) -> Bool { source.info(name) != nil }
        if let patch = shape("patch_embed.proj.weight", 4) {
            (innerDim, inChannels, patchSize) = (patch[0], patch[1], patch[2])
        }
        if let head = shape("proj_out.weight", 2), let patchSize, patchSize > 0 {
            let area = patchSize.multipliedReportingOverflow(by: patchSize)
            if !area.overflow { outChannels = head[0] / area.partialValue }
        }
        captionChannels = shape("caption_projection.linear_1.weight", 2)?[1]
        numLayers = Self.layers(source.tensors)
        let block = "transformer_blocks.0."
        crossInnerDim = shape(block + "attn2.to_q.weight", 2)?[0]
        crossAttentionDim = shape(block + "attn2.to_k.weight", 2)?[1]
        ffHiddenDim = shape(block + "ff.conv_point.weight", 4)?[1]
        qkNorm = has(block + "attn1.norm_q.weight")
        attentionBias = has(block + "attn1.to_q.bias")
        normElementwiseAffine = has(block + "norm2.weight")
        guidanceEmbeds = has("time_embed.guidance_embedder.linear_1.weight")
        modelClass = SanaClass.of(source) ?? .transformer
    }

    private static func layers(_ tensors: [TensorInfo]) -> Int {
        let prefix = "transformer_blocks."
        let indices = Set(
            tensors.compactMap { tensor -> Int? in
                guard tensor.name.hasPrefix(prefix) else { return nil }
                return Int(tensor.name.dropFirst(prefix.count).prefix { $0 != "." })
            })
        return (0...).first { !indices.contains($0) } ?? 0
    }

    // MARK: Families

    /// The released family that has these shapes.
    public var family: ReleasedConfiguration.Family? { released.first?.family }

    /// Released models whose tensors have these shapes.
    public var released: [ReleasedConfiguration] {
        ReleasedConfiguration.all.filter { item in
            item.config.modelClass == modelClass && innerDim == item.config.innerDim
                && disagreements(with: item.config).isEmpty
        }
    }

    /// Released models that have these shapes and every value of `config`.
    ///
    /// - Parameter json: see `ReleasedConfiguration.differences(from:json:)`.
    public func released(
        like config: SanaConfig, json: JSONValue = .null
    ) -> [ReleasedConfiguration] {
        released.filter { $0.differences(from: config, json: json).isEmpty }
    }

    /// The released model of these shapes that `config` comes nearest to, and the keys in which
    /// they differ; `nil` where they differ in none.
    ///
    /// A latent of another size than any released model's is no difference: that is what training
    /// goes on with.
    public func nearest(
        to config: SanaConfig, json: JSONValue = .null
    ) -> (model: ReleasedConfiguration, differences: [ConfigurationDifference])? {
        let ofSize = released.filter { $0.config.sampleSize == config.sampleSize }
        let sizeKeys = ofSize.isEmpty ? ["sample_size", "interpolation_scale"] : []
        let all = (ofSize.isEmpty ? released : ofSize).map { model in
            let differences = model.differences(from: config, json: json)
            return (model, differences.filter { !sizeKeys.contains($0.key) })
        }
        guard let nearest = all.min(by: { $0.1.count < $1.1.count }), !nearest.1.isEmpty else {
            return nil
        }
        return nearest
    }

    // MARK: Disagreements

    /// Every key of `config` that the shapes contradict, in the order of diffusers' initialiser.
    ///
    /// - Parameter json: what `config` was read from, to tell keys that are absent.
    public func disagreements(
        with config: SanaConfig, json: JSONValue? = nil
    ) -> [ConfigurationDisagreement] {
        var list: [ConfigurationDisagreement] = []
        func compare<Value: Equatable>(
            _ key: String, _ value: Value, _ expected: Value?, _ tensor: String
        ) {
            guard let expected, expected != value else { return }
            list.append(
                ConfigurationDisagreement(
                    key: key, value: "\(value)", expected: "\(expected)", tensor: tensor,
                    isStated: json.map { $0[key] != nil } ?? true))
        }
        let (block, patch) = ("transformer_blocks.0.", "patch_embed.proj.weight")
        // A transformer's tensors are also in checkpoints of the classes after it.
        if modelClass != .transformer {
            compare(
                "_class_name", config.modelClass.name, modelClass.name, modelClass.marker)
        }
        compare("in_channels", config.inChannels, inChannels, patch)
        compare(
            "out_channels", config.outChannels, modelClass == .transformer ? outChannels : nil,
            "proj_out.weight")
        list += Self.heads(
            ("num_attention_heads", config.numAttentionHeads),
            ("attention_head_dim", config.attentionHeadDim), width: innerDim, patch, json)
        compare("num_layers", config.numLayers, numLayers, "transformer_blocks")
        list += Self.heads(
            ("num_cross_attention_heads", config.numCrossAttentionHeads),
            ("cross_attention_head_dim", config.crossAttentionHeadDim), width: crossInnerDim,
            block + "attn2.to_q.weight", json)
        compare(
            "cross_attention_dim", config.crossAttentionDim, crossAttentionDim,
            block + "attn2.to_k.weight")
        compare(
            "caption_channels", config.captionChannels, captionChannels,
            "caption_projection.linear_1.weight")
        if let ffHiddenDim, let innerDim, innerDim > 0,
            (config.mlpRatio * Double(innerDim)).rounded(.down) != Double(ffHiddenDim)
        {
            compare(
                "mlp_ratio", config.mlpRatio, Double(ffHiddenDim) / Double(innerDim),
                block + "ff.conv_point.weight")
        }
        compare("patch_size", config.patchSize, patchSize, patch)
        guard numLayers > 0 else { return list }
        compare(
            "attention_bias", config.attentionBias, attentionBias, block + "attn1.to_q.bias")
        compare(
            "norm_elementwise_affine", config.normElementwiseAffine, normElementwiseAffine,
            block + "norm2.weight")
        compare(
            "guidance_embeds", config.guidanceEmbeds, guidanceEmbeds,
            "time_embed.guidance_embedder.linear_1.weight")
        let norms = ["null", "\"rms_norm_across_heads\""]
        compare(
            "qk_norm", norms[config.qkNorm ? 1 : 0], norms[qkNorm ? 1 : 0],
            block + "attn1.norm_q.weight")
        return list
    }

    /// Head dimensions of the released models, in self-attention and in cross-attention.
    private static let usualDimensions: Set = [32, 72, 112]

    /// Shapes show heads × dimension only. The key at fault is the one that is absent, or without
    /// which the other is as in the released models; else the heads, with what else would fit.
    private static func heads(
        _ heads: (key: String, value: Int), _ dimension: (key: String, value: Int), width: Int?,
        _ tensor: String, _ json: JSONValue?
    ) -> [ConfigurationDisagreement] {
        guard let width, heads.value * dimension.value != width else { return [] }
        func other(_ value: Int) -> Int? {
            value > 0 && width % value == 0 ? width / value : nil
        }
        func isStated(_ key: String) -> Bool { json.map { $0[key] != nil } ?? true }
        let (newHeads, newDimension) = (other(dimension.value), other(heads.value))
        let isUsual = usualDimensions.contains(dimension.value)
        let blamesDimension: Bool
        if newHeads == nil || newDimension == nil {
            blamesDimension = newHeads == nil && newDimension != nil
        } else if isStated(heads.key) != isStated(dimension.key) {
            blamesDimension = isStated(heads.key)
        } else {
            blamesDimension = !isUsual && newDimension.map(usualDimensions.contains) ?? false
        }
        let (wrong, right) = blamesDimension ? (dimension, newDimension) : (heads, newHeads)
        let (second, its) = blamesDimension ? (heads, newHeads) : (dimension, newDimension)
        return [
            ConfigurationDisagreement(
                key: wrong.key, value: "\(wrong.value)",
                expected: right.map(String.init)
                    ?? "such that heads × head dimension is \(width)",
                tensor: tensor, isStated: isStated(wrong.key),
                alternative: isUsual || blamesDimension
                    ? nil : its.map { "\(second.key) is \($0)" })
        ]
    }
}
