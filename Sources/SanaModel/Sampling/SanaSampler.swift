/// The denoising loop of diffusers' `SanaPipeline` and `SanaControlNetPipeline`: from a latent and
/// prompt embeddings to a latent without noise.
public struct SanaSampler: Sendable {
    /// What the loop starts from, shapes as in diffusers.
    public struct Inputs: Sendable {
        /// `[B, C, H, W]`
        public var latents: DenseTensor
        /// `[B, L, D]`
        public var promptEmbeds: DenseTensor
        /// `[B, L]`
        public var promptAttentionMask: DenseTensor?
        /// `[B, L, D]`, what classifier-free guidance leads away from; `nil` without guidance.
        public var negativePromptEmbeds: DenseTensor?
        /// `[B, L]`
        public var negativePromptAttentionMask: DenseTensor?

        public init(
            latents: DenseTensor, promptEmbeds: DenseTensor,
            promptAttentionMask: DenseTensor? = nil, negativePromptEmbeds: DenseTensor? = nil,
            negativePromptAttentionMask: DenseTensor? = nil
        ) {
            (self.latents, self.promptEmbeds) = (latents, promptEmbeds)
            self.promptAttentionMask = promptAttentionMask
            self.negativePromptEmbeds = negativePromptEmbeds
            self.negativePromptAttentionMask = negativePromptAttentionMask
        }
    }

    /// A ControlNet, in addition to the transformer.
    public struct Control: Sendable {
        let model: SanaControlNetModel
        /// Latent of the picture that it reads, `[B, C, H, W]`.
        let condition: DenseTensor
        let scale: Float

        public init(model: SanaControlNetModel, condition: DenseTensor, scale: Float) {
            (self.model, self.condition, self.scale) = (model, condition, scale)
        }
    }

    private let transformer: SanaTransformer2DModel
    private let guidanceScale: Float
    /// As in diffusers, with one the timestep goes without the configuration's `timestep_scale`.
    public var control: Control?

    /// - Parameter guidanceScale: over 1, the prediction without the prompt is left behind by this
    ///   factor; needs negative embeddings.
    public init(_ transformer: SanaTransformer2DModel, guidanceScale: Double) {
        (self.transformer, self.guidanceScale) = (transformer, Float(guidanceScale))
    }

    /// Whether the model runs on the negative prompt, too.
    private var isGuided: Bool { guidanceScale > 1 }

    /// Takes all steps of `scheduler`.
    ///
    /// - Parameter onStep: called with the number of each step, from 0, and the latent after it,
    ///   which the next step overwrites.
    /// - Throws: `InputError`, or what `onStep` throws.
    public func run(
        _ inputs: Inputs, _ scheduler: any FlowScheduler, _ context: ForwardContext,
        onStep: (Int, DenseTensor) throws -> Void
    ) throws {
        var scheduler = scheduler
        let config = transformer.config
        let latents = DenseTensor(shape: inputs.latents.shape)
        latents.values.pointer.update(from: inputs.latents.values.pointer, count: latents.count)
        var forward = try prepare(inputs)
        let timestepScale = control == nil ? Float(config.timestepScale) : 1
        let condition = control?.condition.repeated(isGuided ? 2 : 1)
        forward.captionCache = CaptionCache()
        for (index, time) in scheduler.timesteps.enumerated() {
            forward.hiddenStates = latents.repeated(isGuided ? 2 : 1)
            for image in 0..<forward.timestep.count {
                forward.timestep.values.pointer[image] = time * timestepScale
            }
            if let control, let condition {
                forward.controlnetBlockSamples = []
                forward.controlnetBlockSamples = try control.model.forward(
                    SanaControlNetInputs(forward, condition: condition, scale: control.scale),
                    context)
            }
            let output = try transformer.forward(forward, context)
            guard output.shape[2...] == latents.shape[2...] else {
                throw InputError("latents", latents.shape, "a multiple of the patch size")
            }
            let prediction = guided(output)
            scheduler.step(
                prediction.channels(latents.shape[1], learnsSigma: config.learnsSigma), latents)
            try onStep(index, latents)
        }
    }

    /// Inputs of the forward, but for the latent and the timestep, which change.
    private func prepare(_ inputs: Inputs) throws(InputError) -> SanaInputs {
        let config = transformer.config
        guard !config.guidanceEmbeds else {
            throw InputError(
                "guidance", nil, "a model without guidance embedding, as SanaPipeline runs")
        }
        let latent = inputs.latents.shape
        guard latent.count == 4, latent[1] == config.inChannels else {
            throw InputError("latents", latent, "[batch, \(config.inChannels), height, width]")
        }
        try SanaInputs.check(
            batch: latent[0], height: latent[2], width: latent[3], captionTokens: 1, for: config)
        guard config.outChannels == config.inChannels || config.learnsSigma else {
            throw InputError(
                "latents", latent,
                "\(config.outChannels) channels, as the model outputs")
        }
        func joined(
            _ name: String, _ prompt: DenseTensor?, _ negative: DenseTensor?
        ) throws(InputError) -> DenseTensor? {
            guard isGuided else { return prompt }
            guard let prompt, let negative else {
                guard prompt == nil, negative == nil else {
                    throw InputError("negative_" + name, nil, "one if there is \(name)")
                }
                return nil
            }
            guard prompt.shape == negative.shape, !prompt.shape.isEmpty else {
                throw InputError("negative_" + name, negative.shape, "\(prompt.shape)")
            }
            return negative.followed(by: prompt)
        }
        let embeds = try joined(
            "prompt_embeds", inputs.promptEmbeds, inputs.negativePromptEmbeds)
        guard let embeds else {
            throw InputError("negative_prompt_embeds", nil, "one, as guidance is above 1")
        }
        let batch = latent[0] * (isGuided ? 2 : 1)
        return SanaInputs(
            hiddenStates: inputs.latents, encoderHiddenStates: embeds,
            timestep: DenseTensor(shape: [batch]),
            encoderAttentionMask: try joined(
                "prompt_attention_mask", inputs.promptAttentionMask,
                inputs.negativePromptAttentionMask))
    }

    /// Classifier-free guidance: the prediction without the prompt, and `guidanceScale` times the
    /// way from there to the one with it.
    private func guided(_ output: DenseTensor) -> DenseTensor {
        guard isGuided else { return output }
        let (without, given) = (output.part(0, of: 2), output.part(1, of: 2))
        for element in 0..<given.count {
            let start = without.values.pointer[element]
            given.values.pointer[element] =
                start + guidanceScale * (given.values.pointer[element] - start)
        }
        return given
    }
}

extension SanaConfig {
    /// Whether the second half of the output is a variance that sampling leaves out.
    fileprivate var learnsSigma: Bool { outChannels == 2 * inChannels }
}

extension DenseTensor {
    /// The tensor and another of its shape, one batch after the other.
    fileprivate func followed(by other: DenseTensor) -> DenseTensor {
        let result = DenseTensor(shape: [shape[0] + other.shape[0]] + shape.dropFirst())
        result.values.pointer.update(from: values.pointer, count: count)
        (result.values.pointer + count).update(from: other.values.pointer, count: other.count)
        return result
    }

    /// The first `count` channels of `[B, C, H, W]`.
    fileprivate func channels(_ count: Int, learnsSigma: Bool) -> DenseTensor {
        guard learnsSigma else { return self }
        let plane = shape[2] * shape[3]
        let result = DenseTensor(shape: [shape[0], count, shape[2], shape[3]])
        for image in 0..<shape[0] {
            (result.values.pointer + image * count * plane).update(
                from: values.pointer + image * shape[1] * plane, count: count * plane)
        }
        return result
    }
}
