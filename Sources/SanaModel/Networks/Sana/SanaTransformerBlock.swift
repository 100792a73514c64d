/// diffusers' `SanaTransformerBlock`: self-attention, cross-attention, feed-forward, modulated by
/// the timestep.
struct SanaTransformerBlock {
    let path: String
    private let norm1: LayerNorm
    let attn1: LinearAttention
    let attn2: CrossAttention
    private let norm2: LayerNorm
    let ff: GLUMBConv
    /// `[6, D]`
    private let scaleShiftTable: FloatBuffer

    init(_ scope: WeightScope, _ config: SanaConfig) throws {
        path = scope.path
        let dim = config.innerDim

        // 1. Self Attention
        norm1 = try LayerNorm(scope["norm1"], dim: dim, eps: config.normEps)
        attn1 = try LinearAttention(scope["attn1"].holding(.attention, .attn1), config)

        // 2. Cross Attention
        norm2 = try LayerNorm(
            scope["norm2"], dim: dim, eps: config.normEps,
            elementwiseAffine: config.normElementwiseAffine)
        attn2 = try CrossAttention(scope["attn2"].holding(.attention, .attn2), config)

        // 3. Feed-forward
        ff = try GLUMBConv(scope["ff"], dim: dim, hiddenDim: config.ffHiddenDim)

        scaleShiftTable = try scope.parameter(
            "scale_shift_table", shape: [6, dim], role: .table, part: .tablesAndNorms)
    }

    /// - Parameters:
    ///   - hiddenStates: `[B · N, D]`, updated in place.
    ///   - captions: `[B · L, D]`.
    ///   - captionBias: `[B, L]`, added to the scores.
    ///   - captionCache: see `CaptionCache`.
    ///   - timestep: `[B, 6 · D]`.
    func callAsFunction(
        _ hiddenStates: Matrix, captions: Matrix, captionBias: Matrix?,
        captionCache: CaptionCache? = nil, timestep: Matrix, _ grid: TokenGrid,
        _ context: ForwardContext
    ) {
        context.module(path, "SanaTransformerBlock") {
            let (rows, dim) = (hiddenStates.rows, hiddenStates.columns)
            let norm = context.matrix(.norm, rows: rows, columns: dim)
            let output = context.matrix(.branch, rows: rows, columns: dim)

            // 1. Modulation, 6 × [B, D]
            let modulation = context.modulation(
                .modulation, table: scaleShiftTable, embedding: timestep, parts: 6)

            // 2. Self Attention
            norm1(hiddenStates, into: norm, batch: grid.batch, context)
            context.modulate(norm, shift: modulation[0], scale: modulation[1])
            attn1(norm, into: output, batch: grid.batch, context)
            context.addGated(output, gate: modulation[2], to: hiddenStates)

            // 3. Cross Attention, on the states as they are
            attn2(
                hiddenStates, captions: captions, bias: captionBias, cache: captionCache,
                into: output, batch: grid.batch, context)
            context.add(output, to: hiddenStates)

            // 4. Feed-forward
            norm2(hiddenStates, into: norm, batch: grid.batch, context)
            context.modulate(norm, shift: modulation[3], scale: modulation[4])
            ff(norm, into: output, grid, context)
            context.addGated(output, gate: modulation[5], to: hiddenStates)

            return [Activation(hiddenStates, grid.tokenLayout)]
        }
    }
}

extension TensorPart {
    static let attn1 = TensorPart("attn1")
    static let attn2 = TensorPart("attn2")
}

extension Scratch {
    fileprivate static let modulation = Scratch()
}
