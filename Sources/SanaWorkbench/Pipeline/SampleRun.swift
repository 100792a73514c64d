import Foundation
import SanaModel
import Synchronization

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
    /// - Throws: errors of the request, of loading, or of memory.
    package init(
        _ pipeline: SanaPipeline, _ start: SanaPipeline.Start, keepsSteps: Bool,
        _ context: ForwardContext
    ) throws {
        (self.pipeline, self.start) = (pipeline, start)
        try Arithmetic.prepare(for: context.workers)
        let clock = StageClock()
        defer { clock.finish() }
        prompts = try clock.run(.prompt) {
            try pipeline.encodePrompts(context) { clock.mark() }
        }
        control =
            pipeline.request.controlPicture == nil
            ? nil : try clock.run(.control) { try pipeline.encodeControl(context) }
        var latents: [DenseTensor] = []
        let last = try clock.run(.denoise) { [prompts, control] in
            try pipeline.denoise(start, prompts, control: control, context) { step, latent in
                clock.step(step + 1, of: pipeline.request.steps)
                if keepsSteps { latents.append(latent.repeated(1)) }
            }
        }
        self.latents = latents
        let input = pipeline.decoderInput(last)
        decoderInput = input
        sample = try clock.run(.decode) {
            let count = input.shape[0]
            return try pipeline.decode(input, context) { clock.step($0, of: count) }
        }
        pictures = clock.run(.image) { [sample] in pipeline.pictures(sample) }
        times = clock.times
    }
}

/// Takes the time of stages and shows which one runs.
private final class StageClock {
    package private(set) var times: [SampleRun.StageTime] = []
    private let progress = Notices.progress("sample")
    private var stage = PipelineStage.prompt
    private var start = ContinuousClock.now
    private var lastStep = ContinuousClock.now
    private var steps: [Double] = []

    package func run<Value>(_ stage: PipelineStage, _ body: () throws -> Value) rethrows -> Value {
        (self.stage, start, steps) = (stage, .now, [])
        lastStep = start
        progress.show("\(stage.rawValue) …")
        let value = try body()
        times.append(
            .init(
                stage: stage, seconds: (ContinuousClock.now - start).inSeconds, steps: steps,
                peakBytes: Machine.peakResidentBytes))
        return value
    }

    /// Ends a step of which nobody knows how many there are.
    package func mark() {
        let now = ContinuousClock.now
        steps.append((now - lastStep).inSeconds)
        lastStep = now
    }

    package func step(_ number: Int, of count: Int) {
        mark()
        let now = lastStep
        let left = (now - start).inSeconds / Double(number) * Double(count - number)
        progress.show(
            "\(stage.rawValue) \(number) of \(count)"
                + (left > 0 ? ", \(Format.decimal(left, digits: left < 10 ? 1 : 0)) s left" : ""))
    }

    package func finish() { progress.finish() }
}
