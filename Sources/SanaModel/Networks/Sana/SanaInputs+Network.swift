/// The inputs of a Sana network by name, as goldens and diffusers' `forward` call them.
extension SanaInputs {
    /// Names of the inputs.
    enum Name {
        static let hiddenStates = "hidden_states"
        static let encoderHiddenStates = "encoder_hidden_states"
        static let timestep = "timestep"
        static let guidance = "guidance"
        static let encoderAttentionMask = "encoder_attention_mask"
        /// diffusers takes it and never uses it.
        static let attentionMask = "attention_mask"

        static func controlnetBlockSample(_ index: Int) -> String {
            "controlnet_block_samples.\(index)"
        }
    }

    /// - Throws: `InputError` for a required input that is absent.
    public init(_ tensors: NamedTensors) throws(InputError) {
        func required(_ name: String) throws(InputError) -> DenseTensor {
            guard let tensor = tensors[name] else { throw InputError(name, nil, "a tensor") }
            return tensor
        }
        var samples: [DenseTensor] = []
        while let sample = tensors[Name.controlnetBlockSample(samples.count)] {
            samples.append(sample)
        }
        self.init(
            hiddenStates: try required(Name.hiddenStates),
            encoderHiddenStates: try required(Name.encoderHiddenStates),
            timestep: try required(Name.timestep), guidance: tensors[Name.guidance],
            encoderAttentionMask: tensors[Name.encoderAttentionMask],
            controlnetBlockSamples: samples)
    }
}

extension SanaInputs {
    /// Attention over a single caption token is 1 whatever its queries and keys.
    static func hidden(_ weights: [String], by inputs: NamedTensors) -> [String] {
        guard showsOneToken(inputs) else { return [] }
        return weights.filter { name in
            [".attn2.to_q.", ".attn2.to_k.", ".attn2.norm_"].contains { name.contains($0) }
        }
    }

    /// Whether every sample has just one caption token that attention can reach.
    private static func showsOneToken(_ inputs: NamedTensors) -> Bool {
        guard let tokens = inputs[Name.encoderHiddenStates]?.shape[1] else { return false }
        guard let mask = inputs[Name.encoderAttentionMask] else { return tokens == 1 }
        let isBias = mask.shape.count == 3
        return stride(from: 0, to: mask.count, by: max(tokens, 1)).allSatisfy { start in
            (start..<min(start + tokens, mask.count)).count {
                let value = mask.values.pointer[$0]
                return isBias ? value > -100 : value > 0
            } == 1
        }
    }
}

extension SanaConfig {
    /// What every network of this configuration takes.
    var commonInputs: [InputSpec] {
        let guidance = InputSpec(
            SanaInputs.Name.guidance, [.size("batch")],
            filling: .constant(Float(4.5 * guidanceEmbedsScale)))
        // diffusers rounds what it computes from timesteps, not the timesteps.
        return [
            InputSpec(
                SanaInputs.Name.hiddenStates,
                [.size("batch"), .fixed(inChannels), .size("height"), .size("width")]),
            InputSpec(
                SanaInputs.Name.encoderHiddenStates,
                [.size("batch"), .size("caption_tokens"), .fixed(captionChannels)]),
            InputSpec(
                SanaInputs.Name.timestep, [.size("batch")],
                filling: .constant(Float(500 * timestepScale)), isRounded: false),
        ] + (guidanceEmbeds ? [guidance] : []) + [
            InputSpec(
                SanaInputs.Name.encoderAttentionMask, [.size("batch"), .size("caption_tokens")],
                isRequired: false, mayBeInfinite: true, filling: .mask),
            InputSpec(
                SanaInputs.Name.attentionMask, [.size("batch"), .size("tokens")],
                isRequired: false, mayBeInfinite: true, filling: .absent),
        ]
    }

    /// Sizes of a forward, the latent's by default those that the model was trained for.
    func sizes(_ request: SizeRequest) -> NetworkSizes {
        [
            "batch": request.batch ?? 1, "height": request.height ?? sampleSize,
            "width": request.width ?? sampleSize, "caption_tokens": request.tokens ?? 300,
        ]
    }
}

extension SanaTransformer2DModel: Network {
    public var className: String { SanaClass.transformer.name }

    public var inputSpecs: [InputSpec] {
        var specs = config.commonInputs
        // diffusers adds one after every block but the first, as far as they go.
        for index in 0..<max(0, config.numLayers - 1) {
            specs.append(
                InputSpec(
                    SanaInputs.Name.controlnetBlockSample(index),
                    [.size("batch"), .size("tokens"), .fixed(config.innerDim)],
                    isRequired: false, filling: .absent))
        }
        return specs
    }

    public var outputs: [String] { ["sample"] }

    public func sizes(_ request: SizeRequest) -> NetworkSizes { config.sizes(request) }

    public func hidden(_ weights: [String], by inputs: NamedTensors) -> [String] {
        SanaInputs.hidden(weights, by: inputs)
    }

    public func check(_ inputs: NamedTensors) throws(InputError) {
        try Self.inputs(inputs).check(for: config)
    }

    private static func inputs(_ inputs: NamedTensors) throws(InputError) -> SanaInputs {
        for other in SanaClass.all where other != .transformer {
            for name in other.ownInputs {
                guard let tensor = inputs[name] else { continue }
                throw InputError(name, tensor.shape, "none, as it is not a \(other.noun)")
            }
        }
        return try SanaInputs(inputs)
    }

    public func forward(
        _ inputs: NamedTensors, _ context: ForwardContext
    ) throws(InputError) -> [DenseTensor] {
        [try forward(Self.inputs(inputs), context)]
    }
}
