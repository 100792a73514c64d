/// transformers' `Gemma2RMSNorm`: x / √(mean(x²) + eps) · (1 + w).
struct Gemma2RMSNorm {
    let path: String
    private let eps: Float
    /// 1 + w
    private let weight: FloatBuffer

    init(_ scope: WeightScope, _ config: Gemma2Config) throws {
        path = scope.path
        eps = config.rmsNormEps
        weight = try scope.parameter(
            "weight", shape: [config.hiddenSize], role: .norm, part: .norms)
        for index in 0..<weight.count { weight.pointer[index] += 1 }
    }

    func callAsFunction(
        _ x: Matrix, into y: Matrix, _ layout: Activation.Layout, _ context: ForwardContext
    ) {
        context.module(path, "Gemma2RMSNorm") {
            context.rmsNorm(x, eps: eps, weight: weight, into: y)
            return [Activation(y, layout)]
        }
    }
}

/// transformers' `Gemma2TextScaledWordEmbedding`: rows of the stored matrix times √hidden.
///
/// Only the rows that are looked up are read. The factor is rounded to fp32, the type that all
/// weights are widened to; transformers rounds it to the type that it loads the weights in, which
/// is the same number where the root is a short one, such as 48 of gemma-2-2b.
struct Gemma2Embedding {
    let path: String
    private let weight: Weight
    private let scale: Float

    init(_ scope: WeightScope, _ config: Gemma2Config) throws {
        path = scope.path
        weight = try scope.weight(shape: [config.vocabSize, config.hiddenSize])
        scale = Float(Double(config.hiddenSize).squareRoot())
    }

    func callAsFunction(
        _ ids: [Int], into y: Matrix, _ layout: Activation.Layout, _ context: ForwardContext
    ) {
        context.module(path, "Gemma2TextScaledWordEmbedding") {
            context.lookUp(ids, in: weight, scale: scale, into: y)
            return [Activation(y, layout)]
        }
    }
}

/// transformers' `Gemma2MLP`.
struct Gemma2MLP {
    let path: String
    private let actPath: String
    private let intermediateSize: Int
    let gateProj: Linear
    let upProj: Linear
    let downProj: Linear

    init(_ scope: WeightScope, _ config: Gemma2Config) throws {
        path = scope.path
        actPath = scope["act_fn"].path
        intermediateSize = config.intermediateSize
        let (dim, hidden) = (config.hiddenSize, config.intermediateSize)
        gateProj = try Linear(scope["gate_proj"], in: dim, out: hidden, bias: false)
        upProj = try Linear(scope["up_proj"], in: dim, out: hidden, bias: false)
        downProj = try Linear(scope["down_proj"], in: hidden, out: dim, bias: false)
    }

    func callAsFunction(
        _ x: Matrix, into y: Matrix, _ layout: Activation.Layout, _ context: ForwardContext
    ) {
        context.module(path, "Gemma2MLP") {
            let gate = context.matrix(.gate, rows: x.rows, columns: intermediateSize)
            let up = context.matrix(.up, rows: x.rows, columns: intermediateSize)
            context.sharing(x) {
                gateProj(x, into: gate, layout, context)
                upProj(x, into: up, layout, context)
            }
            if context.fusesPasses {
                context.gatedGelu(up, gate: gate, into: gate)
            } else {
                context.module(actPath, "GELUTanh") {
                    context.geluTanh(gate)
                    return [Activation(gate, layout)]
                }
                context.multiply(gate, by: up)
            }
            downProj(gate, into: y, layout, context)
            return [Activation(y, layout)]
        }
    }
}

/// transformers' `Gemma2Attention`: rotary positions, grouped heads, capped scores.
struct Gemma2Attention {
    let path: String
    private let config: Gemma2Config
    private let window: Int?
    let qProj: Linear
    let kProj: Linear
    let vProj: Linear
    let oProj: Linear

    init(_ scope: WeightScope, _ config: Gemma2Config, slides: Bool) throws {
        path = scope.path
        self.config = config
        window = slides ? config.slidingWindow : nil
        let (dim, bias) = (config.hiddenSize, config.attentionBias)
        let (query, key) = (
            config.numAttentionHeads * config.headDim, config.numKeyValueHeads * config.headDim
        )
        qProj = try Linear(scope["q_proj"], in: dim, out: query, bias: bias)
        kProj = try Linear(scope["k_proj"], in: dim, out: key, bias: bias)
        vProj = try Linear(scope["v_proj"], in: dim, out: key, bias: bias)
        oProj = try Linear(scope["o_proj"], in: query, out: dim, bias: bias)
    }

    /// - Parameters:
    ///   - rows: which tokens `x` has.
    ///   - asked: those of them that attend, `nil`: all; the others are keys and values alone.
    ///   - cached: keys and values of the tokens before them.
    ///   - keep: gets the keys, rotated, and values of `x`.
    func callAsFunction(
        _ x: Matrix, _ rows: Gemma2Rows, asking asked: (rows: Gemma2Rows, places: [Int])?,
        softCap: Float?, cached: Gemma2Cache.Layer?,
        keep: (_ keys: Matrix, _ values: Matrix) -> Void, into y: Matrix,
        _ context: ForwardContext
    ) {
        context.module(path, "Gemma2Attention") {
            let width = config.numKeyValueHeads * config.headDim
            let queries = asked?.rows ?? rows
            let query = context.matrix(.query, rows: queries.count, columns: qProj.weight.rows)
            let key = context.matrix(.key, rows: x.rows, columns: width)
            let value = context.matrix(.value, rows: x.rows, columns: width)
            if let asked {
                let some = context.matrix(.asked, rows: queries.count, columns: x.columns)
                context.pick(asked.places, of: x, into: some)
                qProj(some, into: query, queries.layout, context)
            }
            context.sharing(x) {
                if asked == nil { qProj(x, into: query, rows.layout, context) }
                kProj(x, into: key, rows.layout, context)
                vProj(x, into: value, rows.layout, context)
            }
            context.rotate(query, rows.rotation, positions: queries.positions)
            context.rotate(key, rows.rotation, positions: rows.positions)
            keep(key, value)
            let keys = context.matrix(.allKeys, rows: rows.keyRows, columns: width)
            let values = context.matrix(.allValues, rows: rows.keyRows, columns: width)
            context.gather(key, after: cached?.keys, rows.sequences, into: keys)
            context.gather(value, after: cached?.values, rows.sequences, into: values)
            let attended = context.matrix(.attended, rows: query.rows, columns: query.columns)
            context.causalAttention(
                query: query, keys: keys, values: values, queries.sequences,
                CausalScores(
                    heads: config.numAttentionHeads, keyHeads: config.numKeyValueHeads,
                    scale: Float(1 / config.queryPreAttnScalar.squareRoot()), softCap: softCap,
                    window: window),
                into: attended)
            oProj(attended, into: y, queries.layout, context)
            return [Activation(y, queries.layout)]
        }
    }
}

/// transformers' `Gemma2DecoderLayer`: each branch is normalized before and after.
struct Gemma2DecoderLayer {
    let path: String
    let selfAttn: Gemma2Attention
    let mlp: Gemma2MLP
    private let inputLayernorm: Gemma2RMSNorm
    private let postAttentionLayernorm: Gemma2RMSNorm
    private let preFeedforwardLayernorm: Gemma2RMSNorm
    private let postFeedforwardLayernorm: Gemma2RMSNorm

    init(_ scope: WeightScope, _ config: Gemma2Config, slides: Bool) throws {
        path = scope.path
        selfAttn = try Gemma2Attention(
            scope["self_attn"].holding(.attention, .attention), config, slides: slides)
        mlp = try Gemma2MLP(scope["mlp"].holding(.feedForward, .feedForward), config)
        inputLayernorm = try Gemma2RMSNorm(scope["input_layernorm"], config)
        postAttentionLayernorm = try Gemma2RMSNorm(scope["post_attention_layernorm"], config)
        preFeedforwardLayernorm = try Gemma2RMSNorm(scope["pre_feedforward_layernorm"], config)
        postFeedforwardLayernorm = try Gemma2RMSNorm(scope["post_feedforward_layernorm"], config)
    }

    /// - Parameter hiddenStates: updated in place. For the others see `Gemma2Attention`.
    /// - Returns: `hiddenStates`, or those of `asked`.
    func callAsFunction(
        _ hiddenStates: Matrix, _ rows: Gemma2Rows,
        asking asked: (rows: Gemma2Rows, places: [Int])?, softCap: Float?,
        cached: Gemma2Cache.Layer?, keep: (_ keys: Matrix, _ values: Matrix) -> Void,
        _ context: ForwardContext
    ) -> Matrix {
        var result = hiddenStates
        context.module(path, "Gemma2DecoderLayer") {
            let norm = context.matrix(
                .norm, rows: hiddenStates.rows, columns: hiddenStates.columns)
            inputLayernorm(hiddenStates, into: norm, rows.layout, context)

            let layout = (asked?.rows ?? rows).layout
            if let asked {
                result = context.matrix(
                    .askedHidden, rows: asked.places.count, columns: hiddenStates.columns)
                context.pick(asked.places, of: hiddenStates, into: result)
            }
            let branch = context.matrix(.branch, rows: result.rows, columns: result.columns)
            selfAttn(
                norm, rows, asking: asked, softCap: softCap, cached: cached, keep: keep,
                into: branch, context)
            postAttentionLayernorm(branch, into: branch, layout, context)
            context.add(branch, to: result)

            let inner = context.matrix(.norm, rows: result.rows, columns: result.columns)
            preFeedforwardLayernorm(result, into: inner, layout, context)
            mlp(inner, into: branch, layout, context)
            postFeedforwardLayernorm(branch, into: branch, layout, context)
            context.add(branch, to: result)

            return [Activation(result, layout)]
        }
        return result
    }
}

extension Scratch {
    fileprivate static let gate = Scratch()
    fileprivate static let up = Scratch()
    fileprivate static let asked = Scratch()
    fileprivate static let askedHidden = Scratch()
    fileprivate static let allKeys = Scratch()
    fileprivate static let allValues = Scratch()
}
