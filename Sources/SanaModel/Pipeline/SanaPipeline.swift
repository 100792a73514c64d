/// From prompts to pictures as diffusers 0.42.1's `SanaPipeline`, `SanaSprintPipeline` and
/// `SanaControlNetPipeline` do it, a stage at a time: each loads what it needs and lets it go.
public struct SanaPipeline {
    public let source: any PipelineSource
    public let request: PipelineRequest
    /// Size at which the picture is computed.
    public let height: Int
    public let width: Int
    /// Rows and columns of the latent.
    public let latentHeight: Int
    public let latentWidth: Int
    let transformerConfig: SanaConfig
    let autoencoderConfig: AutoencoderDCConfig

    public var pipeline: PipelineClass { source.pipeline }

    /// Checks the request against the configurations, without weights.
    ///
    /// - Throws: `InputError` for sizes and counts that diffusers refuses, or an error of reading
    ///   the configurations.
    public init(_ source: any PipelineSource, _ request: PipelineRequest) throws {
        (self.source, self.request) = (source, request)
        transformerConfig = try source.transformerConfig()
        autoencoderConfig = try source.autoencoderConfig()
        guard request.height > 0, request.width > 0, max(request.height, request.width) <= 1 << 16
        else {
            throw InputError("size", [request.height, request.width], "pixels from 1 to 65536")
        }
        var size = (height: request.height, width: request.width)
        if request.usesResolutionBinning {
            let sampleSize = transformerConfig.sampleSize
            guard let bins = ResolutionBins(sampleSize: sampleSize, pipeline: source.pipeline)
            else {
                throw InputError(
                    "sample_size", [sampleSize],
                    "one that resolution binning knows; do without binning")
            }
            size = bins.nearest(height: size.height, width: size.width)
        }
        // diffusers has 32 written out, whatever the autoencoder's factor is.
        guard size.height % 32 == 0, size.width % 32 == 0 else {
            throw InputError(
                "size", [size.height, size.width], "height and width divisible by 32")
        }
        (height, width) = size
        let ratio = autoencoderConfig.spatialCompressionRatio
        (latentHeight, latentWidth) = (height / ratio, width / ratio)
        try check(ratio)
    }

    private func check(_ ratio: Int) throws(InputError) {
        guard !request.prompts.isEmpty, request.picturesPerPrompt > 0,
            request.pictureCount <= 1 << 10
        else { throw InputError("prompts", [request.pictureCount], "1 to 1024 pictures") }
        guard latentHeight >= transformerConfig.patchSize,
            latentWidth >= transformerConfig.patchSize
        else {
            throw InputError(
                "size", [height, width], "a picture of at least one latent of \(ratio) pixels")
        }
        guard autoencoderConfig.latentChannels == transformerConfig.inChannels else {
            throw InputError(
                "latent_channels", [autoencoderConfig.latentChannels],
                "\(transformerConfig.inChannels), as the transformer has")
        }
        guard autoencoderConfig.inChannels == 3 else {
            throw InputError(
                "in_channels", [autoencoderConfig.inChannels], "3, as a picture has")
        }
        if pipeline == .controlNet, request.controlPicture == nil {
            throw InputError("control_image", nil, "a picture for the ControlNet")
        }
        if pipeline != .controlNet, request.controlPicture != nil {
            throw InputError("control_image", [1], "none, as the pipeline has no ControlNet")
        }
        _ = try tiling()
    }

    /// `[pictures, C, h, w]`
    public var latentShape: [Int] {
        [request.pictureCount, transformerConfig.inChannels, latentHeight, latentWidth]
    }

    private func tiling() throws(InputError) -> AutoencoderTiling? {
        guard let tiles = request.tiles else { return nil }
        return try AutoencoderTiling(
            sampleMin: tiles.size, sampleStride: tiles.stride, for: autoencoderConfig)
    }
}

// MARK: Stages

extension SanaPipeline {
    /// Prompts as the transformer gets them.
    public struct Prompts: Sendable {
        public var positive: PromptEmbeds
        /// `nil` without guidance.
        public var negative: PromptEmbeds?

        public init(positive: PromptEmbeds, negative: PromptEmbeds? = nil) {
            (self.positive, self.negative) = (positive, negative)
        }
    }

    /// Tokenizes and encodes the prompts.
    ///
    /// - Parameter onForward: called after each forward of the text encoder.
    /// - Throws: `PromptError`, `InputError`, or an error of loading.
    public func encodePrompts(
        _ context: ForwardContext, onForward: () -> Void = {}
    ) throws -> Prompts {
        let tokenizer = try source.tokenizer()
        var model = try source.textEncoder()
        guard model.config.hiddenSize == transformerConfig.captionChannels else {
            throw InputError(
                "prompt_embeds", [model.config.hiddenSize],
                "\(transformerConfig.captionChannels) channels, as the transformer reads")
        }
        model.capsScores = request.capsScores
        let encoder = PromptEncoder(
            tokenizer: tokenizer, model: model, store: source.instructions)
        let encoded = try encoder.encode(
            request.prompts,
            negatives: request.isGuided(pipeline) ? request.negativePrompts : [],
            request.promptOptions, context, onForward: onForward)
        return Prompts(
            positive: try encoded.positive.repeated(imagesPerPrompt: request.picturesPerPrompt),
            negative: try encoded.negative?.repeated(imagesPerPrompt: request.picturesPerPrompt))
    }

    /// The latent of the picture that a ControlNet reads, `[1, C, h, w]`; `nil` without one.
    ///
    /// - Throws: `InputError`, or an error of loading.
    public func encodeControl(_ context: ForwardContext) throws -> DenseTensor? {
        guard let picture = request.controlPicture else { return nil }
        var encoder = try source.encoder()
        encoder.tiling = try tiling()
        let sample = picture.resized(width: width, height: height).tensor
        let latent = try encoder.forward(["sample": sample], context)[0]
        let factor = Float(autoencoderConfig.scalingFactor)
        for index in 0..<latent.count { latent.values.pointer[index] *= factor }
        return latent
    }

    /// What the denoising loop starts from, apart from prompts.
    public struct Start: Sendable {
        /// `latentShape`
        public var latents: DenseTensor
        /// Sprint: what is added after each step but the last.
        public var noise: [DenseTensor]

        public init(latents: DenseTensor, noise: [DenseTensor]) {
            (self.latents, self.noise) = (latents, noise)
        }
    }

    /// Draws what diffusers draws from one generator: latents, then Sprint's noise step by step.
    ///
    /// - Parameter latents: in place of those that would be drawn.
    /// - Throws: `InputError`.
    public func draw(
        _ generator: inout TorchGenerator, latents: DenseTensor? = nil
    ) throws(InputError) -> Start {
        if let latents, latents.shape != latentShape {
            throw InputError("latents", latents.shape, "\(latentShape)")
        }
        let first: DenseTensor
        if let latents { first = latents } else { first = try generator.normal(shape: latentShape) }
        var noise: [DenseTensor] = []
        if pipeline == .sprint {
            for _ in 0..<max(request.steps - 1, 0) {
                noise.append(try generator.normal(shape: latentShape))
            }
        }
        return Start(latents: first, noise: noise)
    }

    /// Timesteps and noise levels of the repository's scheduler; of Sprint no levels.
    ///
    /// - Throws: `BadDataError` for one that the pipeline does not use, or an error of reading.
    public func schedule() throws -> (timesteps: [Float], sigmas: [Float]) {
        switch pipeline {
        case .sprint: (try sprintScheduler().timesteps, [])
        case .sana, .controlNet:
            try { ($0.timesteps, $0.sigmas) }(flowScheduler())
        }
    }

    private func sprintScheduler() throws -> SCMScheduler {
        let (json, file) = try source.scheduler()
        return try SCMScheduler(
            json, steps: request.steps,
            .init(
                maxTimestep: request.maxTimestep,
                intermediateTimestep: request.intermediateTimestep),
            file: file)
    }

    private func flowScheduler() throws -> any FlowScheduler {
        let (json, file) = try source.scheduler()
        return try FlowSchedulers.make(json, steps: request.steps, file: file)
    }

    /// Takes all steps.
    ///
    /// - Parameters:
    ///   - control: see `encodeControl`.
    ///   - onStep: called with the number of each step, from 0, and the latent after it, which the
    ///     next step overwrites.
    /// - Returns: the latent before it is scaled for the decoder.
    /// - Throws: `InputError`, an error of loading, or what `onStep` throws.
    public func denoise(
        _ start: Start, _ prompts: Prompts, control: DenseTensor?, _ context: ForwardContext,
        onStep: (Int, DenseTensor) throws -> Void
    ) throws -> DenseTensor {
        let length = Self.tokenCount(prompts)
        let positive = prompts.positive.prefix(length)
        if pipeline == .sprint {
            let scheduler = try sprintScheduler()
            let sampler = SanaSprintSampler(
                try source.transformer(), guidanceScale: request.guidanceScale)
            return try sampler.run(
                .init(
                    latents: start.latents, promptEmbeds: positive.embeds,
                    promptAttentionMask: positive.mask, noise: start.noise),
                scheduler, context, onStep: onStep)
        }
        let scheduler = try flowScheduler()
        var sampler = SanaSampler(
            try source.transformer(), guidanceScale: request.guidanceScale)
        if let control {
            sampler.control = SanaSampler.Control(
                model: try source.controlNet(), condition: control.repeated(request.pictureCount),
                scale: Float(request.conditioningScale))
        }
        let negative = prompts.negative?.prefix(length)
        var last = start.latents
        try sampler.run(
            .init(
                latents: start.latents, promptEmbeds: positive.embeds,
                promptAttentionMask: positive.mask, negativePromptEmbeds: negative?.embeds,
                negativePromptAttentionMask: negative?.mask),
            scheduler, context
        ) { step, latents in
            last = latents
            try onStep(step, latents)
        }
        return last
    }

    /// Positions of prompts that hold a token: what comes behind adds exactly nothing.
    private static func tokenCount(_ prompts: Prompts) -> Int {
        max(prompts.positive.lastToken, prompts.negative?.lastToken ?? 0, 1)
    }

    /// What the decoder gets of the latent that sampling ends with.
    public func decoderInput(_ latents: DenseTensor) -> DenseTensor {
        let result = DenseTensor(shape: latents.shape)
        let factor = Float(autoencoderConfig.scalingFactor)
        for index in 0..<result.count {
            result.values.pointer[index] = latents.values.pointer[index] / factor
        }
        return result
    }

    /// Decodes latents one by one, `[pictures, 3, height, width]`.
    ///
    /// - Parameter onPicture: called with the number of pictures that are done.
    /// - Throws: `InputError`, or an error of loading.
    public func decode(
        _ latents: DenseTensor, _ context: ForwardContext, onPicture: (Int) -> Void = { _ in }
    ) throws -> DenseTensor {
        var decoder = try source.decoder()
        decoder.tiling = try tiling()
        let count = latents.shape[0]
        let result = DenseTensor(shape: [count, 3, height, width])
        for index in 0..<count {
            let latent = latents.part(index, of: count)
            let sample = try decoder.forward(["latent": latent], context)[0]
            guard sample.shape == [1, 3, height, width] else {
                throw InputError("latent", latents.shape, "what makes \(height) × \(width) pixels")
            }
            (result.values.pointer + index * sample.count).update(
                from: sample.values.pointer, count: sample.count)
            onPicture(index + 1)
        }
        return result
    }

    /// Pictures of what was decoded, of the size that was asked for.
    public func pictures(_ sample: DenseTensor) -> [Picture] {
        let sized =
            request.usesResolutionBinning
            ? sample.resizedAndCropped(height: request.height, width: request.width) : sample
        return (0..<sized.shape[0]).map { Picture(sized, index: $0) }
    }
}

extension PromptEmbeds {
    /// Positions up to the last token of any prompt.
    fileprivate var lastToken: Int {
        let length = mask.shape[1]
        return (0..<mask.count).filter { mask.values.pointer[$0] != 0 }
            .map { $0 % length + 1 }.max() ?? 0
    }

    /// The first positions alone.
    fileprivate func prefix(_ length: Int) -> (embeds: DenseTensor, mask: DenseTensor) {
        (embeds.prefix(length), mask.prefix(length))
    }
}

extension DenseTensor {
    /// The first entries along the second dimension.
    fileprivate func prefix(_ length: Int) -> DenseTensor {
        let width = shape.dropFirst(2).reduce(1, *)
        let result = DenseTensor(shape: [shape[0], length] + shape.dropFirst(2))
        for row in 0..<shape[0] {
            (result.values.pointer + row * length * width).update(
                from: values.pointer + row * shape[1] * width, count: length * width)
        }
        return result
    }
}
