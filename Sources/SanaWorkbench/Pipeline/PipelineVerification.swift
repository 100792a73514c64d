import Foundation
import SanaModel

extension Verification {
    /// Samples with the pipeline `source` from the golden's prompts and noise and compares what
    /// passes between stages, then the pictures.
    ///
    /// Unless that is declined, every stage runs on the golden's own input, too: its own error.
    ///
    /// - Parameter model: the pipeline's transformer, for what results tell of weights.
    /// - Throws: an error of reading the golden or a component.
    package static func run(
        _ model: LoadedModel, _ source: OpenedPipeline, _ golden: PipelineGolden,
        _ options: Options, workers: WorkerPool
    ) throws -> Verification {
        let start = ContinuousClock.now
        let metric = options.metric ?? .usual(isQuantized: model.isQuantized)
        var result = Verification(
            model: source.label, reference: golden.path, metric: metric,
            tolerance: options.tolerances.base, compute: model.compute(options.compute),
            numerics: options.numerics, weightsDigest: model.sourceDigest, dtypes: model.dtypes,
            startedAt: Date())
        result.sampling = Sampling(
            scheduler: golden.schedulerName, steps: golden.request.steps,
            guidanceScale: golden.request.guidanceScale, golden: nil)
        result.problems = model.deviations.map(\.problem)
        guard source.pipeline == golden.pipeline else {
            result.problems.append(
                Problem(
                    kind: .misshapen,
                    message: "golden is of a \(golden.pipeline.rawValue), the model is a "
                        + source.pipeline.rawValue))
            return result
        }
        if golden.computeDType != "float32" {
            result.problems.append(
                Problem(
                    kind: .precision,
                    message:
                        "golden was computed in \(golden.computeDType.printable); capture it in "
                        + "float32"))
        }
        let changes = try source.changes(since: golden)
        if options.allowStale {
            result.isStaleAllowed = !changes.isEmpty
        } else {
            result.problems += changes.map(\.problem)
        }
        let context = ForwardContext(
            workers: workers, numerics: options.numerics, compute: options.compute)
        var comparison = PipelineComparison(result, golden, options)
        do {
            try Arithmetic.prepare(for: workers)
            try comparison.run(SanaPipeline(source, golden.request), context)
        } catch let error as InputError {
            comparison.result.problems.append(
                Problem(
                    kind: .misshapen,
                    message: "the golden does not fit the model: \(error.description)"))
        }
        result = comparison.finished
        if let cause = result.pipeline?.cause {
            result.pipeline?.cause = try cause.located(
                in: source, golden, changes: changes, options)
        }
        result.seconds = (ContinuousClock.now - start).inSeconds
        return result
    }
}

/// Runs the stages and collects what differs.
private struct PipelineComparison {
    private typealias Entry = PipelineGolden.Entry

    package var result: Verification
    private let golden: PipelineGolden
    private let options: Verification.Options
    private var outcome = PipelineOutcome()
    /// The component that a stage's failure is known to come from.
    private var blamed: [PipelineStage: PipelineComponent] = [:]
    /// The first entry of each stage that is out of tolerance on the golden's own input.
    private var firstEntries: [PipelineStage: String] = [:]
    private var clock = ContinuousClock.now

    package init(_ result: Verification, _ golden: PipelineGolden, _ options: Verification.Options)
    {
        (self.result, self.golden, self.options) = (result, golden, options)
    }

    private var runsOwn: Bool { options.isolated != false }

    package mutating func run(_ pipeline: SanaPipeline, _ context: ForwardContext) throws {
        let prompts = try comparePrompts(pipeline, context)
        let control = try compareControl(pipeline, context)
        let last = try compareSteps(pipeline, prompts, control, context)
        try compareDecoded(pipeline, last, context)
    }

    /// Ends a stage's time and begins the next.
    private mutating func endStage(_ stage: PipelineStage) {
        outcome[stage].seconds += (ContinuousClock.now - clock).inSeconds
        clock = .now
    }

    // MARK: Stages

    private mutating func comparePrompts(
        _ pipeline: SanaPipeline, _ context: ForwardContext
    ) throws -> SanaPipeline.Prompts {
        clock = .now
        let prompts = try pipeline.encodePrompts(context)
        let reference = try golden.prompts()
        for kind in golden.kinds {
            let ours = kind == .prompt ? prompts.positive : prompts.negative
            let theirs = kind == .prompt ? reference.positive : reference.negative
            guard let ours, let theirs else {
                result.problems.append(
                    ours == nil
                        ? .init(
                            kind: .extra,
                            message: "\(kind.embeds) is in the golden, but the sampling has none",
                            path: kind.embeds) : .missing(kind.embeds))
                outcome[.prompt].passes = false
                continue
            }
            let hasSameTokens = try compareTokens(kind, ours)
            if ours.mask.values.values != theirs.mask.values.values {
                result.problems.append(
                    .init(
                        kind: .tokens, message: "\(kind.mask) keeps other positions",
                        path: kind.embeds))
            }
            var own: DenseTensor? = ours.embeds
            if !hasSameTokens {
                blamed[.prompt] = .tokenizer
                own = nil
            }
            try add(kind.embeds, ours.embeds, own: own, theirs.embeds)
        }
        if blamed[.prompt] == nil { blamed[.prompt] = .textEncoder }
        endStage(.prompt)
        return prompts
    }

    /// Whether ids are those of the golden; where not, which is the first that is another.
    private mutating func compareTokens(
        _ kind: PipelineGolden.PromptKind, _ ours: PromptEmbeds
    ) throws -> Bool {
        let (texts, length) = try golden.ids(kind)
        // Of pictures of one prompt the golden has the text once.
        for (index, text) in texts.enumerated() {
            guard index < ours.tokens.count else {
                result.problems.append(
                    .init(
                        kind: .tokens,
                        message: "\(kind.ids) has \(texts.count) texts, the sampling has "
                            + "\(ours.tokens.count)", path: kind.embeds))
                return false
            }
            let tokens = ours.tokens[index]
            guard tokens.ids != text || tokens.length != length else { continue }
            let place = zip(tokens.ids, text).enumerated().first { $1.0 != $1.1 }?.offset
            let what =
                place.map {
                    "token \($0) is \(text[$0]) in the golden, \(tokens.ids[$0]) by the tokenizer"
                }
                ?? "the golden has \(text.count) tokens of \(length), the tokenizer makes "
                + "\(tokens.ids.count) of \(tokens.length)"
            result.problems.append(
                .init(
                    kind: .tokens, message: "\(kind.ids) of text \(index): \(what)",
                    path: kind.embeds))
            return false
        }
        return true
    }

    private mutating func compareControl(
        _ pipeline: SanaPipeline, _ context: ForwardContext
    ) throws -> DenseTensor? {
        guard let control = try pipeline.encodeControl(context) else { return nil }
        let reference = try golden.required(Entry.control)
        try add(Entry.control, control, own: control, reference)
        blamed[.control] = .vae
        endStage(.control)
        return control
    }

    /// Returns the last latent.
    private mutating func compareSteps(
        _ pipeline: SanaPipeline, _ prompts: SanaPipeline.Prompts, _ control: DenseTensor?,
        _ context: ForwardContext
    ) throws -> DenseTensor {
        try compareSchedule(pipeline)
        let start = try golden.start()
        var own: [DenseTensor] = []
        if runsOwn {
            let given = try golden.values(Entry.control)
            _ = try pipeline.denoise(start, golden.prompts(), control: given, context) {
                own.append($1.repeated(1))
            }
        }
        let last = try pipeline.denoise(start, prompts, control: control, context) {
            step, latents in
            let reference = try golden.required(Entry.step(step))
            try add(Entry.step(step), latents, own: step < own.count ? own[step] : nil, reference)
        }
        endStage(.denoise)
        return last
    }

    private mutating func compareSchedule(_ pipeline: SanaPipeline) throws {
        let schedule = try pipeline.schedule()
        for (name, ours) in [
            (Entry.timesteps, schedule.timesteps), (Entry.sigmas, schedule.sigmas),
        ]
        where !ours.isEmpty {
            let stored = try golden.required(name).values.values
            func value(_ values: [Float], _ step: Int) -> String {
                step < values.count ? "\(values[step])" : "absent"
            }
            let step = (0..<max(ours.count, stored.count)).first { step -> Bool in
                guard step < stored.count, step < ours.count else { return true }
                let limit: Float = 1e-5 * max(abs(stored[step]), 1e-3)
                return !(abs(ours[step] - stored[step]) <= limit)
            }
            guard let step else { continue }
            blamed[.denoise] = .scheduler
            result.problems.append(
                .init(
                    kind: .schedule,
                    message:
                        "\(name) of step \(step) is \(value(stored, step)) in the golden, "
                        + "\(value(ours, step)) by the "
                        + "repository's scheduler"))
            return
        }
    }

    private mutating func compareDecoded(
        _ pipeline: SanaPipeline, _ last: DenseTensor, _ context: ForwardContext
    ) throws {
        let input = pipeline.decoderInput(last)
        let given = try golden.required(Entry.decoderInput)
        var ownInput: DenseTensor?
        if runsOwn {
            let final = try golden.required(Entry.step(golden.request.steps - 1))
            ownInput = pipeline.decoderInput(try pipeline.unscaled(final))
        }
        try add(Entry.decoderInput, input, own: ownInput, given)
        blamed[.decode] = .vae
        let ownSample = runsOwn ? try pipeline.decode(given, context) : nil
        let sample = try pipeline.decode(input, context)
        let reference = try golden.required(Entry.sample)
        try add(Entry.sample, sample, own: ownSample, reference)
        endStage(.decode)
        try comparePictures(pipeline.pictures(sample), pipeline.pictures(reference))
        endStage(.image)
    }

    private mutating func comparePictures(_ ours: [Picture], _ own: [Picture]) throws {
        let theirs = try golden.pictures()
        guard ours.map(\.size) == theirs.map(\.size) else {
            result.problems.append(
                .init(
                    kind: .misshapen,
                    message: "image: golden has pictures of \(theirs.map(\.size)), the model makes "
                        + "\(ours.map(\.size))", path: Entry.image))
            return
        }
        outcome.image = PipelineOutcome.PictureDifference(ours, theirs)
        outcome.difference = ours.difference(from: theirs)
        result.sampling = result.sampling.map {
            var sampling = Verification.Sampling(
                scheduler: $0.scheduler, steps: $0.steps, guidanceScale: $0.guidanceScale,
                golden: theirs.tensor)
            sampling.final = ours.tensor
            return sampling
        }
        let ownLevels = PipelineOutcome.PictureDifference(own, theirs).maxLevels
        try add(
            Entry.image, ours.tensor, own: own.tensor, theirs.tensor,
            isExact: mayBeRounded && outcome.image.maxLevels <= 1,
            isOwnExact: mayBeRounded && ownLevels <= 1)
    }

    /// Whether rounding explains a picture that is a level off: what it is made of passes, and not
    /// only to the bit.
    private var mayBeRounded: Bool {
        let sample = result.layers.last { $0.path == Entry.sample }
        return options.tolerances.tolerance(of: Entry.image) > 0 && sample?.passes == true
            && sample?.tolerance != 0
    }

    // MARK: Layers

    /// Adds the comparison of an entry.
    ///
    /// - Parameters:
    ///   - own: what came of the golden's own input; `nil` where that was not run.
    ///   - isExact: passes whatever the metric says, as levels that differ by rounding do.
    ///   - isOwnExact: the same of `own`.
    private mutating func add(
        _ path: String, _ ours: DenseTensor, own: DenseTensor?, _ reference: DenseTensor,
        isExact: Bool = false, isOwnExact: Bool = false
    ) throws {
        guard ours.shape == reference.shape else {
            result.problems.append(.misshapen(path, golden: reference.shape, model: ours.shape))
            return
        }
        let comparison = Comparison(ErrorSums(ours, with: reference.values), shape: ours.shape)
        let tolerance = options.tolerances.tolerance(of: path)
        var layer = Verification.Layer(
            path: path, comparison: comparison, tolerance: tolerance,
            passes: isExact || result.metric.passes(comparison, tolerance: tolerance),
            hasOwnTolerance: options.tolerances.isOwn(path))
        layer.goldenNonfinite = comparison.nonfinite > 0 ? reference.nonfiniteCount : 0
        if layer.goldenNonfinite > 0 {
            result.problems.append(.notFinite(path, count: layer.goldenNonfinite))
        }
        var stage = outcome[PipelineOutcome.stage(of: path)]
        stage.total = max(stage.total, comparison.relativeRMS)
        stage.passes = stage.passes && layer.passes
        if runsOwn, let own, own.shape == ours.shape {
            let alone = Comparison(ErrorSums(own, with: reference.values), shape: own.shape)
            let inherited = Comparison(ErrorSums(ours, with: own.values), shape: ours.shape)
            layer.isolated = .init(
                own: alone.relativeRMS, local: alone.relativeRMS,
                inherited: inherited.relativeRMS, gain: nil)
            stage.own = max(stage.own ?? 0, alone.relativeRMS)
            let ownPasses = isOwnExact || result.metric.passes(alone, tolerance: tolerance)
            stage.ownFails = stage.ownFails || !ownPasses
            if !ownPasses, firstEntries[stage.stage] == nil { firstEntries[stage.stage] = path }
        }
        outcome[stage.stage] = stage
        if path == Entry.image { result.output = layer } else { result.layers.append(layer) }
    }

    /// The result with the stage to blame.
    package var finished: Verification {
        var result = result
        var outcome = outcome
        let hasOtherTokens = result.problems.contains { $0.kind == .tokens }
        let hasOtherSchedule = result.problems.contains { $0.kind == .schedule }
        let first =
            hasOtherTokens
            ? PipelineStage.prompt
            : outcome.stages.first { $0.ownFails }?.stage
                ?? (hasOtherSchedule ? .denoise : outcome.stages.first { !$0.passes }?.stage)
        outcome.cause = first.map {
            .init(stage: $0, component: blamed[$0], entry: firstEntries[$0])
        }
        result.pipeline = outcome
        return result
    }
}

extension SanaPipeline {
    /// What sampling returns where the scheduler's last latent is `latents`.
    fileprivate func unscaled(_ latents: DenseTensor) throws -> DenseTensor {
        guard pipeline == .sprint else { return latents }
        let (json, file) = try source.scheduler()
        let scheduler = try SCMScheduler(
            json, steps: request.steps,
            .init(
                maxTimestep: request.maxTimestep,
                intermediateTimestep: request.intermediateTimestep), file: file)
        let result = latents.repeated(1)
        for index in 0..<result.count { result.values.pointer[index] /= scheduler.sigmaData }
        return result
    }
}

extension Picture {
    fileprivate var size: [Int] { [height, width] }
}

extension [Picture] {
    /// `[B, 3, H, W]` of pictures of one size, black −1 and white 1.
    fileprivate var tensor: DenseTensor {
        let parts = map(\.tensor)
        let result = DenseTensor(shape: [count] + parts[0].shape.dropFirst())
        for (index, part) in parts.enumerated() {
            (result.values.pointer + index * part.count).update(
                from: part.values.pointer, count: part.count)
        }
        return result
    }

    /// The difference from other pictures around grey, by the largest power of two that keeps it in
    /// range.
    fileprivate func difference(from others: [Picture]) -> (tensor: DenseTensor, factor: Int) {
        let (ours, theirs) = (tensor, others.tensor)
        var largest: Float = 0
        for index in 0..<ours.count {
            ours.values.pointer[index] -= theirs.values.pointer[index]
            largest = Swift.max(largest, abs(ours.values.pointer[index]))
        }
        var factor = 1
        while factor < 64, largest * Float(2 * factor) <= 1 { factor *= 2 }
        for index in 0..<ours.count { ours.values.pointer[index] *= Float(factor) }
        return (ours, factor)
    }
}
