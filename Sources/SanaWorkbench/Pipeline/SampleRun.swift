import SanaModel

/// One run of a pipeline: everything that came of it, and how long its stages took.
package struct SampleRun {
    /// Seconds of a stage, and of each step of it where it has steps.
    package struct StageTime {
        package let stage: PipelineStage
        package let seconds: Double
        package var steps: [Double] = []
        /// The most memory that the process has had until the end of the stage.
        package let peakBytes: Int
    }

    package let pipeline: SanaPipeline
    package let start: SanaPipeline.Start
    package let prompts: SanaPipeline.Prompts
    /// What the ControlNet read, `[1, C, h, w]`.
    package let control: DenseTensor?
    /// The latent after each step.
    package let latents: [DenseTensor]
    package let decoderInput: DenseTensor
    package let sample: DenseTensor
    package let pictures: [Picture]
    package let times: [StageTime]

    package var seconds: Double { times.reduce(0) { $0 + $1.seconds } }

    /// Runs all stages.
    ///
    /// - Parameters:
    ///   - start: what sampling starts from.
    ///   - keepsSteps: whether the latent after every step is kept.
    ///   - clock: watches the stages.
    /// - Throws: errors of the request, of loading, or of memory.
    package init(
        _ pipeline: SanaPipeline, _ start: SanaPipeline.Start, keepsSteps: Bool,
        _ context: ForwardContext, clock: StageClock
    ) throws {
        (self.pipeline, self.start) = (pipeline, start)
        try Arithmetic.prepare(for: context.workers)
        defer { clock.finish() }
        func run<Value>(
            _ stage: PipelineStage, hasSteps: Bool = false, _ body: () throws -> Value
        ) rethrows -> Value {
            try clock.run(stage.rawValue, hasSteps: hasSteps, body)
        }
        prompts = try run(.prompt, hasSteps: true) {
            try pipeline.encodePrompts(context) { clock.mark() }
        }
        control =
            pipeline.request.controlPicture == nil
            ? nil : try run(.control) { try pipeline.encodeControl(context) }
        var latents: [DenseTensor] = []
        let last = try run(.denoise, hasSteps: true) { [prompts, control] in
            try pipeline.denoise(start, prompts, control: control, context) { step, latent in
                clock.step(step + 1, of: pipeline.request.steps)
                if keepsSteps { latents.append(latent.repeated(1)) }
            }
        }
        self.latents = latents
        let input = pipeline.decoderInput(last)
        decoderInput = input
        sample = try run(.decode, hasSteps: true) {
            let count = input.shape[0]
            return try pipeline.decode(input, context) { clock.step($0, of: count) }
        }
        pictures = run(.image) { [sample] in pipeline.pictures(sample) }
        times = clock.times
    }
}

extension StageClock {
    /// The stages that have run.
    fileprivate var times: [SampleRun.StageTime] {
        PipelineStage.allCases.compactMap { stage in
            let spans = spans.filter { $0.isWithin(stage.rawValue) }
            guard !spans.isEmpty else { return nil }
            return .init(
                stage: stage, seconds: seconds(stage.rawValue),
                steps: spans.filter { $0.path != stage.rawValue }.map {
                    Double($0.nanoseconds) / 1e9
                },
                peakBytes: spans.map(\.peakBytes).max() ?? 0)
        }
    }
}
