import Foundation
import SanaModel

extension Profile {
    struct Options: Sendable {
        var warmup = 1
        var repetitions = 5
        var numerics = Numerics.fp32
        /// How int8 weights meet activations.
        var compute = Compute.standard
    }

    /// Part of a forward's time that goes to the canary before it.
    private static let canaryShare = 0.05

    /// Times `options.repetitions` forwards after a warm-up, with canaries before and after each.
    ///
    /// - Throws: `InputError` when the inputs do not fit the model.
    static func run(
        _ model: LoadedModel, _ inputs: SanaInputs, _ options: Options, workers: WorkerPool,
        probe: ProfileProbe = ProfileProbe(), progress: (Int, Int) -> Void
    ) throws -> Profile {
        let clock = ContinuousClock()
        let (startedAt, start) = (Date(), clock.now)
        let before = HostState.now
        var canary = CanarySeries(workers)
        #if SLOWDOWN
            let watched = Slowdown.around(probe, workers)
        #else
            let watched = probe
        #endif
        let context = ForwardContext(
            workers: workers, numerics: options.numerics, compute: options.compute, probe: watched)
        var repetitions: [Repetition] = []
        for pass in 0..<options.warmup + options.repetitions {
            progress(pass, options.warmup + options.repetitions)
            probe.isRecording = pass >= options.warmup
            let ahead = canary.measure()
            let (begin, host) = (clock.now, HostState.now)
            let quantization = context.quantizationTime
            _ = try model.network.forward(inputs, context)
            let length = clock.now - begin
            canary.fill(length.inSeconds * canaryShare)
            let load = HostState.now.since(host)
            let behind = canary.measure()
            guard probe.isRecording else { continue }
            repetitions.append(
                Repetition(
                    nanoseconds: length.inNanoseconds,
                    quantizationShare: (context.quantizationTime - quantization) / length,
                    canaryGFLOPS: (ahead.wall + behind.wall) / 2,
                    canaryCPUGFLOPS: (ahead.cpu + behind.cpu) / 2,
                    cpuNanoseconds: load.cpuNanoseconds, otherLoad: load.otherShare))
        }
        // The buffer that bandwidth is read from is no memory of the model's.
        let peakRSS = Machine.peakResidentBytes
        let peaks = peaks(canary, workers)
        let sizes = RunSizes(inputs)
        let modules = model.config.modules(
            batch: sizes.batch, height: sizes.height, width: sizes.width,
            captionTokens: sizes.captionTokens)
        let total = Timing(samples: repetitions.map(\.nanoseconds))
        let samples = probe.samples
        let layers = modules.compactMap { module in
            samples[module.path].map { samples in
                let own = Timing(samples: samples.wall)
                return Layer(
                    module: module, timing: own, cpu: samples.cpu,
                    share: own.median / total.median,
                    bytes: module.activationBytes + model.weightBytes(below: module.path),
                    isInt8: options.compute == .w8a8 && model.isInt8(module.path))
            }
        }
        return Profile(
            model: model.label, compute: model.compute(options.compute), numerics: options.numerics,
            sizes: sizes, threads: workers.threadCount, layers: layers, total: total,
            repetitions: repetitions, operations: modules.totalOperations, peaks: peaks,
            probeOverhead: probe.overhead(ofForward: total.median), peakRSSBytes: peakRSS,
            loadSeconds: model.loadSeconds, storedBytes: model.storedBytes,
            warnings: HostState.now.since(before).warnings(
                threads: workers.threadCount, repetitions),
            startedAt: startedAt, seconds: (clock.now - start).inSeconds)
    }

    private static func peaks(_ canary: CanarySeries, _ workers: WorkerPool) -> Peaks {
        let (int8, memory) = (Int8Canary(workers: workers), MemoryCanary(workers: workers))
        let multiplyAdds = MultiplyAddCanary(workers: workers)
        let int8MultiplyAdds = MultiplyAddCanary(workers: workers, .int8)
        let tile = TileCanary(workers: workers)
        return Peaks(
            sgemmGFLOPS: canary.best,
            multiplyAddGFLOPS: (0..<3).map { _ in multiplyAdds.measure() }.max() ?? 0,
            int8MultiplyAddGOPS: (0..<3).map { _ in int8MultiplyAdds.measure() }.max() ?? 0,
            tileGFLOPS: (0..<3).map { _ in tile.measure() }.max() ?? 0,
            int8GOPS: (0..<3).map { _ in int8.measure() }.max() ?? 0,
            readBandwidth: (0..<3).map { _ in memory.measure() }.max() ?? 0)
    }
}

/// The canary between forwards: long enough to see what the forward saw.
private struct CanarySeries {
    private let canary: SGEMMCanary
    private var count = 1
    private(set) var best = 0.0

    init(_ workers: WorkerPool) {
        canary = SGEMMCanary(workers: workers)
        _ = canary.measure()
        best = canary.measure()
    }

    /// Takes as many products from now on as fill about so much time.
    mutating func fill(_ seconds: Double) {
        count = min(16, max(1, Int(seconds * best / SGEMMCanary.gflop)))
    }

    /// The rates over all products of one place, by the clock and by processor time.
    mutating func measure() -> (wall: Double, cpu: Double) {
        let start = HostState.ownProcessorTime
        let rates = (0..<count).map { _ in canary.measure() }
        let cpu = Double(HostState.ownProcessorTime - start) / 1e9
        best = max(best, rates.max() ?? 0)
        return (
            Double(count) / rates.reduce(0) { $0 + 1 / $1 },
            Double(count) * SGEMMCanary.gflop / max(cpu, 1e-9)
        )
    }
}
