/// Sana's autoencoder (DC-AE, arXiv 2410.10733), computed as diffusers 0.42.1's `AutoencoderDC` does.
///
/// Its two entries are networks of their own.
public struct AutoencoderDC: Sendable {
    public let config: AutoencoderDCConfig
    public var encoder: AutoencoderDCEncoder
    public var decoder: AutoencoderDCDecoder

    /// Binds every tensor of `source`, which must hold just those that `config` calls for.
    ///
    /// - Parameter label: the file or folder, for messages.
    /// - Throws: `BindingError`, or what the source throws while reading values.
    public init(_ config: AutoencoderDCConfig, source: any TensorSource, label: String) throws {
        try self.init(config, WeightScope(source, label: label))
    }

    /// Binds every tensor of a scope, which must hold just those that `config` calls for.
    ///
    /// - Throws: `BindingError`, or what the source throws while reading values.
    public init(_ config: AutoencoderDCConfig, _ scope: WeightScope) throws {
        self.config = config
        encoder = try AutoencoderDCEncoder(scope["encoder"], config)
        decoder = try AutoencoderDCDecoder(scope["decoder"], config)
        try scope.finish()
    }

    /// Of a configuration without weights, for what shapes alone tell.
    ///
    /// - Throws: `BindingError` never, as nothing is bound.
    public static func unbound(_ config: AutoencoderDCConfig) throws -> AutoencoderDC {
        try AutoencoderDC(config, WeightScope(unbound: ""))
    }
}

/// The `encode` entry: pictures to latents. diffusers' `Encoder`.
public struct AutoencoderDCEncoder: Sendable {
    public let config: AutoencoderDCConfig
    /// As diffusers does after `enable_tiling`; `nil` computes pictures as a whole.
    public var tiling: AutoencoderTiling?
    private let modules: ModuleChain

    init(_ scope: WeightScope, _ config: AutoencoderDCConfig) throws {
        self.config = config
        let stages = config.encoder
        let convIn: any ImageModule
        if stages[0].layers > 0 {
            convIn = try EndConvolution(
                scope["conv_in"], in: config.inChannels, out: stages[0].width)
        } else {
            convIn = try DCDownBlock2d(
                scope["conv_in"], in: config.inChannels, out: stages[1].width,
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
            scope["conv_out"], in: stages[stages.count - 1].width, out: config.latentChannels,
            shortcut: config.encoderOutShortcut)
        modules = ModuleChain(first: convIn, stages: downBlocks, last: [convOut], beginsFine: true)
    }
}

/// The `decode` entry: latents to pictures. diffusers' `Decoder`.
public struct AutoencoderDCDecoder: Sendable {
    public let config: AutoencoderDCConfig
    /// As diffusers does after `enable_tiling`; `nil` computes pictures as a whole.
    public var tiling: AutoencoderTiling?
    private let modules: ModuleChain

    init(_ scope: WeightScope, _ config: AutoencoderDCConfig) throws {
        self.config = config
        let stages = config.decoder
        let convIn = try EndConvolution(
            scope["conv_in"], in: config.latentChannels, out: stages[stages.count - 1].width,
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
                scope["conv_out"], in: channels, out: config.inChannels)
        } else {
            convOut = try DCUpBlock2d(
                scope["conv_out"], in: channels, out: config.inChannels,
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

// MARK: Networks

extension AutoencoderDCEncoder: Network {
    /// Value of `entry` in contracts.
    public static let entry = "encode"

    public var className: String { AutoencoderDCConfig.className }

    public var inputSpecs: [InputSpec] {
        [
            InputSpec(
                "sample",
                [.size("batch"), .fixed(config.inChannels), .size("height"), .size("width")])
        ]
    }

    public var outputs: [String] { ["latent"] }

    public func check(_ inputs: NamedTensors) throws(InputError) {
        _ = try sample(inputs)
    }

    private func sample(_ inputs: NamedTensors) throws(InputError) -> DenseTensor {
        try modules.input(inputs, "sample", channels: config.inChannels, tiling: tiling, config)
    }

    public func forward(
        _ inputs: NamedTensors, _ context: ForwardContext
    ) throws(InputError) -> [DenseTensor] {
        let sample = try sample(inputs)
        guard let tiling, tiling.splits(sample), context.recorder == nil else {
            return [modules(sample, context)]
        }
        return [
            tiling.encode(sample, ratio: config.spatialCompressionRatio) { modules($0, context) }
        ]
    }
}

extension AutoencoderDCDecoder: Network {
    /// Value of `entry` in contracts.
    public static let entry = "decode"

    public var className: String { AutoencoderDCConfig.className }

    public var inputSpecs: [InputSpec] {
        [
            InputSpec(
                "latent",
                [.size("batch"), .fixed(config.latentChannels), .size("height"), .size("width")])
        ]
    }

    public var outputs: [String] { ["sample"] }

    public func check(_ inputs: NamedTensors) throws(InputError) {
        _ = try latent(inputs)
    }

    private func latent(_ inputs: NamedTensors) throws(InputError) -> DenseTensor {
        try modules.input(inputs, "latent", channels: config.latentChannels, tiling: nil, config)
    }

    public func forward(
        _ inputs: NamedTensors, _ context: ForwardContext
    ) throws(InputError) -> [DenseTensor] {
        let latent = try latent(inputs)
        let ratio = config.spatialCompressionRatio
        guard let tiling, tiling.splits(latent: latent, ratio: ratio), context.recorder == nil
        else { return [modules(latent, context)] }
        return [tiling.decode(latent, ratio: ratio) { modules($0, context) }]
    }
}

extension ModuleChain {
    /// The one input of an entry, once it is known to fit the modules and this machine.
    fileprivate func input(
        _ inputs: NamedTensors, _ name: String, channels: Int, tiling: AutoencoderTiling?,
        _ config: AutoencoderDCConfig
    ) throws(InputError) -> DenseTensor {
        guard let tensor = inputs[name] else { throw InputError(name, nil, "a tensor") }
        let shape = tensor.shape
        guard shape.count == 4, shape[0] > 0, shape[1] == channels, shape[2] > 0, shape[3] > 0
        else { throw InputError(name, shape, "[batch, \(channels), height, width]") }
        // Tiles are padded to whole latents.
        let isTiled = tiling?.splits(tensor) == true
        guard isTiled || outputSize(shape[2]) != nil && outputSize(shape[3]) != nil else {
            throw InputError(
                name, shape,
                "[batch, \(channels), height, width] with height and width divisible by "
                    + "\(config.spatialCompressionRatio)")
        }
        let bytes =
            floats(batch: shape[0], channels: channels, height: shape[2], width: shape[3])
            * Double(MemoryLayout<Float>.stride)
        let memory = SanaInputs.physicalMemoryByteCount
        guard bytes <= Double(memory) else {
            throw InputError(
                name, shape,
                "a forward that fits \(memory >> 30) GiB of memory; this one takes about "
                    + "\(Int(min(bytes / 0x1p30, 1e15))) GiB")
        }
        return tensor
    }
}
