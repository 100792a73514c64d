import Foundation
import SanaModel

/// Where the time of a forward goes.
struct Profile: Sendable {
    /// Name under which the whole forward stands in the history.
    static let totalPath = "total"

    /// One module.
    struct Layer: Sendable {
        let module: ModuleInfo
        let timing: Timing
        /// Part of the forward, by medians; a module contains its children.
        let share: Double

        /// Rate of the module's matrix products; `nil` where it has none.
        var gflops: Double? {
            module.operations > 0 && timing.median > 0
                ? Double(module.operations) / timing.median : nil
        }
    }

    let model: String
    let compute: String
    let numerics: Numerics
    let sizes: RunSizes
    let threads: Int
    /// In execution order, parents before children.
    let layers: [Layer]
    let total: Timing
    /// Operations of one forward.
    let operations: Int
    /// Rate of a fixed matrix product, the best measured between the forwards.
    let canaryGFLOPS: Double
    let peakRSSBytes: Int
    let startedAt: Date
    let seconds: Double

    /// Rate of the whole forward.
    var gflops: Double { Double(operations) / total.median }
}

extension Profile {
    struct Options: Sendable {
        var warmup = 1
        var repetitions = 5
        var numerics = Numerics.fp32
    }

    /// Times `options.repetitions` forwards after a warm-up, with a canary before each.
    ///
    /// - Throws: `InputError` when the inputs do not fit the model.
    static func run(
        _ model: LoadedModel, _ inputs: SanaInputs, _ options: Options, workers: WorkerPool,
        progress: (Int, Int) -> Void
    ) throws -> Profile {
        let clock = ContinuousClock()
        let (startedAt, start) = (Date(), clock.now)
        let canary = SGEMMCanary(workers: workers)
        _ = canary.measure()
        let probe = ProfileProbe()
        let context = ForwardContext(workers: workers, numerics: options.numerics, probe: probe)
        var (total, rate): ([Int], Double) = ([], 0)
        for pass in 0..<options.warmup + options.repetitions {
            progress(pass, options.warmup + options.repetitions)
            rate = max(rate, canary.measure())
            if pass == options.warmup { probe.samples = [:] }
            let begin = clock.now
            _ = try model.transformer.forward(inputs, context)
            if pass >= options.warmup { total.append((clock.now - begin).inNanoseconds) }
        }
        let sizes = RunSizes(inputs)
        let modules = model.transformer.config.modules(
            batch: sizes.batch, height: sizes.height, width: sizes.width,
            captionTokens: sizes.captionTokens)
        let timing = Timing(samples: total)
        let layers = modules.compactMap { module in
            probe.samples[module.path].map { samples in
                let own = Timing(samples: samples)
                return Layer(module: module, timing: own, share: own.median / timing.median)
            }
        }
        return Profile(
            model: model.label, compute: model.compute, numerics: options.numerics, sizes: sizes,
            threads: workers.threadCount, layers: layers, total: timing,
            operations: modules.totalOperations, canaryGFLOPS: rate,
            peakRSSBytes: Machine.peakResidentBytes, startedAt: startedAt,
            seconds: (clock.now - start).inSeconds)
    }
}

/// Takes the time of every module.
final class ProfileProbe: LayerProbe {
    /// Nanoseconds of each pass by module path.
    var samples: [String: [Int]] = [:]
    private let clock = ContinuousClock()
    private var running: [ContinuousClock.Instant] = []

    func begin(_ path: String) { running.append(clock.now) }

    func end(_ path: String, _ outputs: [Activation]) {
        guard let start = running.popLast() else { return }
        samples[path, default: []].append((clock.now - start).inNanoseconds)
    }
}
