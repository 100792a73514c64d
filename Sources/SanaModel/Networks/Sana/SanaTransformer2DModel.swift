/// Sana's transformer (arXiv 2410.10629), computed as diffusers 0.42.1's `SanaTransformer2DModel`
/// does.
public struct SanaTransformer2DModel: Sendable {
    public let config: SanaConfig
    private let patchEmbed: PatchEmbed
    private let timeEmbed: TimeEmbed
    private let captionProjection: CaptionProjection
    private let captionNorm: RMSNorm
    private let transformerBlocks: [SanaTransformerBlock]
    /// `[2, D]`
    private let scaleShiftTable: FloatBuffer
    private let normOut: SanaModulatedNorm
    private let projOut: Linear

    /// Binds every tensor of `source`, which must hold just those that `config` calls for.
    ///
    /// - Parameter label: the file or directory, for messages.
    /// - Throws: `BindingError`, or what the source throws while reading values.
    public init(_ config: SanaConfig, source: any TensorSource, label: String) throws {
        try self.init(config, WeightScope(source, label: label))
    }

    init(_ config: SanaConfig, _ scope: WeightScope) throws {
        let dim = config.innerDim
        self.config = config
        let embeddings = scope.holding(.embedding, .embeddings)

        // 1. Patch Embedding
        patchEmbed = try PatchEmbed(embeddings["patch_embed"], config)

        // 2. Additional condition embeddings
        timeEmbed = try TimeEmbed(
            embeddings["time_embed"], dim: dim, guidanceEmbeds: config.guidanceEmbeds)
        captionProjection = try CaptionProjection(
            embeddings["caption_projection"], in: config.captionChannels, dim: dim)
        captionNorm = try RMSNorm(scope["caption_norm"], dim: dim)

        // 3. Transformer blocks
        transformerBlocks = try (0..<config.numLayers).map {
            try SanaTransformerBlock(scope["transformer_blocks"][$0], config)
        }

        // 4. Output blocks
        scaleShiftTable = try scope.parameter(
            "scale_shift_table", shape: [2, dim], role: .table, part: .tablesAndNorms,
            usedBy: scope["norm_out"].path)
        normOut = try SanaModulatedNorm(scope["norm_out"], dim: dim)
        projOut = try Linear(
            scope["proj_out"].holding(.outputHead, .output), in: dim,
            out: config.patchSize * config.patchSize * config.outChannels)

        try scope.finish()
    }

    /// Predicts the noise or velocity for a latent.
    ///
    /// - Returns: `[B, C_out, ⌊H/p⌋ · p, ⌊W/p⌋ · p]`.
    /// - Throws: `InputError` when the inputs do not fit the model.
    public func forward(_ inputs: SanaInputs, _ context: ForwardContext) throws(InputError)
        -> DenseTensor
    {
        let sizes = try inputs.checkedSizes(for: config)
        let grid = sizes.grid
        let dim = config.innerDim

        // 1. Input
        let hiddenStates = context.matrix(
            .hidden, rows: grid.tokens, columns: dim)
        patchEmbed(inputs.hiddenStates, into: hiddenStates, grid, context)

        let timestep = context.matrix(.timestep, rows: grid.batch, columns: 6 * dim)
        let embedded = context.matrix(.timestepEmbedded, rows: grid.batch, columns: dim)
        timeEmbed(
            timestep: inputs.timestep, guidance: inputs.guidance, modulation: timestep,
            embedded: embedded, context)

        let captions = context.matrix(
            .captions, rows: grid.batch * sizes.captionTokens, columns: dim)
        let cache = inputs.captionCache
        if cache?.isFilled(from: inputs.encoderHiddenStates, context.compute) != true {
            captionProjection(
                Matrix(
                    inputs.encoderHiddenStates.values, rows: captions.rows,
                    columns: config.captionChannels),
                into: captions, batch: grid.batch, context)
            captionNorm(captions, batch: grid.batch, context)
        }
        let captionBias = inputs.captionBias(sizes, context)

        // 2. Transformer blocks
        for (index, block) in transformerBlocks.enumerated() {
            block(
                hiddenStates, captions: captions, captionBias: captionBias, captionCache: cache,
                timestep: timestep, grid, context)
            if index > 0, index <= inputs.controlnetBlockSamples.count {
                let sample = inputs.controlnetBlockSamples[index - 1].values
                context.add(Matrix(sample, rows: grid.tokens, columns: dim), to: hiddenStates)
            }
        }

        // 3. Normalization
        let norm = context.matrix(.norm, rows: grid.tokens, columns: dim)
        normOut(
            hiddenStates, into: norm, embedded: embedded, table: scaleShiftTable, batch: grid.batch,
            context)
        let patches = context.matrix(
            .outputPatches, rows: grid.tokens, columns: projOut.weight.rows)
        projOut(norm, into: patches, grid.tokenLayout, context)

        // 4. Unpatchify
        let output = context.tensor(shape: [
            grid.batch, config.outChannels, grid.height * config.patchSize,
            grid.width * config.patchSize,
        ])
        context.scatterPatches(patches, patchSize: config.patchSize, grid, into: output)
        return output
    }
}

extension Scratch {
    fileprivate static let outputPatches = Scratch()
}
