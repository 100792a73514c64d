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

    /// Those of `keys` that `SanaControlNetModel.__init__` does not take.
    private static let transformerKeys = [
        "guidance_embeds", "guidance_embeds_scale", "qk_norm", "timestep_scale",
    ]

    /// Whether a key may stand in `config.json`: one of the class, one of diffusers' own notes, or
    /// what a quantizer reads.
    public static func isKnown(_ key: String, of modelClass: ModelClass = .transformer) -> Bool {
        key.hasPrefix("_") || key == "quantization_config"
            || keys.contains(key)
                && (modelClass == .transformer || !transformerKeys.contains(key))
    }
}
