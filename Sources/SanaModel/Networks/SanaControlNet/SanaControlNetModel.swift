/// Sana's ControlNet, computed as diffusers 0.42.1's `SanaControlNetModel` does: a shallow copy of
/// the transformer that turns a condition into residuals for it.
public struct SanaControlNetModel: Sendable {
    public let config: SanaConfig
    private let patchEmbed: PatchEmbed
    private let timeEmbed: TimeEmbed
    private let captionProjection: CaptionProjection
    private let captionNorm: RMSNorm
    private let transformerBlocks: [SanaTransformerBlock]
    private let inputBlock: Linear
    private let controlnetBlocks: [Linear]

    /// Binds every tensor of a scope, which must hold just those that `config` calls for.
    init(_ config: SanaConfig, _ scope: WeightScope) throws {
        let dim = config.innerDim
        self.config = config
        let embeddings = scope.holding(.embedding, .embeddings)

        // 1. Patch Embedding
        patchEmbed = try PatchEmbed(embeddings["patch_embed"], config)

        // 2. Additional condition embeddings
        timeEmbed = try TimeEmbed(embeddings["time_embed"], dim: dim, guidanceEmbeds: false)
        captionProjection = try CaptionProjection(
            embeddings["caption_projection"], in: config.captionChannels, dim: dim)
        captionNorm = try RMSNorm(scope["caption_norm"], dim: dim)

        // 3. Transformer blocks
        transformerBlocks = try (0..<config.numLayers).map {
            try SanaTransformerBlock(scope["transformer_blocks"][$0], config)
        }

        // controlnet_blocks
        let scope = scope.holding(.controlNet, .controlNet)
        inputBlock = try Linear(scope["input_block"], in: dim, out: dim)
        controlnetBlocks = try (0..<config.numLayers).map {
            try Linear(scope["controlnet_blocks"][$0], in: dim, out: dim)
        }

        try scope.finish()
    }

    /// Residuals for the transformer's hidden states, one for each block here.
    ///
    /// - Returns: `controlnet_block_samples`, `[B, ⌊H/p⌋ · ⌊W/p⌋, D]` each.
    /// - Throws: `InputError` when the inputs do not fit the model.
    public func forward(
        _ control: SanaControlNetInputs, _ context: ForwardContext
    ) throws(InputError) -> [DenseTensor] {
        let sizes = try control.checkedSizes(for: config)
        let inputs = control.common
        let grid = sizes.grid
        let dim = config.innerDim
        let layout = grid.tokenLayout

        // 1. Input
        let hiddenStates = context.matrix(.hidden, rows: grid.tokens, columns: dim)
        let condition = context.matrix(.condition, rows: grid.tokens, columns: dim)
        patchEmbed(
            [
                (inputs.hiddenStates, hiddenStates),
                (control.condition, condition),
            ], grid, context)
        let branch = context.matrix(.branch, rows: grid.tokens, columns: dim)
        inputBlock(condition, into: branch, layout, context)
        context.add(branch, to: hiddenStates)

        let timestep = context.matrix(.timestep, rows: grid.batch, columns: 6 * dim)
        let embedded = context.matrix(.timestepEmbedded, rows: grid.batch, columns: dim)
        timeEmbed(
            timestep: inputs.timestep, guidance: nil, modulation: timestep, embedded: embedded,
            context)

        let captions = context.matrix(
            .captions, rows: grid.batch * sizes.captionTokens, columns: dim)
        captionProjection(
            Matrix(
                inputs.encoderHiddenStates.values, rows: captions.rows,
                columns: config.captionChannels),
            into: captions, batch: grid.batch, context)
        captionNorm(captions, batch: grid.batch, context)
        let captionBias = inputs.captionBias(sizes, context)

        // 2. Transformer blocks
        let blockSamples = transformerBlocks.enumerated().map { index, block in
            block(
                hiddenStates, captions: captions, captionBias: captionBias, timestep: timestep,
                grid, context)
            let sample = context.matrix(.blockSamples[index], rows: grid.tokens, columns: dim)
            context.copy(hiddenStates, to: sample)
            return sample
        }

        // 3. ControlNet blocks
        let controlnetBlockSamples = zip(blockSamples, controlnetBlocks).map { sample, block in
            let residual = context.tensor(shape: [grid.batch, grid.height * grid.width, dim])
            block(
                sample, into: Matrix(residual.values, rows: grid.tokens, columns: dim), layout,
                context)
            return residual
        }
        for sample in controlnetBlockSamples {
            context.scale(sample.row, by: control.scale)
        }
        return controlnetBlockSamples
    }
}

extension TensorRole {
    /// `input_block` or one of `controlnet_blocks`.
    static let controlNet = TensorRole(
        "controlnet projection",
        keep: "ControlNet projection: initialized with zeros, its error passes unattenuated into "
            + "the transformer, and it is a sixteenth of the weights")
}

extension TensorPart {
    /// `input_block` and `controlnet_blocks`.
    static let controlNet = TensorPart("controlnet")
}

extension Scratch {
    fileprivate static let condition = Scratch()
    fileprivate static let blockSamples = Scratch()
}
