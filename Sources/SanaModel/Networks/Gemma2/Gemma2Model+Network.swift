extension NetworkClass {
    static let gemma2Model = NetworkClass(
        Gemma2Config.className, otherNames: ["Gemma2ForCausalLM"], noun: "text encoder",
        weightsStem: WeightFiles.transformersStem,
        marker: "layers.0.pre_feedforward_layernorm.weight",
        configuration: { json, file throws(BadDataError) in
            try Gemma2Config(json: json, file: file)
        })
}

extension Gemma2Config: NetworkConfiguration {
    public var networkClass: NetworkClass { .gemma2Model }

    public var summary: String {
        "Gemma2Model, \(numHiddenLayers) layers of width \(hiddenSize), \(numAttentionHeads) × "
            + "\(headDim) heads (\(numKeyValueHeads) of keys and values), feed-forward "
            + "\(intermediateSize), vocabulary \(vocabSize)"
    }

    public func bind(_ scope: WeightScope) throws -> [NetworkEntry] {
        [NetworkEntry(try Gemma2Model(self, scope))]
    }
}

extension Gemma2Model: Network {
    /// Sizes that the caller chooses.
    private static let (batch, tokens) = ("batch", "tokens")

    public var className: String { Gemma2Config.className }

    public var inputSpecs: [InputSpec] {
        [
            InputSpec(
                Gemma2Inputs.Name.inputIDs, [.size(Self.batch), .size(Self.tokens)],
                filling: .whole(below: config.vocabSize), isInteger: true),
            InputSpec(
                Gemma2Inputs.Name.attentionMask, [.size(Self.batch), .size(Self.tokens)],
                isRequired: false, filling: .constant(1), isInteger: true),
        ]
    }

    public var outputs: [String] { ["last_hidden_state"] }

    /// As many tokens as SanaPipeline gives its text encoder for an empty instruction.
    public func sizes(_ request: SizeRequest) -> NetworkSizes {
        [Self.batch: request.batch ?? 1, Self.tokens: request.tokens ?? 300]
    }

    public func configured(
        by contract: JSONValue, file: String
    ) throws(BadDataError) -> any Network {
        guard let value = contract["soft_cap"], value != .null else { return self }
        guard let caps = value.bool else {
            throw BadDataError(file: file, reason: "contract: soft_cap is not true or false")
        }
        var network = self
        network.capsScores = caps
        return network
    }

    /// transformers computes what is masked, and nobody uses it.
    public func clearPadding(
        _ values: FloatBuffer, ofOutput index: Int, _ inputs: NamedTensors
    ) {
        guard let mask = inputs[Gemma2Inputs.Name.attentionMask] else { return }
        for row in 0..<mask.count where mask.values.pointer[row] == 0 {
            (values.pointer + row * config.hiddenSize).update(
                repeating: 0, count: config.hiddenSize)
        }
    }

    public func check(_ inputs: NamedTensors) throws(InputError) {
        _ = try Gemma2Inputs(inputs, for: config)
    }

    /// - Returns: `[batch, tokens, hidden]`, zero where the mask is.
    public func forward(
        _ inputs: NamedTensors, _ context: ForwardContext
    ) throws(InputError) -> [DenseTensor] {
        let inputs = try Gemma2Inputs(inputs, for: config)
        let rows = Gemma2Rows(inputs, config, context)
        let states = run(rows, inputs.texts.flatMap { $0 }, cache: nil, context) { _, _, _ in }
        let output = context.tensor(
            shape: [inputs.texts.count, inputs.padded, config.hiddenSize])
        context.scatter(states, rows.sequences, padded: inputs.padded, into: output)
        return [output]
    }
}
