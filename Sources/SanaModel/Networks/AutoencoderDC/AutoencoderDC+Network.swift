extension NetworkClass {
    static let autoencoderDC = NetworkClass(
        AutoencoderDCConfig.className, formerNames: ["DCAE"], noun: "autoencoder",
        marker: "decoder.conv_in.weight",
        configuration: { json, file throws(BadDataError) in
            try AutoencoderDCConfig(json: json, file: file)
        },
        knowsKey: AutoencoderDCConfig.isKnown
    ) { source, _, _ in
        let released = ReleasedAutoencoder.matching(source)
        return ReleaseLikeness(
            family: released.first?.name, repositories: released.map(\.name))
    }
}

extension AutoencoderDCConfig: NetworkConfiguration {
    public var networkClass: NetworkClass { .autoencoderDC }

    public var summary: String {
        func list(_ stages: [Stage]) -> String {
            stages.map { "\($0.layers) × \($0.width)" }.joined(separator: ", ")
        }
        return "AutoencoderDC, encoder \(list(encoder)), decoder \(list(decoder)), latent "
            + "\(latentChannels) at 1/\(spatialCompressionRatio), scaling factor \(scalingFactor)"
    }

    public func bind(_ scope: WeightScope) throws -> [NetworkEntry] {
        let model = try AutoencoderDC(self, scope)
        return [
            NetworkEntry(model.decoder, name: AutoencoderDCDecoder.entry),
            NetworkEntry(model.encoder, name: AutoencoderDCEncoder.entry),
        ]
    }
}

/// What both halves have in common as networks: they may run in tiles.
public protocol AutoencoderDCHalf: Network {
    var config: AutoencoderDCConfig { get }
    var tiling: AutoencoderTiling? { get set }
}

extension AutoencoderDCHalf {
    public var className: String { AutoencoderDCConfig.className }

    public func configured(
        by contract: JSONValue, file: String
    ) throws(BadDataError) -> any Network {
        var network = self
        network.tiling = try AutoencoderTiling(contract: contract, file: file, for: config)
        return network
    }

    public var capturesModules: Bool { tiling == nil }
}

extension AutoencoderDCEncoder: AutoencoderDCHalf {
    /// Value of `entry` in contracts.
    public static let entry = "encode"

    public var inputSpecs: [InputSpec] {
        [
            InputSpec(
                "sample",
                [.size("batch"), .fixed(config.inChannels), .size("height"), .size("width")])
        ]
    }

    public var outputs: [String] { ["latent"] }

    /// Pictures of the latent's size that is asked for; by default of 1024 pixels' side.
    public func sizes(_ request: SizeRequest) -> NetworkSizes {
        let ratio = config.spatialCompressionRatio
        return [
            "batch": request.batch ?? 1, "height": request.height.map { $0 * ratio } ?? 1024,
            "width": request.width.map { $0 * ratio } ?? 1024,
        ]
    }

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
            tiling.encode(sample, ratio: config.spatialCompressionRatio) {
                modules($0, context.ofTiles)
            }
        ]
    }
}

extension AutoencoderDCDecoder: AutoencoderDCHalf {
    /// Value of `entry` in contracts.
    public static let entry = "decode"

    public var inputSpecs: [InputSpec] {
        [
            InputSpec(
                "latent",
                [.size("batch"), .fixed(config.latentChannels), .size("height"), .size("width")])
        ]
    }

    public var outputs: [String] { ["sample"] }

    /// By default latents of pictures of 1024 pixels' side.
    public func sizes(_ request: SizeRequest) -> NetworkSizes {
        let side = max(1, 1024 / config.spatialCompressionRatio)
        return [
            "batch": request.batch ?? 1, "height": request.height ?? side,
            "width": request.width ?? side,
        ]
    }

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
        return [tiling.decode(latent, ratio: ratio) { modules($0, context.ofTiles) }]
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
