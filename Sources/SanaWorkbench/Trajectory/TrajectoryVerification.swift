import Foundation
import SanaModel

extension Verification {
    /// A sampling run, as results describe it.
    package struct Sampling: Sendable {
        /// Class in diffusers.
        package let scheduler: String
        package let steps: Int
        package let guidanceScale: Double
        /// The last latent, and the golden's: pictures where latents are pixels.
        package var final: DenseTensor?
        package let golden: DenseTensor?
    }

    /// Samples with `model` from the trajectory's inputs and compares the latent after each step.
    ///
    /// Steps stand in the result as layers `latents.0` and on, the last one as the output; of a
    /// Sprint model the output is what its decoder would get.
    ///
    /// - Throws: an error of reading the trajectory, or `BadDataError` for a scheduler that is not
    ///   known.
    package static func run(
        _ model: LoadedModel, _ trajectory: TrajectoryGolden, _ options: Options,
        workers: WorkerPool
    ) throws -> Verification {
        let start = ContinuousClock.now
        let metric = options.metric ?? .usual(isQuantized: model.isQuantized)
        let sampling = try Sampler(model, trajectory)
        var result = Verification(
            model: model.label, reference: trajectory.path, metric: metric,
            tolerance: options.tolerances.base, compute: model.compute(options.compute),
            numerics: options.numerics, weightsDigest: model.sourceDigest,
            dtypes: model.dtypes, startedAt: Date())
        result.goldenRounding = trajectory.provenance.roundingError ?? 0
        result.sampling = Sampling(
            scheduler: trajectory.schedulerName, steps: trajectory.steps,
            guidanceScale: trajectory.guidanceScale,
            golden: try trajectory.final())
        var staleness = trajectory.provenance.staleness(
            model.sourceDigest, isConverted: model.isConverted)
        if options.allowStale {
            (result.isStaleAllowed, staleness) = (!staleness.isEmpty, [])
        }
        result.problems =
            try staleness + model.deviations.map(\.problem)
            + trajectory.nonfiniteInputs + trajectory.problems(sampling.schedule)
        if let problem = trajectory.provenance.foreignClass(model) {
            result.problems.append(problem)
            return result
        }
        let context = ForwardContext(
            workers: workers, numerics: options.numerics, compute: options.compute)
        do {
            try sampling.run(trajectory, context) { path, isLast, latent in
                guard let reference = try trajectory.values(path),
                    reference.shape == latent.shape
                else { return }
                let comparison = Comparison(
                    ErrorSums(latent, with: reference.values), shape: latent.shape)
                let tolerance = options.tolerances.tolerance(of: path)
                var layer = Layer(
                    path: path, comparison: comparison, tolerance: tolerance,
                    passes: metric.passes(comparison, tolerance: tolerance),
                    hasOwnTolerance: options.tolerances.isOwn(path))
                layer.goldenNonfinite = comparison.nonfinite > 0 ? reference.nonfiniteCount : 0
                if layer.goldenNonfinite > 0 {
                    result.problems.append(.notFinite(path, count: layer.goldenNonfinite))
                }
                if isLast {
                    result.output = layer
                    result.sampling?.final = latent.repeated(1)
                } else {
                    result.layers.append(layer)
                }
            }
        } catch let error as InputError {
            let message = "the trajectory's inputs do not fit the model: \(error.description)"
            result.problems.append(Problem(kind: .misshapen, message: message))
            return result
        }
        result.problems +=
            trajectory.provenance.precisionProblems(
                metric, strictest: result.strictest, numerics: options.numerics)
        result.seconds = (ContinuousClock.now - start).inSeconds
        return result
    }
}

/// The pipeline that a trajectory is of: scheduler and loop.
private enum Sampler {
    case flow(SanaSampler, any FlowScheduler)
    case sprint(SanaSprintSampler, SCMScheduler)

    /// - Throws: `BadDataError` for a scheduler that is not known, or a model that cannot sample.
    package init(_ model: LoadedModel, _ trajectory: TrajectoryGolden) throws(BadDataError) {
        let (transformer, scale) = (try model.transformer, trajectory.guidanceScale)
        self =
            trajectory.isSprint
            ? .sprint(
                SanaSprintSampler(transformer, guidanceScale: scale),
                try trajectory.makeSprintScheduler())
            : .flow(
                SanaSampler(transformer, guidanceScale: scale), try trajectory.makeScheduler())
    }

    /// The entries `schedule.*` of a golden.
    package var schedule: [(name: String, values: [Float])] {
        switch self {
        case .flow(_, let scheduler):
            [
                ("schedule.timesteps", scheduler.timesteps), ("schedule.sigmas", scheduler.sigmas),
            ]
        case .sprint(_, let scheduler): [("schedule.timesteps", scheduler.timesteps)]
        }
    }

    /// Samples; `compare` gets each latent under its name in goldens, and whether it is the result.
    package func run(
        _ golden: TrajectoryGolden, _ context: ForwardContext,
        compare: (_ path: String, _ isLast: Bool, DenseTensor) throws -> Void
    ) throws {
        let inputs = golden.inputs
        switch self {
        case .flow(let sampler, let scheduler):
            try sampler.run(inputs, scheduler, context) { step, latent in
                try compare(TrajectoryGolden.name(of: step), step == golden.steps - 1, latent)
            }
        case .sprint(let sampler, let scheduler):
            let start = SanaSprintSampler.Inputs(
                latents: inputs.latents, promptEmbeds: inputs.promptEmbeds,
                promptAttentionMask: inputs.promptAttentionMask, noise: golden.noise)
            let result = try sampler.run(start, scheduler, context) { step, latent in
                try compare(TrajectoryGolden.name(of: step), false, latent)
            }
            try compare(TrajectoryGolden.outputName, true, result)
        }
    }
}
