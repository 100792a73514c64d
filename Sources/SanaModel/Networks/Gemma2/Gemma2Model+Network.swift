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

    public func check(_ inputs: NamedTensors) throws(InputError) {
        _ = try Gemma2Inputs(inputs, for: config)
    }

    /// - Returns: `[batch, tokens, hidden]`, zero where the mask is.
    public func forward(
        _ inputs: NamedTensors, _ context: ForwardContext
    ) throws(InputError) -> [DenseTensor] {
        let inputs = try Gemma2Inputs(
            inputs, for: config, readsValues: context.recorder == nil)
        let rows = Gemma2Rows(inputs, config, context)
        let states = run(rows, inputs.texts.flatMap { $0 }, cache: nil, context) { _, _, _ in }
        let output = context.tensor(
            shape: [inputs.texts.count, inputs.padded, config.hiddenSize])
        context.scatter(states, rows.sequences, padded: inputs.padded, into: output)
        return [output]
    }
}
