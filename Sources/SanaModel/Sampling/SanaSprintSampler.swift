import Libc

/// The denoising loop of diffusers 0.42.1's `SanaSprintPipeline`: from a latent and prompt
/// embeddings to a latent without noise, in a few steps.
///
/// As there, the timestep reaches the model without the configuration's `timestep_scale`.
public struct SanaSprintSampler: Sendable {
    /// What the loop starts from, shapes as in diffusers.
    public struct Inputs: Sendable {
        /// `[B, C, H, W]`, standard normal.
        public var latents: DenseTensor
        /// `[B, L, D]`
        public var promptEmbeds: DenseTensor
        /// `[B, L]`
        public var promptAttentionMask: DenseTensor?
        /// Standard normal noise after each step but the last, as the latent.
        public var noise: [DenseTensor]

        public init(
            latents: DenseTensor, promptEmbeds: DenseTensor,
            promptAttentionMask: DenseTensor? = nil, noise: [DenseTensor]
        ) {
            (self.latents, self.promptEmbeds) = (latents, promptEmbeds)
            (self.promptAttentionMask, self.noise) = (promptAttentionMask, noise)
        }
    }

    private let transformer: SanaTransformer2DModel
    private let guidanceScale: Float

    /// - Parameter guidanceScale: embedded after the configuration's `guidance_embeds_scale`.
    public init(_ transformer: SanaTransformer2DModel, guidanceScale: Double) {
        (self.transformer, self.guidanceScale) = (transformer, Float(guidanceScale))
    }

    /// Takes all steps of `scheduler`.
    ///
    /// - Parameter onStep: called with the number of each step, from 0, and the latent after it,
    ///   which the next step overwrites.
    /// - Returns: the latent as a decoder gets it, of standard deviation 1.
    /// - Throws: `InputError`, or what `onStep` throws.
    public func run(
        _ inputs: Inputs, _ scheduler: SCMScheduler, _ context: ForwardContext,
        onStep: (Int, DenseTensor) throws -> Void
    ) throws -> DenseTensor {
        try check(inputs, scheduler)
        let config = transformer.config
        let batch = inputs.latents.shape[0]
        let latents = inputs.latents.repeated(1)
        for element in 0..<latents.count {
            latents.values.pointer[element] *= scheduler.sigmaData
        }
        var forward = SanaInputs(
            hiddenStates: DenseTensor(shape: latents.shape),
            encoderHiddenStates: inputs.promptEmbeds, timestep: DenseTensor(shape: [batch]),
            guidance: DenseTensor(shape: [batch]),
            encoderAttentionMask: inputs.promptAttentionMask)
        forward.captionCache = CaptionCache()
        let guidance = guidanceScale * Float(config.guidanceEmbedsScale)
        for image in 0..<batch { forward.guidance?.values.pointer[image] = guidance }
        for index in 0..<scheduler.steps {
            let time = TrigFlowTime(scheduler.timesteps[index])
            for image in 0..<batch { forward.timestep.values.pointer[image] = time.value }
            for element in 0..<latents.count {
                forward.hiddenStates.values.pointer[element] =
                    latents.values.pointer[element] / scheduler.sigmaData * time.norm
            }
            let output = try transformer.forward(forward, context)
            guard output.shape == latents.shape else {
                throw InputError("latents", latents.shape, "a multiple of the patch size")
            }
            time.predict(output, from: forward.hiddenStates, sigmaData: scheduler.sigmaData)
            let noise = index < inputs.noise.count ? inputs.noise[index] : nil
            scheduler.step(index, output, latents, noise: noise)
            try onStep(index, latents)
        }
        let result = latents.repeated(1)
        for element in 0..<result.count {
            result.values.pointer[element] /= scheduler.sigmaData
        }
        return result
    }

    private func check(_ inputs: Inputs, _ scheduler: SCMScheduler) throws(InputError) {
        let config = transformer.config
        guard config.guidanceEmbeds else {
            throw InputError("guidance", [1], "a Sprint model, which embeds guidance")
        }
        let latent = inputs.latents.shape
        guard latent.count == 4, latent[1] == config.inChannels else {
            throw InputError("latents", latent, "[batch, \(config.inChannels), height, width]")
        }
        guard config.outChannels == config.inChannels else {
            throw InputError(
                "latents", latent,
                "\(config.outChannels) channels, as the model outputs")
        }
        try SanaInputs.check(
            batch: latent[0], height: latent[2], width: latent[3], captionTokens: 1, for: config)
        for step in 0..<scheduler.steps - 1 {
            let noise = step < inputs.noise.count ? inputs.noise[step].shape : nil
            guard noise == latent else { throw InputError("noise.\(step)", noise, "\(latent)") }
        }
    }
}

/// An angle of TrigFlow as the flow's timestep that the model was trained from.
private struct TrigFlowTime {
    /// sin t / (cos t + sin t)
    let value: Float
    /// Length of (1 − value, value).
    let norm: Float

    init(_ angle: Float) {
        value = sin(angle) / (cos(angle) + sin(angle))
        norm = (value * value + (1 - value) * (1 - value)).squareRoot()
    }

    /// Turns the model's prediction along the flow into TrigFlow's, times `sigmaData`.
    func predict(_ output: DenseTensor, from input: DenseTensor, sigmaData: Float) {
        let (straight, turned) = (1 - 2 * value, 1 - 2 * value + 2 * value * value)
        let values = output.values.pointer
        for element in 0..<output.count {
            let sum = straight * input.values.pointer[element] + turned * values[element]
            values[element] = sum / norm * sigmaData
        }
    }
}
