extension SanaConfig {
    /// Keys of `config.json` that diffusers' class takes, in the order of its initialiser.
    ///
    /// Source: diffusers 0.42.1, `SanaTransformer2DModel.__init__`.
    public static let keys = [
        "in_channels", "out_channels", "num_attention_heads", "attention_head_dim", "num_layers",
        "num_cross_attention_heads", "cross_attention_head_dim", "cross_attention_dim",
        "caption_channels", "mlp_ratio", "dropout", "attention_bias", "sample_size", "patch_size",
        "norm_elementwise_affine", "norm_eps", "interpolation_scale", "guidance_embeds",
        "guidance_embeds_scale", "qk_norm", "timestep_scale",
    ]

    /// Whether a key may stand in `config.json`: one of the class, one of diffusers' own notes, or
    /// what a quantizer reads.
    public static func isKnown(_ key: String, of modelClass: SanaClass = .transformer) -> Bool {
        key.hasPrefix("_") || key == "quantization_config"
            || keys.contains(key) && !modelClass.absentKeys.contains(key)
    }
}

extension SanaConfig {
    /// Key of a number that training alone needs, and that is not kept here.
    static let dropoutKey = "dropout"

    /// `config.json` with every key of the class, in alphabetical order; of `dropout` the default.
    public var json: JSONValue {
        let members: [JSONValue.Member] = [
            .init("_class_name", .string(modelClass.name)),
            .init("attention_bias", .bool(attentionBias)),
            .init("attention_head_dim", .int(attentionHeadDim)),
            .init("caption_channels", .int(captionChannels)),
            .init("cross_attention_dim", .int(crossAttentionDim)),
            .init("cross_attention_head_dim", .int(crossAttentionHeadDim)),
            .init(Self.dropoutKey, .double(0)),
            .init("in_channels", .int(inChannels)),
            .init("interpolation_scale", interpolationScale.map(JSONValue.double) ?? .null),
            .init("mlp_ratio", .double(mlpRatio)),
            .init("norm_elementwise_affine", .bool(normElementwiseAffine)),
            .init("norm_eps", .number("\(normEps)")),
            .init("num_attention_heads", .int(numAttentionHeads)),
            .init("num_cross_attention_heads", .int(numCrossAttentionHeads)),
            .init("num_layers", .int(numLayers)),
            .init("out_channels", .int(outChannels)),
            .init("patch_size", .int(patchSize)),
            .init("sample_size", .int(sampleSize)),
            .init("guidance_embeds", .bool(guidanceEmbeds)),
            .init("guidance_embeds_scale", .double(guidanceEmbedsScale)),
            .init("qk_norm", qkNorm ? .string("rms_norm_across_heads") : .null),
            .init("timestep_scale", .double(timestepScale)),
        ]
        return .object(
            members.filter { Self.isKnown($0.key, of: modelClass) }.sorted { $0.key < $1.key })
    }
}
