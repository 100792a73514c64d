extension NetworkClass {
    static let sanaControlNetModel = NetworkClass(
        SanaConfig.ModelClass.controlNet.rawValue, noun: "ControlNet", isMain: true,
        marker: "controlnet_blocks.0.weight",
        configuration: { json, file throws(BadDataError) in
            try SanaConfig(values: json, file: file)
        },
        knowsKey: { SanaConfig.isKnown($0, of: .controlNet) }, likeness: SanaConfig.likeness)
}

extension SanaControlNetModel: Network {
    public var className: String { NetworkClass.sanaControlNetModel.name }

    public var inputSpecs: [InputSpec] {
        config.commonInputs + [
            InputSpec(
                SanaInputs.Name.controlnetCond,
                [.size("batch"), .fixed(config.inChannels), .size("height"), .size("width")]),
            InputSpec(
                SanaInputs.Name.conditioningScale, [.fixed(1)], isRequired: false,
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
        try SanaInputs(inputs).check(for: config)
    }

    public func forward(
        _ inputs: NamedTensors, _ context: ForwardContext
    ) throws(InputError) -> [DenseTensor] {
        try forward(SanaInputs(inputs), context)
    }
}
