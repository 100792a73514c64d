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

    /// The last hidden state of one text, `[1, tokens, hidden]`; see `forward` of several.
    public func forward(
        _ ids: [Int], cache: Gemma2Cache? = nil, _ context: ForwardContext
    ) throws(InputError) -> DenseTensor {
        try forward(texts: [ids], cache: cache, context)[0]
    }

    /// The last hidden states of texts, each `[1, tokens, hidden]` with the bits that it has alone.
    ///
    /// - Parameter cache: where given, tokens that a text begins with and the cache has are not
    ///   computed again, and a cache that is empty is filled from the first text.
    /// - Throws: `InputError` for an id that the vocabulary does not have, or a text without ids.
    public func forward(
        texts: [[Int]], cache: Gemma2Cache? = nil, _ context: ForwardContext
    ) throws(InputError) -> [DenseTensor] {
        let inputs = try Gemma2Inputs(texts: texts, for: config)
        let caps = caps(context)
        let known = texts.map { cache?.knownCount(of: $0, capsScores: caps) ?? 0 }
        let rows = Gemma2Rows(inputs, skipping: known, config, context)
        let ids = zip(texts, known).flatMap { $0[$1...] }
        let kept = run(rows, ids, cache: known.contains { $0 > 0 } ? cache : nil, context) {
            cache?.fill(texts[0], layer: $0, keys: $1, values: $2)
        }
        cache?.finish(texts[0], states: kept, capsScores: caps)
        return rows.sequences.map { sequence in
            let output = DenseTensor(
                shape: [1, sequence.known + sequence.count, config.hiddenSize])
            let known = sequence.known * config.hiddenSize
            if known > 0, let states = cache?.states {
                output.values.pointer.update(from: states.pointer, count: known)
            }
            (output.values.pointer + known).update(
                from: kept.row(sequence.row), count: sequence.count * config.hiddenSize)
            return output
        }
    }

    /// Whether attention scores are capped in this forward.
    public func caps(_ context: ForwardContext) -> Bool {
        capsScores && context.numerics != .noSoftCap
    }

    /// The hidden states of `rows`, after the last norm.
    func run(
        _ rows: Gemma2Rows, _ ids: [Int], cache: Gemma2Cache?, _ context: ForwardContext,
        keep: (_ layer: Int, _ keys: Matrix, _ values: Matrix) -> Void
    ) -> Matrix {
        let hiddenStates = context.matrix(
            .hidden, rows: rows.count, columns: config.hiddenSize)
        embedTokens(ids, into: hiddenStates, rows.layout, context)
        let softCap = caps(context) ? config.attnLogitSoftcapping.map { Float($0) } : nil
        for (index, layer) in layers.enumerated() {
            layer(
                hiddenStates, rows, softCap: softCap, cached: cache?.layers[index],
                keep: { keep(index, $0, $1) }, context)
        }
        let output = context.matrix(.norm, rows: rows.count, columns: config.hiddenSize)
        norm(hiddenStates, into: output, rows.layout, context)
        return output
    }
}
