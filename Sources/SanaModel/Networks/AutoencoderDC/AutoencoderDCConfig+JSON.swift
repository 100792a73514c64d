extension AutoencoderDCConfig {
    /// `config.json` with every key of the class.
    public var json: JSONValue {
        func texts(_ values: [String]) -> JSONValue { .array(values.map { .string($0) }) }
        func half(_ name: String, _ stages: [Stage]) -> [JSONValue.Member] {
            [
                .init(name + "_block_types", texts(stages.map(\.blockType.rawValue))),
                .init(name + "_block_out_channels", .array(stages.map { .int($0.width) })),
                .init(name + "_layers_per_block", .array(stages.map { .int($0.layers) })),
                .init(
                    name + "_qkv_multiscales",
                    .array(stages.map { .array($0.multiscales.map { .int($0) }) })),
            ]
        }
        let own: [JSONValue.Member] = [
            .init("_class_name", .string(Self.className)),
            .init("in_channels", .int(inChannels)),
            .init("latent_channels", .int(latentChannels)),
            .init("attention_head_dim", .int(attentionHeadDim)),
            .init(
                "upsample_block_type", .string(interpolates ? "interpolate" : "pixel_shuffle")),
            .init("downsample_block_type", .string(unshuffles ? "pixel_unshuffle" : "Conv")),
            .init("decoder_norm_types", texts(decoder.map(\.norm.rawValue))),
            .init("decoder_act_fns", texts(decoder.map(\.activation.rawValue))),
            .init("encoder_out_shortcut", .bool(encoderOutShortcut)),
            .init("decoder_in_shortcut", .bool(decoderInShortcut)),
            .init("decoder_conv_act_fn", .string(decoderConvActivation.rawValue)),
            .init("scaling_factor", .double(scalingFactor)),
        ]
        return .object(
            (own + half("encoder", encoder) + half("decoder", decoder)).sorted { $0.key < $1.key })
    }
}
