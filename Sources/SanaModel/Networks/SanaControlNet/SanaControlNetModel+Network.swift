extension SanaControlNetModel: Network {
    public var className: String { SanaConfig.ModelClass.controlNet.rawValue }

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

    public func check(_ inputs: NamedTensors) throws(InputError) {
        try SanaInputs(inputs).check(for: config)
    }

    public func forward(
        _ inputs: NamedTensors, _ context: ForwardContext
    ) throws(InputError) -> [DenseTensor] {
        try forward(SanaInputs(inputs), context)
    }
}
