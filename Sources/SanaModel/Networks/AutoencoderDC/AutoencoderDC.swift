/// Sana's autoencoder (DC-AE, arXiv 2410.10733), computed as diffusers 0.42.1's `AutoencoderDC`
/// does.
///
/// Its two entries are networks of their own.
public struct AutoencoderDC: Sendable {
    public let config: AutoencoderDCConfig
    public var encoder: AutoencoderDCEncoder
    public var decoder: AutoencoderDCDecoder

    /// Binds every tensor of `source`, which must hold just those that `config` calls for.
    ///
    /// - Parameter label: the file or directory, for messages.
    /// - Throws: `BindingError`, or what the source throws while reading values.
    public init(_ config: AutoencoderDCConfig, source: any TensorSource, label: String) throws {
        try self.init(config, WeightScope(source, label: label))
    }

    /// Binds every tensor of a scope, which must hold just those that `config` calls for.
    ///
    /// - Throws: `BindingError`, or what the source throws while reading values.
    public init(_ config: AutoencoderDCConfig, _ scope: WeightScope) throws {
        self.config = config
        let root = scope.holding(.convolution, .convolutions)
        encoder = try AutoencoderDCEncoder(root["encoder"], config)
        decoder = try AutoencoderDCDecoder(root["decoder"], config)
        try scope.finish()
    }
}

/// The `encode` entry: pictures to latents. diffusers' `Encoder`.
public struct AutoencoderDCEncoder: Sendable {
    public let config: AutoencoderDCConfig
    /// As diffusers does after `enable_tiling`; `nil` computes pictures as a whole.
    public var tiling: AutoencoderTiling?
    let modules: ModuleChain

    init(_ scope: WeightScope, _ config: AutoencoderDCConfig) throws {
        self.config = config
        let (stages, ends) = (config.encoder, scope.holding(.endConvolution, .ends))
        let convIn: any ImageModule
        if stages[0].layers > 0 {
            convIn = try EndConvolution(
                ends["conv_in"], in: config.inChannels, out: stages[0].width)
        } else {
            convIn = try DCDownBlock2d(
                ends["conv_in"], in: config.inChannels, out: stages[1].width,
                unshuffles: config.unshuffles, shortcut: false)
        }
        let downBlocks = try stages.enumerated().map { index, stage in
            let scope = scope["down_blocks"][index]
            var modules = try config.blocks(scope, stage)
            if index < stages.count - 1, stage.layers > 0 {
                modules.append(
                    try DCDownBlock2d(
                        scope[stage.layers], in: stage.width, out: stages[index + 1].width,
                        unshuffles: config.unshuffles, shortcut: true))
            }
            return ModuleChain.Stage(path: scope.path, modules: modules)
        }
        let convOut = try EndConvolution(
            ends["conv_out"], in: stages[stages.count - 1].width, out: config.latentChannels,
            shortcut: config.encoderOutShortcut)
        modules = ModuleChain(first: convIn, stages: downBlocks, last: [convOut], beginsFine: true)
    }
}

/// The `decode` entry: latents to pictures. diffusers' `Decoder`.
public struct AutoencoderDCDecoder: Sendable {
    public let config: AutoencoderDCConfig
    /// As diffusers does after `enable_tiling`; `nil` computes pictures as a whole.
    public var tiling: AutoencoderTiling?
    let modules: ModuleChain

    init(_ scope: WeightScope, _ config: AutoencoderDCConfig) throws {
        self.config = config
        let (stages, ends) = (config.decoder, scope.holding(.endConvolution, .ends))
        let convIn = try EndConvolution(
            ends["conv_in"], in: config.latentChannels, out: stages[stages.count - 1].width,
            shortcut: config.decoderInShortcut)
        let upBlocks = try stages.enumerated().map { index, stage in
            let scope = scope["up_blocks"][index]
            guard index < stages.count - 1, stage.layers > 0 else {
                return ModuleChain.Stage(
                    path: scope.path, modules: try config.blocks(scope, stage))
            }
            let upBlock = try DCUpBlock2d(
                scope[0], in: stages[index + 1].width, out: stage.width,
                interpolates: config.interpolates, shortcut: true)
            return ModuleChain.Stage(
                path: scope.path, modules: [upBlock] + (try config.blocks(scope, stage, from: 1)))
        }
        let channels = stages[0].layers > 0 ? stages[0].width : stages[1].width
        let normOut = try DecoderNorm(
            scope["norm_out"], dim: channels, config.decoderConvActivation)
        let convOut: any ImageModule
        if stages[0].layers > 0 {
            convOut = try EndConvolution(
                ends["conv_out"], in: channels, out: config.inChannels)
        } else {
            convOut = try DCUpBlock2d(
                ends["conv_out"], in: channels, out: config.inChannels,
                interpolates: config.interpolates, shortcut: false)
        }
        modules = ModuleChain(
            first: convIn, stages: upBlocks.reversed(), last: [normOut, convOut],
            beginsFine: false)
    }
}

extension AutoencoderDCConfig {
    /// The blocks of a stage, numbered from `first`.
    fileprivate func blocks(
        _ scope: WeightScope, _ stage: Stage, from first: Int = 0
    ) throws -> [any ImageModule] {
        try (0..<stage.layers).map { index in
            switch stage.blockType {
            case .resBlock: try ResBlock(scope[first + index], stage)
            case .efficientViT:
                try EfficientViTBlock(scope[first + index], stage, headDim: attentionHeadDim)
            }
        }
    }
}

extension TensorPart {
    /// Those of residual blocks and of blocks that change the size.
    static let convolutions = TensorPart("convolutions")
    /// First and last layers.
    static let ends = TensorPart("ends")
}
