extension Gemma2Config {
    public func disagreements(
        with source: any TensorSource, json: JSONValue?
    ) -> [ConfigurationDisagreement] {
        disagreements(with: source, json: json) { facts(source) }
    }

    /// Heads are told from their dimension by which of them makes all tensors fit.
    private func facts(_ source: any TensorSource) -> [ConfigurationFact] {
        let prefix = source.info("model.embed_tokens.weight") == nil ? "" : "model."
        var facts: [ConfigurationFact] = []
        func add(_ key: String, _ value: Int, _ expected: Int?, _ tensor: String) {
            guard let expected else { return }
            facts.append(
                ConfigurationFact(
                    key: key, value: .int(value), expected: .int(expected),
                    tensor: prefix + tensor))
        }
        func shape(_ name: String) -> [Int]? {
            source.info(prefix + name).flatMap { $0.shape.count == 2 ? $0.shape : nil }
        }
        func parts(_ width: Int?, _ size: Int) -> Int? {
            width.flatMap { size > 0 && $0 % size == 0 ? $0 / size : nil }
        }
        let (table, attention) = ("embed_tokens.weight", "layers.0.self_attn.")
        let (queries, keys) = (attention + "q_proj.weight", attention + "k_proj.weight")
        let feedForward = "layers.0.mlp.gate_proj.weight"
        add("vocab_size", vocabSize, shape(table)?[0], table)
        add("hidden_size", hiddenSize, shape(table)?[1], table)
        add("intermediate_size", intermediateSize, shape(feedForward)?[0], feedForward)
        let layers = (0...).first { shape("layers.\($0).mlp.gate_proj.weight") == nil }
        add("num_hidden_layers", numHiddenLayers, layers, "layers")
        let width = shape(queries)?[0]
        add("num_attention_heads", numAttentionHeads, parts(width, headDim), queries)
        add("num_key_value_heads", numKeyValueHeads, parts(shape(keys)?[0], headDim), keys)
        add("head_dim", headDim, parts(width, numAttentionHeads), queries)
        let bias = attention + "q_proj.bias"
        facts.append(
            ConfigurationFact(
                key: "attention_bias", value: .bool(attentionBias),
                expected: .bool(source.info(prefix + bias) != nil), tensor: prefix + bias))
        return facts
    }
}
