import Libc

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
    /// What a transformer's forwards with these captions share.
    public var captionCache: CaptionCache?

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

    /// Every input `count` times over, one batch after the other.
    public func repeated(_ count: Int) -> SanaInputs {
        return SanaInputs(
            hiddenStates: hiddenStates.repeated(count),
            encoderHiddenStates: encoderHiddenStates.repeated(count),
            timestep: timestep.repeated(count),
            guidance: guidance.map { $0.repeated(count) },
            encoderAttentionMask: encoderAttentionMask.map { $0.repeated(count) },
            controlnetBlockSamples: controlnetBlockSamples.map { $0.repeated(count) })
    }

    /// Checks every shape against a model's configuration.
    ///
    /// - Throws: `InputError` for the first that does not fit.
    public func check(for config: SanaConfig) throws(InputError) {
        _ = try checkedSizes(for: config)
    }

    /// Checked sizes of a forward.
    struct Sizes {
        let grid: TokenGrid
        let captionTokens: Int
    }

    /// Checks every shape against the model's configuration.
    func checkedSizes(for config: SanaConfig) throws(InputError) -> Sizes {
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
        let captions = encoderHiddenStates.shape
        guard captions.count == 3, captions[0] == batch, captions[1] > 0,
            captions[2] == config.captionChannels
        else {
            throw InputError(
                "encoder_hidden_states", captions, "[\(batch), tokens, \(config.captionChannels)]")
        }
        let grid = try Self.grid(
            batch: batch, height: latent[2], width: latent[3], captionTokens: captions[1], config)
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

    /// The token grid of a forward, once its scratch memory is known to fit this machine.
    ///
    /// - Parameters:
    ///   - height: rows of the latent, at least one patch.
    ///   - width: columns of the latent, at least one patch.
    /// - Throws: `InputError` when it does not fit.
    static func grid(
        batch: Int, height: Int, width: Int, captionTokens: Int, _ config: SanaConfig
    ) throws(InputError) -> TokenGrid {
        let grid = TokenGrid(
            batch: batch, height: height / config.patchSize, width: width / config.patchSize)
        // Doubles do not overflow, and no exact figure is needed.
        let tokens = Double(batch) * Double(grid.height) * Double(grid.width)
        let captions = Double(batch) * Double(captionTokens)
        let channels = Double(max(config.innerDim, config.crossInnerDim))
        let kept = Double(config.modelClass.keptMatrices(config))
        let floats =
            tokens * ((7 + kept) * channels + 4 * Double(config.ffHiddenDim))
            + captions * (4 * channels + Double(config.captionChannels)) + 1024
            * Double(captionTokens)
        let bytes = floats * Double(MemoryLayout<Float>.stride)
        guard bytes <= Double(physicalMemoryByteCount), tokens <= 1e9, captions <= 1e9 else {
            throw InputError(
                "sizes", [batch, height, width, captionTokens],
                "a forward that fits \(physicalMemoryByteCount >> 30) GiB of memory; this batch, height, "
                    + "width and caption length take about \(Int(min(bytes / 0x1p30, 1e15))) GiB")
        }
        return grid
    }

    /// Memory of this machine.
    static var physicalMemoryByteCount: Int {
        sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
    }

    /// Checks sizes before inputs of them are made.
    ///
    /// - Throws: `InputError` when a size is not positive, below one patch, or too large for this
    ///   machine.
    public static func check(
        batch: Int, height: Int, width: Int, captionTokens: Int, for config: SanaConfig
    ) throws(InputError) {
        guard batch > 0, captionTokens > 0, height >= config.patchSize, width >= config.patchSize
        else {
            throw InputError(
                "sizes", [batch, height, width, captionTokens],
                "a positive batch and caption length, and at least one patch of \(config.patchSize)"
            )
        }
        _ = try grid(
            batch: batch, height: height, width: width, captionTokens: captionTokens, config)
    }

    /// The mask as a bias on the scores `[B, L]`: −10000 where it is 0, as in diffusers.
    func captionBias(_ sizes: Sizes, _ context: ForwardContext) -> Matrix? {
        // Of what is recorded it would say nothing: it is no module's.
        guard let mask = encoderAttentionMask, context.recorder == nil else { return nil }
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
