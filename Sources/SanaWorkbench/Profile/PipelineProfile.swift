import Foundation
import SanaModel

/// Where the time and the memory of a whole sampling go, from the prompt to the PNG.
package struct PipelineProfile: Sendable {
    /// A stage, a step, or what is loaded; parents before children.
    struct Part: Sendable {
        /// `load`, `load.vae`, `denoise`, `denoise.3`, `png`.
        let path: String
        let timing: Timing
        /// CPU time of all threads, in nanoseconds, one for each sample of `timing`.
        let cpu: [Int]
        /// Part of the sampling, by medians.
        let share: Double
        /// Memory that was resident as it began, the most of all repetitions.
        let startBytes: Int
        /// The most that was resident meanwhile.
        let peakBytes: Int

        /// Whether it is contained in another.
        var isInner: Bool { path.contains(".") }
    }

    /// The part that makes files of pictures.
    static let encoding = "png"

    package let model: String
    let request: PipelineRequest
    let pipeline: PipelineClass
    let identity: OpenedPipeline.Identity
    package let compute: String
    let numerics: Numerics
    /// Of the latent.
    let sizes: RunSizes
    let threads: Int
    let parts: [Part]
    package let total: Timing
    let repetitions: [Profile.Repetition]
    /// What disturbs timing, a sentence each.
    package let warnings: [String]
    let startedAt: Date
    let seconds: Double

    /// The most memory that any part had.
    package var peakRSSBytes: Int { parts.map(\.peakBytes).max() ?? 0 }
    /// Loading of everything, in the median repetition.
    var loadSeconds: Double {
        parts.first { $0.path == StageClock.loading }.map { $0.timing.median / 1e9 } ?? 0
    }

    /// What stands for the golden in records; it makes the series one of its own.
    package static func reference(_ request: PipelineRequest) -> String {
        "\(referencePrefix)\(Format.counted(request.steps, "step")), guidance "
            + Format.decimal(request.guidanceScale)
    }
    static let referencePrefix = "pipeline: "

    /// Of the latent that a request makes.
    package static func sizes(
        _ source: OpenedPipeline, _ request: PipelineRequest
    ) throws -> RunSizes {
        let shape = try SanaPipeline(source, request).latentShape
        return RunSizes(
            batch: shape[0], height: shape[2], width: shape[3],
            captionTokens: request.promptOptions.maxSequenceLength)
    }

    /// As the gate compares it.
    var gateSamples: GateSamples {
        GateSamples(
            total: .init(
                path: Profile.totalPath, wall: total.values,
                cpu: repetitions.map { Double($0.cpuNanoseconds) }),
            layers: parts.map {
                .init(path: $0.path, wall: $0.timing.values, cpu: $0.cpu.map(Double.init))
            }, host: repetitions.map(GateSamples.Host.init))
    }
}

extension PipelineProfile {
    /// Samples again and again, everything loaded anew each time, the canary running between steps.
    ///
    /// - Throws: errors of the request, of loading, or of memory.
    package static func run(
        _ source: OpenedPipeline, _ identity: OpenedPipeline.Identity,
        _ request: PipelineRequest, _ options: Profile.Options
    ) throws -> PipelineProfile {
        let (startedAt, start) = (Date(), ContinuousClock.now)
        let before = HostState.now
        let sizes = try sizes(source, request)
        let timer = try PipelineTimer(source, request, sizes, options)
        for _ in 0..<options.warmup { try timer.time() }
        timer.repetitions = []
        func profile() -> PipelineProfile {
            let total = Timing(samples: timer.repetitions.map(\.host.nanoseconds))
            let host = timer.repetitions.map(\.host)
            return PipelineProfile(
                model: source.label, request: request, pipeline: source.pipeline,
                identity: identity, compute: identity.compute(options.compute),
                numerics: options.numerics,
                sizes: sizes, threads: source.workers.threadCount,
                parts: parts(timer.repetitions.map(\.spans), total), total: total,
                repetitions: host,
                warnings: HostState.now.since(before).warnings(
                    threads: source.workers.threadCount, host),
                startedAt: startedAt, seconds: (ContinuousClock.now - start).inSeconds)
        }
        let timed = ContinuousClock.now
        var isDone = false
        while !isDone {
            try timer.time()
            isDone =
                options.repetitions.map { timer.repetitions.count >= $0 }
                ?? options.plan.isDone(
                    timer.repetitions.count, seconds: (ContinuousClock.now - timed).inSeconds,
                    profile().gateSamples)
        }
        return profile()
    }

    /// Spans of all repetitions by name, and what they make together.
    private static func parts(_ repetitions: [[StageClock.Span]], _ total: Timing) -> [Part] {
        var paths: [String] = []
        for path in (repetitions.first ?? []).map(\.path) {
            let parent = path.prefix { $0 != "." }
            for path in [String(parent), path] where !paths.contains(path) { paths.append(path) }
        }
        // Loading goes on within stages.
        let loading = paths.filter { $0.hasPrefix(StageClock.loading) }
        // Of steps those of the scheduler are told.
        let steps = "\(PipelineStage.denoise.rawValue)."
        paths =
            loading
            + paths.filter { path in
                !loading.contains(path) && (!path.contains(".") || path.hasPrefix(steps))
            }
        paths = paths.filter { !$0.contains(".") }.flatMap { parent in
            [parent] + paths.filter { $0.hasPrefix(parent + ".") }
        }
        return paths.map { path in
            let spans = repetitions.map { $0.filter { $0.isWithin(path) } }
            let timing = Timing(
                samples: spans.map { max(1, $0.reduce(0) { $0 + $1.nanoseconds }) })
            return Part(
                path: path, timing: timing, cpu: spans.map { $0.reduce(0) { $0 + $1.cpu } },
                share: timing.median / total.median,
                startBytes: spans.compactMap { $0.first?.startBytes }.max() ?? 0,
                peakBytes: spans.joined().map(\.peakBytes).max() ?? 0)
        }
    }
}

/// Times samplings of one pipeline, with the canary between their steps.
private final class PipelineTimer {
    struct Repetition {
        let host: Profile.Repetition
        let spans: [StageClock.Span]
    }

    var repetitions: [Repetition] = []
    private let source: OpenedPipeline
    private let request: PipelineRequest
    private let canary: HostCanary
    private let context: ForwardContext
    private let distance: CoreDistance

    init(
        _ source: OpenedPipeline, _ request: PipelineRequest, _ sizes: RunSizes,
        _ options: Profile.Options
    ) throws {
        (self.source, self.request) = (source, request)
        let workers = source.workers
        context = ForwardContext(
            workers: workers, numerics: options.numerics, compute: options.compute)
        distance = CoreDistance(workers: workers)
        // A forward of the transformer tells how much work there is.
        let network = try source.transformerConfig().unbound().network.network
        let guided = request.isGuided(source.pipeline) ? 2 : 1
        let graph = try network.graph(
            network.sizes(
                SizeRequest(
                    batch: sizes.batch * guided, height: sizes.height, width: sizes.width,
                    tokens: nil)))
        canary = HostCanary(
            workers: workers, operations: graph.operations * request.steps, slices: request.steps)
    }

    /// Makes the pictures once.
    func time() throws {
        let workers = source.workers
        var time = ProfileProbe.CanaryTime()
        let clock = StageClock("profile", workers, tellsPeaksApart: true) { [canary] in
            let start = (ContinuousClock.now, workers.cpuNanoseconds)
            canary.run()
            time.slices += 1
            time.wall += (ContinuousClock.now - start.0).inNanoseconds
            time.cpu += workers.cpuNanoseconds - start.1
        }
        let apart = distance.measure()
        let (host, quantization) = (HostState.now, context.quantizationTime)
        let pipeline = try SanaPipeline(ClockedSource(source: source, clock: clock), request)
        var random = TorchGenerator(seed: 0)
        let run = try SampleRun(
            pipeline, pipeline.draw(&random), keepsSteps: false, context, clock: clock)
        try clock.run(PipelineProfile.encoding) {
            for picture in run.pictures { _ = try PNGImage(picture).file() }
        }
        clock.finish()
        let load = HostState.now.since(host)
        repetitions.append(
            Repetition(
                host: Profile.Repetition(
                    wall: clock.spans.reduce(0) { $0 + $1.nanoseconds },
                    cpu: clock.spans.reduce(0) { $0 + $1.cpu }, process: load.cpuNanoseconds,
                    quantization: context.quantizationTime - quantization, canary: time,
                    gflop: canary.gflop, otherLoad: load.otherShare,
                    coreDistance: [apart, distance.measure()].compactMap(\.self).max()),
                spans: clock.spans))
    }
}
