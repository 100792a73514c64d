/// `attn2`: diffusers' `Attention` under `SanaAttnProcessor2_0`, tokens `[B · N, D]` attending to
/// captions `[B · L, D]`.
struct CrossAttention {
    let path: String
    private let heads: Int
    private let innerDim: Int
    let toQ: Linear
    let toK: Linear
    let toV: Linear
    private let normQ: RMSNorm?
    private let normK: RMSNorm?
    let toOut: AttentionOutput

    init(_ scope: WeightScope, _ config: SanaConfig) throws {
        path = scope.path
        heads = config.numCrossAttentionHeads
        innerDim = config.crossInnerDim
        toQ = try Linear(scope["to_q"], in: config.innerDim, out: innerDim)
        toK = try Linear(scope["to_k"], in: config.crossAttentionDim, out: innerDim)
        toV = try Linear(scope["to_v"], in: config.crossAttentionDim, out: innerDim)
        normQ = config.qkNorm ? try RMSNorm(scope["norm_q"], dim: innerDim) : nil
        normK = config.qkNorm ? try RMSNorm(scope["norm_k"], dim: innerDim) : nil
        toOut = try AttentionOutput(scope["to_out"], in: innerDim, out: config.innerDim)
    }

    /// - Parameter bias: additive, `[B, L]`.
    func callAsFunction(
        _ x: Matrix, captions: Matrix, bias: Matrix?, into y: Matrix, batch: Int,
        _ context: ForwardContext
    ) {
        context.module(path, "Attention") {
            let layout = Activation.Layout.tokens(batch: batch)
            let query = context.matrix("query", rows: x.rows, columns: innerDim)
            let key = context.matrix("key", rows: captions.rows, columns: innerDim)
            let value = context.matrix("value", rows: captions.rows, columns: innerDim)
            let attended = context.matrix("attended", rows: x.rows, columns: innerDim)
            toQ(x, into: query, layout, context)
            context.sharing(captions) {
                toK(captions, into: key, layout, context)
                toV(captions, into: value, layout, context)
            }
            normQ?(query, batch: batch, context)
            normK?(key, batch: batch, context)
            context.softmaxAttention(
                query: query, key: key, value: value, bias: bias, heads: heads, batch: batch,
                into: attended)
            toOut(attended, into: y, batch: batch, context)
            return [Activation(y, layout)]
        }
    }
}
