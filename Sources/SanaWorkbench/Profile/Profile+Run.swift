import Foundation
import SanaModel

extension Profile {
    package struct Options: Sendable {
        package var warmup = 1
        /// Exactly so many timed forwards; `nil`: as `plan` says.
        package var repetitions: Int? = 5
        package var plan = RepetitionPlan()
        /// Whether forwards take turns that begin `RepetitionPlan.interval` apart, with pauses.
        ///
        /// What slows a host lasts for seconds. Forwards in a row meet one such state, which makes
        /// runs differ by it however many there are; turns apart meet many.
        package var isPaced = false
        package var numerics = Numerics.fp32
        /// The element type of products.
        package var compute = ComputeMode.standard

        package init(
            warmup: Int = 1, repetitions: Int? = 5, plan: RepetitionPlan = RepetitionPlan(),
            numerics: Numerics = Numerics.fp32,
            compute: ComputeMode = ComputeMode.standard
        ) {
            (self.warmup, self.repetitions, self.plan) = (warmup, repetitions, plan)
            (self.numerics, self.compute) = (numerics, compute)
        }
    }

    /// Times forwards after a warm-up, the canary running between their blocks.
    ///
    /// - Parameter reload: the model once more, in memory of its own.
    /// - Throws: `InputError` when the inputs do not fit the model.
    package static func run(
        _ model: LoadedModel, _ inputs: NamedTensors, _ options: Options, workers: WorkerPool,
        reload: () throws -> LoadedModel, progress: (Int, Int) -> Void
    ) throws -> Profile {
        let (startedAt, start) = (Date(), ContinuousClock.now)
        let before = HostState.now
        let timer = try ForwardTimer(model, inputs, options, workers)
        for _ in 0..<options.warmup { _ = try timer.time(inputs) }
        timer.startRecording()
        let timed = ContinuousClock.now
        var isDone = false
        while !isDone {
            let count = timer.repetitions.count
            let turn = timer.turn(of: options)
            progress(count, options.repetitions ?? options.plan.fewest * turn)
            if options.isPaced, count > 0, count % turn == 0 {
                let due = timed + .seconds(options.plan.interval * Double(count / turn))
                try pause(until: due, isNeeded: turn > 1) {
                    if model.loadSeconds < options.plan.interval {
                        timer.move(to: try reload().network)
                    }
                    try timer.warmUp(inputs)
                }
            }
            try timer.time(inputs)
            timer.discardUnusual()
            isDone = self.isDone(
                timer, options, seconds: (ContinuousClock.now - timed).inSeconds)
        }
        return timer.profile(
            model, options, warnings: HostState.now.since(before), startedAt: startedAt,
            since: start)
    }

    private static func isDone(
        _ timer: ForwardTimer, _ options: Options, seconds: Double
    ) -> Bool {
        let count = timer.repetitions.count
        if let repetitions = options.repetitions { return count >= repetitions }
        let turn = timer.turn(of: options)
        return count % turn == 0
            && options.plan.isDone(count / turn, seconds: seconds, timer.gateSamples)
    }

    /// Pauses shorter than this are not worth what they cost: a forward that does not count, as
    /// caches are cold and threads asleep after one.
    private static let shortestPause = Duration.milliseconds(50)

    /// - Parameter isNeeded: whether to `wake` after a shorter one, too.
    private static func pause(
        until end: ContinuousClock.Instant, isNeeded: Bool, _ wake: () throws -> Void
    ) rethrows {
        let rest = ContinuousClock.now.duration(to: end)
        guard isNeeded || rest >= shortestPause else { return }
        Thread.sleep(forTimeInterval: max(0, rest.inSeconds))
        try wake()
    }
}

/// Times forwards of one model, with the canary between their blocks.
package final class ForwardTimer {
    package let workers: WorkerPool
    package let sizes: RunSizes
    package private(set) var repetitions: [Profile.Repetition] = []
    private var network: any Network
    private let modules: [ModuleGraph.Module]
    /// Of a whole forward.
    private let operations: Int
    private let probe: ProfileProbe
    private var canary: HostCanary
    private var context: ForwardContext
    private let distance: CoreDistance
    private var distances: CoreDistances
    private var firstState = HostState.now
    /// Seconds of the first recorded forward.
    private var first: Double?
    /// Rates before the first forward.
    private let multiplyAdds: [ComputeMode: Double]
    /// Peak of resident bytes before there was anything twice.
    private var firstPeak: Int?
    /// What forwards ran in before.
    private var earlier: [(any Network, HostCanary, ForwardContext)] = []
    private static let mostEarlier = 15
    /// Bytes that those may take.
    private static let earlierBytes = min(
        1 << 30, Int(ProcessInfo.processInfo.physicalMemory / 8))
    /// Seconds below which the load of one forward is not read: the system counts in ticks.
    private static let shortestLoad = 0.1

    package init(
        _ model: LoadedModel, _ inputs: NamedTensors, _ options: Profile.Options,
        _ workers: WorkerPool
    ) throws {
        (self.workers, network) = (workers, model.network)
        sizes = RunSizes(network.sizes(of: inputs))
        let graph = try network.graph(of: inputs)
        operations = graph.operations
        modules = graph.measured
        canary = Self.canary(workers, graph.operations, modules)
        probe = ProfileProbe(workers, canary: canary)
        probe.isRecording = false
        context = ForwardContext(
            workers: workers, numerics: options.numerics, compute: options.compute, probe: probe)
        distance = CoreDistance(workers: workers)
        distances = options.plan.distances
        multiplyAdds = Profile.Peaks.multiplyAdds(workers)
    }

    private static func canary(
        _ workers: WorkerPool, _ operations: Int, _ modules: [ModuleGraph.Module]
    ) -> HostCanary {
        HostCanary(
            workers: workers, operations: operations,
            slices: modules.count { ModuleLevel(path: $0.path) == .block })
    }

    /// Goes on with the same model in other memory, as activations and the canary are too.
    ///
    /// Which pages a process gets decides how its lines share the sets of the caches, and makes
    /// processes differ by a percent where each keeps its own.
    package func move(to other: any Network) {
        let peak = firstPeak ?? Machine.peakResidentBytes
        firstPeak = peak
        // What is there lives until the other is made, and a while longer where it is small, or the
        // same few pages would come again and again.
        earlier.append((network, canary, context))
        let new = (
            canary: Self.canary(workers, operations, modules),
            context: ForwardContext(
                workers: workers, numerics: context.numerics, compute: context.compute,
                probe: probe)
        )
        probe.replaceCanary(new.canary)
        (network, canary, context) = (other, new.canary, new.context)
        let most = min(Self.mostEarlier, Self.earlierBytes / max(peak, 1))
        earlier.removeFirst(max(0, earlier.count - most))
    }

    /// Runs a forward that does not count.
    ///
    /// - Throws: as `time`.
    package func warmUp(_ inputs: NamedTensors) throws {
        let isRecording = probe.isRecording
        probe.isRecording = false
        defer { probe.isRecording = isRecording }
        try time(inputs)
    }

    /// Forwards from now on count.
    package func startRecording() {
        probe.isRecording = true
        firstState = HostState.now
    }

    /// Runs one forward.
    ///
    /// - Throws: `InputError` when the inputs do not fit the model.
    package func time(_ inputs: NamedTensors) throws {
        probe.startForward()
        let apart = distance.measure()
        let (host, quantization) = (HostState.now, context.quantizationTime)
        let (begin, cpu) = (ContinuousClock.now, workers.cpuNanoseconds)
        _ = try network.forward(inputs, context)
        let length = (ContinuousClock.now - begin).inNanoseconds - probe.canaryTime.wall
        let spent = workers.cpuNanoseconds - cpu - probe.canaryTime.cpu
        let state = HostState.now
        if probe.canaryTime.slices == 0 { probe.runCanary() }
        let farthest = [apart, distance.measure()].compactMap(\.self).max()
        distances.note(farthest)
        guard probe.isRecording else { return }
        first = first ?? Double(length) / 1e9
        let load = state.since(host)
        repetitions.append(
            Profile.Repetition(
                wall: length, cpu: spent, process: load.cpuNanoseconds,
                quantization: context.quantizationTime - quantization,
                canary: probe.canaryTime, gflop: canary.gflop,
                otherLoad: load.seconds < Self.shortestLoad
                    ? state.since(firstState).otherShare : load.otherShare,
                coreDistance: farthest))
    }

    /// Forwards of a turn, see `RepetitionPlan`.
    fileprivate func turn(of options: Profile.Options) -> Int {
        guard options.isPaced, let first else { return 1 }
        return options.plan.turn(ofForward: first, repetitions: options.repetitions)
    }

    /// Leaves out the forwards whose threads ran on other cores than usual, so that others are made
    /// in their place, unless that has taken too long already.
    package func discardUnusual() {
        let isKept = repetitions.map { !distances.isUnusual($0.coreDistance) }
        let lost = zip(repetitions, isKept).filter { !$1 }.map { Double($0.0.nanoseconds) / 1e9 }
        guard !lost.isEmpty, distances.allowsWaste(seconds: lost.reduce(0, +)) else { return }
        repetitions = zip(repetitions, isKept).filter(\.1).map(\.0)
        probe.keepForwards(isKept)
    }

    /// What the gate would compare, so far.
    package var gateSamples: GateSamples {
        let samples = probe.samples
        return GateSamples(
            total: .init(
                path: Profile.totalPath, wall: repetitions.map { Double($0.nanoseconds) },
                cpu: repetitions.map { Double($0.cpuNanoseconds) }),
            layers: modules.compactMap { module in
                samples[module.path].map {
                    .init(
                        path: module.path, wall: $0.wall.map(Double.init),
                        cpu: $0.cpu.map(Double.init))
                }
            },
            host: repetitions.map(GateSamples.Host.init))
    }

    /// All that was timed.
    package func profile(
        _ model: LoadedModel, _ options: Profile.Options, warnings load: HostState.Load,
        startedAt: Date, since start: ContinuousClock.Instant
    ) -> Profile {
        // The buffers that peaks are read from are no memory of the model's.
        let peakRSS = firstPeak ?? Machine.peakResidentBytes
        let total = Timing(samples: repetitions.map(\.nanoseconds))
        let samples = probe.samples
        let layers = modules.compactMap { module in
            samples[module.path].map { samples in
                let own = Timing(samples: samples.wall)
                return Profile.Layer(
                    module: module, timing: own, cpu: samples.cpu,
                    share: own.median / total.median,
                    bytes: module.activationBytes + model.weightBytes(below: module.path),
                    compute: options.compute.products(isInt8: model.isInt8(module.path)))
            }
        }
        let peaks = Profile.Peaks.measure(
            workers, workingSets: layers.map(\.bytes), earlier: multiplyAdds)
        return Profile(
            model: model.label, dtype: model.dtype, compute: model.compute(options.compute),
            numerics: options.numerics,
            sizes: sizes, threads: workers.threadCount, layers: layers, total: total,
            repetitions: repetitions, operations: operations, peaks: peaks,
            probeOverhead: probe.overhead(ofForward: total.median), peakRSSBytes: peakRSS,
            loadSeconds: model.loadSeconds, storedBytes: model.storedBytes,
            warnings: load.warnings(threads: workers.threadCount, repetitions),
            startedAt: startedAt, seconds: (ContinuousClock.now - start).inSeconds)
    }
}
