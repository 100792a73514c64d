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
    /// - Parameters:
    ///   - asked: positions of each text, ascending, whose states the caller reads; `nil`: all. The
    ///     last layer computes queries and feed-forward of these and of the last token alone, and
    ///     other states are zero: of a prompt with an instruction a pipeline reads a tenth.
    ///   - cache: where given, tokens that a text begins with and the cache has are not computed
    ///     again, and a cache that is empty is filled from the first text.
    /// - Throws: `InputError` for an id that the vocabulary does not have, or a text without ids.
    public func forward(
        texts: [[Int]], asking asked: [[Int]]? = nil, cache: Gemma2Cache? = nil,
        _ context: ForwardContext
    ) throws(InputError) -> [DenseTensor] {
        let inputs = try Gemma2Inputs(texts: texts, for: config)
        let caps = caps(context)
        let wanted = asked ?? texts.map { Array($0.indices) }
        let known = zip(texts, wanted).map {
            cache?.knownCount(of: $0, asking: $1, capsScores: caps) ?? 0
        }
        let rows = Gemma2Rows(inputs, skipping: known, config, context)
        let ids = zip(texts, known).flatMap { $0[$1...] }
        let last = rows.only(wanted)
        let states = run(
            rows, asking: asked == nil ? nil : last, ids,
            cache: known.contains { $0 > 0 } ? cache : nil, context
        ) {
            cache?.fill(texts[0], layer: $0, keys: $1, values: $2)
        }
        let outputs = texts.map { DenseTensor(shape: [1, $0.count, config.hiddenSize]) }
        var text = -1
        var keyRow = -1
        for run in last.rows.sequences {
            if run.keyRow != keyRow { (text, keyRow) = (text + 1, run.keyRow) }
            (outputs[text].values.pointer + run.known * config.hiddenSize).update(
                from: states.row(run.row), count: run.count * config.hiddenSize)
            if text == 0 {
                cache?.keep(
                    texts[0], run.known..<run.known + run.count, states, from: run.row)
            }
        }
        for (output, (wanted, known)) in zip(outputs, zip(wanted, known)) {
            for position in wanted where position < known {
                guard let state = cache?.state(position) else { continue }
                (output.values.pointer + position * config.hiddenSize).update(
                    from: state, count: config.hiddenSize)
            }
        }
        cache?.finish(texts[0], capsScores: caps)
        return outputs
    }

    /// Whether attention scores are capped in this forward.
    public func caps(_ context: ForwardContext) -> Bool {
        capsScores && context.numerics != .noSoftCap
    }

    /// The hidden states of `rows`, or of `asked` among them, after the last norm.
    func run(
        _ rows: Gemma2Rows, asking asked: (rows: Gemma2Rows, places: [Int])? = nil, _ ids: [Int],
        cache: Gemma2Cache?, _ context: ForwardContext,
        keep: (_ layer: Int, _ keys: Matrix, _ values: Matrix) -> Void
    ) -> Matrix {
        var hiddenStates = context.matrix(
            .hidden, rows: rows.count, columns: config.hiddenSize)
        embedTokens(ids, into: hiddenStates, rows.layout, context)
        let softCap = caps(context) ? config.attnLogitSoftcapping.map { Float($0) } : nil
        for (index, layer) in layers.enumerated() {
            hiddenStates = layer(
                hiddenStates, rows, asking: index == layers.count - 1 ? asked : nil,
                softCap: softCap, cached: cache?.layers[index],
                keep: { keep(index, $0, $1) }, context)
        }
        let output = context.matrix(.norm, rows: hiddenStates.rows, columns: config.hiddenSize)
        norm(hiddenStates, into: output, (asked?.rows ?? rows).layout, context)
        return output
    }
}
