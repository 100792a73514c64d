/// The inputs of a forward, shapes as in diffusers.
public struct SanaInputs: Sendable {
    /// Noisy latent `[B, C, H, W]`.
    public var hiddenStates: DenseTensor
    /// Caption embeddings `[B, L, captions]`.
    public var encoderHiddenStates: DenseTensor
    /// `[B]`, already scaled by the configuration's `timestep_scale`.
    public var timestep: DenseTensor
    /// `[B]`, already scaled; required by models with guidance embedding, refused by others.
    public var guidance: DenseTensor?
    /// `[B, L]`, 1 to attend and 0 not to, or a bias `[B, 1, L]` that is added to the scores.
    public var encoderAttentionMask: DenseTensor?
    /// `[B, h · w, D]` each, added after the second block, the third …
    public var controlnetBlockSamples: [DenseTensor]

    /// diffusers' `attention_mask` has no place here: the class accepts it and never uses it.
    public init(
        hiddenStates: DenseTensor, encoderHiddenStates: DenseTensor, timestep: DenseTensor,
        guidance: DenseTensor? = nil, encoderAttentionMask: DenseTensor? = nil,
        controlnetBlockSamples: [DenseTensor] = []
    ) {
        self.hiddenStates = hiddenStates
        self.encoderHiddenStates = encoderHiddenStates
        self.timestep = timestep
        self.guidance = guidance
        self.encoderAttentionMask = encoderAttentionMask
        self.controlnetBlockSamples = controlnetBlockSamples
    }

    /// Checked sizes of a forward.
    struct Sizes {
        let grid: TokenGrid
        let captionTokens: Int
    }

    /// Checks every shape against the model's configuration.
    func sizes(for config: SanaConfig) throws(InputError) -> Sizes {
        let latent = hiddenStates.shape
        guard latent.count == 4, latent[0] > 0, latent[1] == config.inChannels,
            latent[2] >= config.patchSize, latent[3] >= config.patchSize
        else {
            throw InputError(
                "hidden_states", latent,
                "[batch, \(config.inChannels), height, width], at least one patch of \(config.patchSize)"
            )
        }
        let batch = latent[0]
        let grid = TokenGrid(
            batch: batch, height: latent[2] / config.patchSize, width: latent[3] / config.patchSize)
        let captions = encoderHiddenStates.shape
        guard captions.count == 3, captions[0] == batch, captions[1] > 0,
            captions[2] == config.captionChannels
        else {
            throw InputError(
                "encoder_hidden_states", captions, "[\(batch), tokens, \(config.captionChannels)]")
        }
        guard timestep.shape == [batch] else {
            throw InputError("timestep", timestep.shape, "[\(batch)]")
        }
        if config.guidanceEmbeds, guidance?.shape != [batch] {
            throw InputError(
                "guidance", guidance?.shape, "[\(batch)], as the model embeds guidance")
        }
        if !config.guidanceEmbeds, let guidance {
            throw InputError(
                "guidance", guidance.shape, "none, as the model does not embed guidance")
        }
        if let mask = encoderAttentionMask?.shape {
            guard mask == [batch, captions[1]] || mask == [batch, 1, captions[1]] else {
                throw InputError(
                    "encoder_attention_mask", mask,
                    "[\(batch), \(captions[1])], or as a bias [\(batch), 1, \(captions[1])]")
            }
        }
        let expected = [batch, grid.height * grid.width, config.innerDim]
        for (index, sample) in controlnetBlockSamples.enumerated() where sample.shape != expected {
            throw InputError("controlnet_block_samples.\(index)", sample.shape, "\(expected)")
        }
        return Sizes(grid: grid, captionTokens: captions[1])
    }

    /// The mask as a bias on the scores `[B, L]`: −10000 where it is 0, as in diffusers.
    func captionBias(_ sizes: Sizes) -> Matrix? {
        guard let mask = encoderAttentionMask else { return nil }
        let bias = Matrix(rows: sizes.grid.batch, columns: sizes.captionTokens)
        let isMask = mask.shape.count == 2
        for index in 0..<bias.count {
            let value = mask.values.pointer[index]
            bias.pointer[index] = isMask ? (1 - value) * -10000 : value
        }
        return bias
    }
}

/// An input whose shape does not fit the model.
public struct InputError: DiagnosticError {
    public let input: String
    /// `nil` where the input is absent.
    public let shape: [Int]?
    public let expected: String

    init(_ input: String, _ shape: [Int]?, _ expected: String) {
        (self.input, self.shape, self.expected) = (input, shape, expected)
    }

    public var category: DiagnosticCategory { .badData }
    public var description: String {
        "input \(input): " + (shape.map { "shape \($0)" } ?? "absent") + ", expected \(expected)"
    }
}
