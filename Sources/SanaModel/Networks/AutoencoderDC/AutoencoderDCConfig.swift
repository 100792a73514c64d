/// The configuration of an `AutoencoderDC`, names and defaults as in diffusers 0.42.1.
public struct AutoencoderDCConfig: Sendable, Equatable {
    /// Value of `_class_name`.
    public static let className = "AutoencoderDC"

    /// What a stage is made of.
    public enum BlockType: String, Sendable {
        case resBlock = "ResBlock"
        case efficientViT = "EfficientViTBlock"
    }

    /// The norm at the end of a block.
    public enum NormType: String, Sendable {
        case rms = "rms_norm"
        case batch = "batch_norm"
    }

    /// An activation by diffusers' names, of which `swish` and `silu` are one.
    public enum ActivationFunction: String, Sendable {
        case silu, swish, mish, gelu, relu
        case identity
    }

    /// One stage of the encoder or decoder.
    public struct Stage: Sendable, Equatable {
        public var blockType: BlockType
        /// Channels of its blocks.
        public var width: Int
        /// Number of its blocks.
        public var layers: Int
        /// Kernel sizes of the multi-scale projections of its attention, all odd.
        public var multiscales: [Int]
        public var norm: NormType
        /// Activation inside its ResBlocks.
        public var activation: ActivationFunction
    }

    public var inChannels = 3
    public var latentChannels = 32
    /// Width of a head; up to as many pixels attend quadratically.
    public var attentionHeadDim = 32
    /// From the finest stage to the coarsest.
    public var encoder: [Stage]
    /// From the finest stage to the coarsest, though it runs from the coarsest.
    public var decoder: [Stage]
    /// Whether upsampling interpolates before its convolution, in place of pixel shuffle after it.
    public var interpolates = false
    /// Whether downsampling unshuffles pixels after its convolution, in place of a stride of 2.
    public var unshuffles = true
    public var encoderOutShortcut = true
    public var decoderInShortcut = true
    /// Activation before the decoder's last convolution.
    public var decoderConvActivation = ActivationFunction.relu
    /// Factor between latents and what a denoiser sees. The network itself does not use it.
    public var scalingFactor = 1.0

    /// diffusers' defaults.
    public init() {
        func stages(_ layers: [Int]) -> [Stage] {
            zip([128, 256, 512, 512, 1024, 1024], layers).enumerated().map { index, stage in
                Stage(
                    blockType: .resBlock, width: stage.0, layers: stage.1,
                    multiscales: index < 3 ? [] : [5], norm: .rms, activation: .silu)
            }
        }
        encoder = stages([2, 2, 2, 3, 3, 3])
        decoder = stages([3, 3, 3, 3, 3, 3])
    }

    /// Keys of `config.json` that diffusers' class takes, in the order of its initializer.
    private static let keys: Set = [
        "in_channels", "latent_channels", "attention_head_dim", "encoder_block_types",
        "decoder_block_types", "encoder_block_out_channels", "decoder_block_out_channels",
        "encoder_layers_per_block", "decoder_layers_per_block", "encoder_qkv_multiscales",
        "decoder_qkv_multiscales", "upsample_block_type", "downsample_block_type",
        "decoder_norm_types", "decoder_act_fns", "encoder_out_shortcut", "decoder_in_shortcut",
        "decoder_conv_act_fn", "scaling_factor",
    ]

    /// Whether a key may stand in `config.json`.
    @Sendable static func isKnown(_ key: String) -> Bool {
        key.hasPrefix("_") || key == "quantization_config" || keys.contains(key)
    }

    /// Rows and columns of a picture for one of its latent, as diffusers counts them.
    public var spatialCompressionRatio: Int { 1 << (encoder.count - 1) }

    /// Reads `config.json`.
    ///
    /// - Throws: `BadDataError` for a value of the wrong type, out of range, or of a kind that
    ///   diffusers' class cannot run.
    public init(json: JSONValue, file: String) throws(BadDataError) {
        guard json.members != nil else {
            throw BadDataError(file: file, reason: "config is not a JSON object")
        }
        self.init()
        let reader = ConfigReader(json: json, file: file)
        if let name = json["_class_name"], name.string != Self.className {
            throw reader.error(
                "_class_name", "is \(name.text().printable), not \"\(Self.className)\"")
        }
        let dimension = 1...(1 << 16)
        try reader.read("in_channels", into: &inChannels, dimension)
        try reader.read("latent_channels", into: &latentChannels, dimension)
        try reader.read("attention_head_dim", into: &attentionHeadDim, 1...4096)
        try Self.read(reader, "encoder", into: &encoder)
        try Self.read(reader, "decoder", into: &decoder)
        try Self.readDecoder(reader, into: &decoder)
        var (upsample, downsample) = ("pixel_shuffle", "pixel_unshuffle")
        try reader.read("upsample_block_type", into: &upsample)
        try reader.read("downsample_block_type", into: &downsample)
        // Any other name is the other kind: released configurations say "Conv".
        (interpolates, unshuffles) = (upsample == "interpolate", downsample == "pixel_unshuffle")
        try reader.read("encoder_out_shortcut", into: &encoderOutShortcut)
        try reader.read("decoder_in_shortcut", into: &decoderInShortcut)
        if let name = json["decoder_conv_act_fn"] {
            decoderConvActivation = try Self.activation(name, "decoder_conv_act_fn", reader)
        }
        try reader.read("scaling_factor", into: &scalingFactor, 1e-6...1e6)
        try check(reader)
    }
}

// MARK: Reading

extension AutoencoderDCConfig {
    private static let mostStages = 16
    private static let mostLayers = 1024
    private static let largestKernel = 255

    /// The keys that both halves have.
    private static func read(
        _ reader: ConfigReader, _ half: String, into stages: inout [Stage]
    ) throws(BadDataError) {
        let defaults = stages
        let key = half + "_block_out_channels"
        let widths = try reader.integers(key, 1...(1 << 16)) ?? defaults.map(\.width)
        guard (1...mostStages).contains(widths.count) else {
            throw reader.error(key, "has \(widths.count) stages, not 1 to \(mostStages)")
        }
        func perStage<Value>(
            _ key: String, _ values: [Value]?, _ defaults: [Value]
        ) throws(BadDataError) -> [Value] {
            let list = values ?? defaults
            guard list.count == widths.count else {
                throw reader.error(
                    half + key,
                    "has \(list.count) stages\(values == nil ? " by default" : ""), "
                        + "but \(half)_block_out_channels has \(widths.count)")
            }
            return list
        }
        let layers = try perStage(
            "_layers_per_block", reader.integers(half + "_layers_per_block", 0...mostLayers),
            defaults.map(\.layers))
        let scales = try perStage(
            "_qkv_multiscales", kernels(half + "_qkv_multiscales", reader),
            defaults.map(\.multiscales))
        let types = try perStage(
            "_block_types",
            reader.choices(half + "_block_types", stages: widths.count) { BlockType(rawValue: $0) },
            widths.map { _ in .resBlock })
        stages = widths.indices.map { index in
            Stage(
                blockType: types[index], width: widths[index], layers: layers[index],
                multiscales: scales[index], norm: .rms, activation: .silu)
        }
    }

    /// The keys that the decoder alone has.
    private static func readDecoder(
        _ reader: ConfigReader, into stages: inout [Stage]
    ) throws(BadDataError) {
        let count = stages.count
        if let norms = try reader.choices(
            "decoder_norm_types", stages: count, { NormType(rawValue: $0) })
        {
            for index in stages.indices { stages[index].norm = norms[index] }
        }
        let key = "decoder_act_fns"
        guard let json = reader.json[key] else { return }
        let list = json.array ?? [JSONValue](repeating: json, count: count)
        guard list.count == count else {
            throw reader.error(
                key, "has \(list.count) entries, but the decoder has \(count) stages")
        }
        for (index, item) in list.enumerated() {
            // `None` in the list is no activation; in place of the list diffusers fails.
            stages[index].activation =
                item == .null && json.array != nil ? .identity : try activation(item, key, reader)
        }
    }

    private static func activation(
        _ json: JSONValue, _ key: String, _ reader: ConfigReader
    ) throws(BadDataError) -> ActivationFunction {
        guard let function = json.string.flatMap({ ActivationFunction(rawValue: $0.lowercased()) }),
            function != .identity
        else {
            throw reader.error(
                key, "is \(json.text().printable), not silu, swish, mish, gelu or relu")
        }
        return function
    }

    private static func kernels(
        _ key: String, _ reader: ConfigReader
    ) throws(BadDataError) -> [[Int]]? {
        guard let json = reader.json[key] else { return nil }
        guard let lists = json.array else {
            throw reader.error(key, "is \(json.text().printable), not a list of lists")
        }
        var result: [[Int]] = []
        for list in lists {
            guard let sizes = list.array?.map(\.int), sizes.count <= 16,
                sizes.allSatisfy({
                    $0.map { (1...largestKernel).contains($0) && $0 % 2 == 1 } == true
                })
            else {
                throw reader.error(
                    key,
                    "has \(list.text().printable), not a list of up to 16 odd kernel sizes up to "
                        + "\(largestKernel)")
            }
            result.append(sizes.compactMap { $0 })
        }
        return result
    }
}

// MARK: Checks

extension AutoencoderDCConfig {
    private func check(_ reader: ConfigReader) throws(BadDataError) {
        try check(encoder, "encoder", reader)
        try check(decoder, "decoder", reader)
        for (half, stages, shortcut) in [
            ("encoder", encoder, encoderOutShortcut), ("decoder", decoder, decoderInShortcut),
        ] where shortcut && stages[stages.count - 1].width % latentChannels != 0 {
            throw reader.error(
                "latent_channels",
                "is \(latentChannels), which does not divide the last width of "
                    + "\(half)_block_out_channels, as its shortcut needs")
        }
        if unshuffles {
            for stage in encoder.dropFirst() where stage.width % 4 != 0 {
                throw reader.error(
                    "encoder_block_out_channels",
                    "has \(stage.width), which pixel_unshuffle needs to be divisible by 4")
            }
        }
    }

    private func check(
        _ stages: [Stage], _ half: String, _ reader: ConfigReader
    ) throws(BadDataError) {
        let widths = half + "_block_out_channels"
        if stages[0].layers == 0, stages.count < 2 {
            throw reader.error(half + "_layers_per_block", "leaves no stage with a block")
        }
        for (fine, coarse) in zip(stages, stages.dropFirst()).dropFirst(
            stages[0].layers == 0 ? 1 : 0)
        {
            // Without layers a stage neither resamples nor changes the width.
            if fine.layers == 0, fine.width != coarse.width {
                throw reader.error(
                    half + "_layers_per_block",
                    "is 0 for a stage of width \(fine.width) next to one of \(coarse.width)")
            }
            // So many consecutive channels are averaged on the way down; on the way up each is
            // repeated so many times.
            let (from, to) = (fine.width, coarse.width)
            guard 4 * from % to == 0 else {
                throw reader.error(
                    widths,
                    "has \(fine.width) next to \(coarse.width), a ratio other than 1, 2 and 4")
            }
        }
        for stage in stages where stage.blockType == .efficientViT && stage.layers > 0 {
            guard stage.width >= attentionHeadDim else {
                throw reader.error(
                    widths,
                    "has \(stage.width), less than attention_head_dim, \(attentionHeadDim)")
            }
        }
    }
}
