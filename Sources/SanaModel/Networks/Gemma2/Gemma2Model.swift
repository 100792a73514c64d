/// The text encoder of Sana: Gemma 2 (arXiv 2408.00118) without its head, computed as transformers
/// 5.24's `Gemma2Model` does in fp32.
///
/// Padding on the right is not computed: attention is causal, so nothing before it reads it.
public struct Gemma2Model: Sendable {
    public let config: Gemma2Config
    /// Whether attention scores are capped where the configuration says so.
    ///
    /// transformers up to 4.44, and from 4.48 to 5.21, attend with PyTorch's SDPA by default, which
    /// drops the cap without a word. A golden of theirs is met with `false`.
    public var capsScores = true
    private let embedTokens: Gemma2Embedding
    private let layers: [Gemma2DecoderLayer]
    private let norm: Gemma2RMSNorm

    /// Binds every tensor of `source`, which must hold just those that `config` calls for, with the
    /// names of `Gemma2Model` or of `Gemma2ForCausalLM`.
    ///
    /// - Parameter label: the file or directory, for messages.
    /// - Throws: `BindingError`, or what the source throws while reading values.
    public init(_ config: Gemma2Config, source: any TensorSource, label: String) throws {
        try self.init(config, WeightScope(source, label: label))
    }

    /// - Throws: as the other initializer.
    public init(_ config: Gemma2Config, _ scope: WeightScope) throws {
        self.config = config
        var root = scope
        if scope.holds("model.embed_tokens.weight") {
            root = scope.rooted(at: "model")
            // The head, which is the embedding again where it is stored at all.
            scope.ignore("lm_head.weight")
        }
        embedTokens = try Gemma2Embedding(
            root["embed_tokens"].holding(.tokenEmbedding, .embeddings), config)
        layers = try config.slides.enumerated().map { index, slides in
            try Gemma2DecoderLayer(root["layers"][index], config, slides: slides)
        }
        norm = try Gemma2RMSNorm(root["norm"], config)
        try scope.finish()
    }

    /// The last hidden state of one text, `[1, tokens, hidden]`.
    ///
    /// - Parameter cache: where given, tokens that the text begins with and the cache has are not
    ///   computed again, and a cache that is empty is filled. The result has the same bits.
    /// - Throws: `InputError` for an id that the vocabulary does not have, or no ids.
    public func forward(
        _ ids: [Int], cache: Gemma2Cache? = nil, _ context: ForwardContext
    ) throws(InputError) -> DenseTensor {
        let inputs = try Gemma2Inputs(texts: [ids], for: config)
        let known = cache.map { $0.knownCount(of: ids, capsScores: capsScores) } ?? 0
        let rows = Gemma2Rows(inputs, skipping: known, config, context)
        let kept = run(rows, Array(ids[known...]), cache: known > 0 ? cache : nil, context) {
            cache?.fill(ids, layer: $0, keys: $1, values: $2)
        }
        cache?.finish(ids, states: kept, capsScores: capsScores)
        let output = DenseTensor(shape: [1, ids.count, config.hiddenSize])
        if known > 0, let states = cache?.states {
            output.values.pointer.update(
                from: states.pointer, count: known * config.hiddenSize)
        }
        (output.values.pointer + known * config.hiddenSize).update(
            from: kept.pointer, count: kept.count)
        return output
    }

    /// The hidden states of `rows`, after the last norm.
    func run(
        _ rows: Gemma2Rows, _ ids: [Int], cache: Gemma2Cache?, _ context: ForwardContext,
        keep: (_ layer: Int, _ keys: Matrix, _ values: Matrix) -> Void
    ) -> Matrix {
        let hiddenStates = context.matrix(
            "hidden", rows: rows.count, columns: config.hiddenSize)
        embedTokens(ids, into: hiddenStates, rows.layout, context)
        let softCap = capsScores ? config.attnLogitSoftcapping.map { Float($0) } : nil
        for (index, layer) in layers.enumerated() {
            layer(
                hiddenStates, rows, softCap: softCap, cached: cache?.layers[index],
                keep: { keep(index, $0, $1) }, context)
        }
        let output = context.matrix("norm", rows: rows.count, columns: config.hiddenSize)
        norm(hiddenStates, into: output, rows.layout, context)
        return output
    }
}
