extension SanaClass {
    static let controlNet = SanaClass(
        name: "SanaControlNetModel", noun: "ControlNet", marker: "controlnet_blocks.0.weight",
        standardLayers: 7, fewestLayers: 1,
        // Those that SanaControlNetModel.__init__ does not take.
        absentKeys: ["guidance_embeds", "guidance_embeds_scale", "qk_norm", "timestep_scale"],
        ownInputs: [SanaControlNetInputs.Name.condition],
        // The outputs of each block and each projection.
        keptMatrices: { 2 * $0.numLayers + 1 },
        original: OriginalBlocks(
            prefix: "controlnet.", inner: OriginalNames.copiedBlock + ".",
            foreign: [SanaClass.transformer.original.prefix, OriginalNames.lastLayer],
            names: OriginalNames.controlNetNames),
        released: { ReleasedConfiguration.controlNets },
        network: { try SanaControlNetModel($0, $1) })
}

extension SanaControlNetModel: Network {
    public var className: String { SanaClass.controlNet.name }

    public var inputSpecs: [InputSpec] {
        config.commonInputs + [
            InputSpec(
                SanaControlNetInputs.Name.condition,
                [.size("batch"), .fixed(config.inChannels), .size("height"), .size("width")]),
            InputSpec(
                SanaControlNetInputs.Name.scale, [.fixed(1)], isRequired: false,
                filling: .absent),
        ]
    }

    public var outputs: [String] {
        (0..<config.numLayers).map { SanaInputs.Name.controlnetBlockSample($0) }
    }

    public func sizes(_ request: SizeRequest) -> NetworkSizes { config.sizes(request) }

    public func hidden(_ weights: [String], by inputs: NamedTensors) -> [String] {
        SanaInputs.hidden(weights, by: inputs)
    }

    public func check(_ inputs: NamedTensors) throws(InputError) {
        _ = try SanaControlNetInputs(inputs).checkedSizes(for: config)
    }

    public func forward(
        _ inputs: NamedTensors, _ context: ForwardContext
    ) throws(InputError) -> [DenseTensor] {
        try forward(SanaControlNetInputs(inputs), context)
    }
}
