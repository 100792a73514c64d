/// `attn1`: diffusers' `Attention` under `SanaLinearAttnProcessor2_0`, tokens `[B · N, D]` → `[B ·
/// N, D]`.
struct LinearAttention {
    let path: String
    private let heads: Int
    let toQ: Linear
    let toK: Linear
    let toV: Linear
    private let normQ: RMSNorm?
    private let normK: RMSNorm?
    let toOut: AttentionOutput

    init(_ scope: WeightScope, _ config: SanaConfig) throws {
        path = scope.path
        heads = config.numAttentionHeads
        let dim = config.innerDim
        toQ = try Linear(scope["to_q"], in: dim, out: dim, bias: config.attentionBias)
        toK = try Linear(scope["to_k"], in: dim, out: dim, bias: config.attentionBias)
        toV = try Linear(scope["to_v"], in: dim, out: dim, bias: config.attentionBias)
        normQ = config.qkNorm ? try RMSNorm(scope["norm_q"], dim: dim) : nil
        normK = config.qkNorm ? try RMSNorm(scope["norm_k"], dim: dim) : nil
        toOut = try AttentionOutput(scope["to_out"], in: dim, out: dim)
    }

    func callAsFunction(_ x: Matrix, into y: Matrix, batch: Int, _ context: ForwardContext) {
        context.module(path, "Attention") {
            let layout = Activation.Layout.tokens(batch: batch)
            let query = context.matrix(.query, rows: x.rows, columns: x.columns)
            let key = context.matrix(.key, rows: x.rows, columns: x.columns)
            let value = context.matrix(.value, rows: x.rows, columns: x.columns)
            let attended = context.matrix(.attended, rows: x.rows, columns: x.columns)
            let joined = context.fusesPasses && normQ == nil && normK == nil
            context.sharing(x) {
                toQ(x, then: joined ? .relu : .none, into: query, layout, context)
                toK(x, then: joined ? .relu : .none, into: key, layout, context)
                toV(x, into: value, layout, context)
            }
            normQ?(query, batch: batch, context)
            normK?(key, batch: batch, context)
            if !joined {
                context.relu(query)
                context.relu(key)
            }
            context.linearAttention(
                query: query, key: key, value: value, heads: heads, batch: batch, into: attended)
            toOut(attended, into: y, batch: batch, context)
            if context.numerics == .fp16Clip { context.clip(y, limit: 65504) }
            return [Activation(y, layout)]
        }
    }
}

/// `to_out`: a Linear, then a Dropout that does nothing at inference but has a path of its own.
struct AttentionOutput {
    let linear: Linear
    private let dropoutPath: String

    init(_ scope: WeightScope, in columns: Int, out rows: Int) throws {
        linear = try Linear(scope[0], in: columns, out: rows)
        dropoutPath = scope[1].path
    }

    func callAsFunction(_ x: Matrix, into y: Matrix, batch: Int, _ context: ForwardContext) {
        linear(x, into: y, .tokens(batch: batch), context)
        context.module(dropoutPath, "Dropout") { [Activation(y, .tokens(batch: batch))] }
    }
}
