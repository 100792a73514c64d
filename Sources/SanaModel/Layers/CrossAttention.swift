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

    /// - Parameters:
    ///   - bias: additive, `[B, L]`.
    ///   - cache: has keys and values of `captions`, or gets them.
    func callAsFunction(
        _ x: Matrix, captions: Matrix, bias: Matrix?, cache: CaptionCache?, into y: Matrix,
        batch: Int, _ context: ForwardContext
    ) {
        context.module(path, "Attention") {
            let layout = Activation.Layout.tokens(batch: batch)
            let query = context.matrix(.query, rows: x.rows, columns: innerDim)
            let attended = context.matrix(.attended, rows: x.rows, columns: innerDim)
            toQ(x, into: query, layout, context)
            let (key, value) = keysAndValues(captions, cache, layout, context)
            normQ?(query, batch: batch, context)
            if cache?[path] == nil { normK?(key, batch: batch, context) }
            cache?[path] = (key, value)
            context.softmaxAttention(
                query: query, key: key, value: value, bias: bias, heads: heads, batch: batch,
                into: attended)
            toOut(attended, into: y, batch: batch, context)
            return [Activation(y, layout)]
        }
    }

    /// Those of the cache, else new ones, keys before their norm, in memory of their own where a
    /// cache is to keep them.
    private func keysAndValues(
        _ captions: Matrix, _ cache: CaptionCache?, _ layout: Activation.Layout,
        _ context: ForwardContext
    ) -> (key: Matrix, value: Matrix) {
        if let kept = cache?[path] { return kept }
        func matrix(_ scratch: Scratch) -> Matrix {
            cache == nil
                ? context.matrix(scratch, rows: captions.rows, columns: innerDim)
                : Matrix(rows: captions.rows, columns: innerDim)
        }
        let (key, value) = (matrix(.key), matrix(.value))
        context.sharing(captions) {
            toK(captions, into: key, layout, context)
            toV(captions, into: value, layout, context)
        }
        return (key, value)
    }
}
