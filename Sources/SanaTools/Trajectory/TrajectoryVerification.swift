import Foundation
import SanaModel

extension Verification {
    /// A sampling, as results tell of it.
    struct Sampling: Sendable {
        /// Class in diffusers.
        let scheduler: String
        let steps: Int
        let guidanceScale: Double
        /// The last latent, and the golden's: pictures where latents are pixels.
        var final: DenseTensor?
        let golden: DenseTensor?
    }

    /// Samples with `model` from the trajectory's inputs and compares the latent after each step.
    ///
    /// Steps stand in the result as layers `latents.0` and on, the last one as the output.
    ///
    /// - Throws: an error of reading the trajectory, or `BadDataError` for a scheduler that is not
    ///   known.
    static func run(
        _ model: LoadedModel, _ trajectory: TrajectoryGolden, _ options: Options,
        workers: WorkerPool
    ) throws -> Verification {
        let start = ContinuousClock.now
        let metric = options.metric ?? (model.isQuantized ? .relativePower : .relativeRMS)
        let scheduler = try trajectory.makeScheduler()
        var result = Verification(
            model: model.label, reference: trajectory.path, metric: metric,
            tolerance: options.tolerances.base, compute: model.compute(options.compute),
            numerics: options.numerics, startedAt: Date())
        result.goldenRounding = trajectory.provenance.roundingError ?? 0
        result.sampling = Sampling(
            scheduler: trajectory.schedulerName, steps: trajectory.steps,
            guidanceScale: trajectory.guidanceScale,
            golden: try trajectory.latent(after: trajectory.steps - 1))
        result.problems = try trajectory.problems(scheduler)
        let context = ForwardContext(
            workers: workers, numerics: options.numerics, compute: options.compute)
        let sampler = SanaSampler(
            model.transformer, guidanceScale: trajectory.guidanceScale)
        do {
            try sampler.run(trajectory.inputs, scheduler, context) { step, latent in
                guard let reference = try trajectory.latent(after: step),
                    reference.shape == latent.shape
                else { return }
                let path = TrajectoryGolden.name(of: step)
                let comparison = Comparison(
                    ErrorSums(latent, with: reference.values), shape: latent.shape)
                let tolerance = options.tolerances.tolerance(of: path)
                let layer = Layer(
                    path: path, comparison: comparison, tolerance: tolerance,
                    passes: metric.passes(comparison, tolerance: tolerance))
                if step < trajectory.steps - 1 {
                    result.layers.append(layer)
                } else {
                    result.output = layer
                    result.sampling?.final = latent.repeated(1)
                }
            }
        } catch let error as InputError {
            let message = "the trajectory's inputs do not fit the model: \(error.description)"
            result.problems.append(Problem(kind: .misshapen, message: message))
            return result
        }
        let strictest = result.compared.map(\.tolerance).min() ?? options.tolerances.base
        result.problems += trajectory.provenance.precisionProblems(
            metric, tolerance: strictest, numerics: options.numerics)
        if !options.allowStale {
            result.problems += trajectory.provenance.staleness(model.sourceDigest)
        }
        result.seconds = (ContinuousClock.now - start).inSeconds
        return result
    }
}
