import Foundation
import SanaModel

extension Profile {
    package struct Options: Sendable {
        package var warmup = 1
        /// Exactly so many repetitions; `nil`: as `plan` says.
        package var repetitions: Int? = 5
        package var plan = RepetitionPlan()
        /// Whether repetitions begin `RepetitionPlan.interval` apart, with as many forwards as fit,
        /// whose mean counts, and are one forward each otherwise.
        ///
        /// What slows a host lasts for seconds. Forwards in a row meet one such state, which makes
        /// runs differ by it however many there are; repetitions apart meet many.
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
        repeat {
            let count = timer.repetitionCount
            progress(count, options.repetitions ?? options.plan.fewest)
            if options.isPaced, count > 0 {
                let due = timed + .seconds(options.plan.interval * Double(count))
                try pause(until: due) {
                    if model.loadSeconds < options.plan.interval / 4 {
                        timer.move(to: try reload().network)
                    }
                    try timer.warmUp(inputs)
                }
            }
            try timer.repeatForwards(inputs, forSeconds: options.isPaced ? options.plan.busy : 0)
            timer.discardUnusual()
        } while !isDone(timer, options, seconds: (ContinuousClock.now - timed).inSeconds)
        return timer.profile(
            model, options, warnings: HostState.now.since(before), startedAt: startedAt,
            since: start)
    }

    private static func isDone(
        _ timer: ForwardTimer, _ options: Options, seconds: Double
    ) -> Bool {
        let count = timer.repetitionCount
        if let repetitions = options.repetitions { return count >= repetitions }
        return options.plan.isDone(count, seconds: seconds, timer.gateSamples)
    }

    /// Pauses shorter than this are not worth what they cost: a forward that does not count, as
    /// caches are cold and threads asleep after one.
    private static let shortestPause = Duration.milliseconds(50)

    private static func pause(
        until end: ContinuousClock.Instant, _ wake: () throws -> Void
    ) rethrows {
        let rest = ContinuousClock.now.duration(to: end)
        guard rest >= shortestPause else { return }
        Thread.sleep(forTimeInterval: rest.inSeconds)
        try wake()
    }
}

/// Times forwards of one model, with the canary between their blocks.
package final class ForwardTimer {
    package let workers: WorkerPool
    package let sizes: RunSizes
    private var forwards: [Profile.Repetition] = []
    /// The repetition of each of `forwards`, in rising order.
    private var groups: [Int] = []
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

    /// Repetitions so far.
    package var repetitionCount: Int { Set(groups).count }

    /// Runs a repetition of one forward or more.
    ///
    /// - Parameter seconds: what all of its forwards but the first have to fit in.
    /// - Throws: as `time`.
    package func repeatForwards(_ inputs: NamedTensors, forSeconds seconds: Double) throws {
        let group = (groups.last ?? -1) + 1
        let start = ContinuousClock.now
        var (count, mean) = (0.0, 0.0)
        repeat {
            try time(inputs, group: group)
            count += 1
            mean = (ContinuousClock.now - start).inSeconds / count
        } while Int(count) < RepetitionPlan.mostForwards && mean * (count + 1) < seconds
    }

    /// Runs one forward.
    ///
    /// - Parameter group: its repetition; `nil`: one of its own.
    /// - Throws: `InputError` when the inputs do not fit the model.
    package func time(_ inputs: NamedTensors, group: Int? = nil) throws {
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
        let load = state.since(host)
        groups.append(group ?? (groups.last ?? -1) + 1)
        forwards.append(
            Profile.Repetition(
                wall: length, cpu: spent, process: load.cpuNanoseconds,
                quantization: context.quantizationTime - quantization,
                canary: probe.canaryTime, gflop: canary.gflop,
                otherLoad: load.seconds < Self.shortestLoad
                    ? state.since(firstState).otherShare : load.otherShare,
                coreDistance: farthest))
    }

    /// Leaves out the forwards whose threads ran on other cores than usual, unless that has taken
    /// too long already. A repetition that lost all of them is made again.
    package func discardUnusual() {
        let isKept = forwards.map { !distances.isUnusual($0.coreDistance) }
        let lost = zip(forwards, isKept).filter { !$1 }.map { Double($0.0.nanoseconds) / 1e9 }
        guard !lost.isEmpty, distances.allowsWaste(seconds: lost.reduce(0, +)) else { return }
        forwards = zip(forwards, isKept).filter(\.1).map(\.0)
        groups = zip(groups, isKept).filter(\.1).map(\.0)
        probe.keepForwards(isKept)
    }

    /// Where in `forwards` those of each repetition are.
    private var ranges: [Range<Int>] {
        var result: [Range<Int>] = []
        for (index, group) in groups.enumerated() {
            if index > 0, group == groups[index - 1], let last = result.popLast() {
                result.append(last.lowerBound..<index + 1)
            } else {
                result.append(index..<index + 1)
            }
        }
        return result
    }

    private var repetitions: [Profile.Repetition] {
        ranges.map { Profile.Repetition(meanOf: forwards[$0]) }
    }

    /// What forwards have in the mean, for each repetition.
    ///
    /// - Parameter values: in the order of forwards, as many of each.
    private func means(_ values: [Int]) -> [Int] {
        let passes = values.count / max(1, forwards.count)
        return ranges.flatMap { range in
            (0..<passes).map { pass in
                range.reduce(0) { $0 + values[$1 * passes + pass] } / range.count
            }
        }
    }

    /// Nanoseconds of the modules, wall and CPU time of each repetition.
    private var samples: [String: (wall: [Int], cpu: [Int])] {
        probe.samples.mapValues { (means($0.wall), means($0.cpu)) }
    }

    /// What the gate would compare, so far.
    package var gateSamples: GateSamples {
        let (samples, repetitions) = (samples, repetitions)
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
        let (samples, repetitions) = (samples, repetitions)
        let total = Timing(samples: repetitions.map(\.nanoseconds))
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
