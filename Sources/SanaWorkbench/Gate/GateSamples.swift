import Foundation

/// The samples of one profile, as the gate compares them.
package struct GateSamples: Sendable, Equatable {
    /// Nanoseconds of one module, one of each kind for each repetition.
    package struct Layer: Sendable, Equatable {
        package let path: String
        package var wall: [Double] = []
        /// CPU time of all threads; empty for runs of old versions.
        package var cpu: [Double] = []
    }

    /// What the host did at one repetition.
    package struct Host: Sendable, Equatable {
        package let canaryGFLOPS: Double
        /// For a second of CPU time.
        package let canaryCPUGFLOPS: Double
        /// Part of the CPUs that others took, where it is known.
        package let otherLoad: Double?
        /// See `CoreDistance`.
        package var coreDistance: Double?
    }

    /// The whole forward.
    package let total: Layer
    /// In execution order.
    package let layers: [Layer]
    /// As many as `total` has samples; empty for runs of old versions.
    package let host: [Host]
    /// How CPU time was read, see `Profile.clock`; `nil` for runs of old versions.
    package var clock: String? = Profile.clock

    /// The same without layers.
    package var forward: GateSamples {
        GateSamples(total: total, layers: [], host: host, clock: clock)
    }

    /// Median distance of the threads' cores; `nil` where it is not known.
    package var coreDistance: Double? {
        let known = host.compactMap(\.coreDistance)
        return known.isEmpty ? nil : known.median
    }

    /// The repetitions whose threads ran on the usual cores; `nil` where too few are left.
    package func placed(_ distances: CoreDistances) -> GateSamples? {
        guard host.count == total.wall.count else { return self }
        let places = host.indices.filter { !distances.isUnusual(host[$0].coreDistance) }
        guard places.count < host.count else { return self }
        guard places.count >= GateOptions.fewestRepetitions else { return nil }
        func placed(_ layer: Layer) -> Layer {
            func pick(_ times: [Double]) -> [Double] {
                times.count == host.count ? places.map { times[$0] } : []
            }
            return Layer(path: layer.path, wall: pick(layer.wall), cpu: pick(layer.cpu))
        }
        return GateSamples(
            total: placed(total), layers: layers.map(placed), host: places.map { host[$0] },
            clock: clock)
    }
}

extension GateSamples.Host {
    init(_ repetition: Profile.Repetition) {
        self.init(
            canaryGFLOPS: repetition.canaryGFLOPS, canaryCPUGFLOPS: repetition.canaryCPUGFLOPS,
            otherLoad: repetition.otherLoad, coreDistance: repetition.coreDistance)
    }
}

/// A time of one module in several runs.
package struct GateSeries: Sendable {
    /// Nanoseconds of all repetitions.
    package private(set) var raw: [Double] = []
    /// By run, with the host divided out. The forward: over the canary beside it, to the power of
    /// `HostSensitivity`. A layer: over the rest of its forward.
    package private(set) var runs: [RunEstimate] = []
    /// The same over the canary, whatever it is.
    package private(set) var absolute: [RunEstimate] = []

    fileprivate mutating func add(_ raw: [Double], _ run: RunEstimate, _ absolute: RunEstimate) {
        self.raw += raw
        runs.append(run)
        self.absolute.append(absolute)
    }
}

/// Samples of several runs.
package struct GatePool: Sendable {
    /// By path, the forward included.
    package private(set) var wall: [String: GateSeries] = [:]
    package private(set) var cpu: [String: GateSeries] = [:]
    /// Layers in execution order.
    package let paths: [String]
    /// Repetitions of the run that has fewest.
    package let repetitions: Int
    /// Median rates of the canary; `nil` for runs that have none.
    package let canary: Double?
    package let canaryCPU: Double?
    /// Median part of the CPUs that others took.
    package let otherLoad: Double?

    /// - Parameter sensitivity: the exponent of the canary's rate for CPU time, see
    ///   `HostSensitivity`.
    package init(_ runs: [GateSamples], sensitivity: Double) {
        var seen = Set<String>()
        paths = runs.flatMap { $0.layers.map(\.path) }.filter { seen.insert($0).inserted }
        repetitions = runs.map(\.total.wall.count).min() ?? 0
        let host = runs.flatMap(\.host)
        canary = host.isEmpty ? nil : host.map(\.canaryGFLOPS).median
        canaryCPU = host.isEmpty ? nil : host.map(\.canaryCPUGFLOPS).median
        let loads = host.compactMap(\.otherLoad)
        otherLoad = loads.isEmpty ? nil : loads.median
        for run in runs where run.host.count == run.total.wall.count && !run.host.isEmpty {
            let (forward, host) = (run.total, run.host)
            for layer in [forward] + run.layers {
                Self.add(layer.wall, forward.wall, host.map { log($0.canaryGFLOPS) }, layer, &wall)
                // The old clock cannot tell times as short as these.
                guard run.clock != nil else { continue }
                let rates = host.map { log($0.canaryCPUGFLOPS) }
                Self.add(layer.cpu, forward.cpu, rates, layer, &cpu, sensitivity: sensitivity)
            }
        }
    }

    /// - Parameters:
    ///   - rates: logarithms of the canary's.
    ///   - sensitivity: their exponent where `times` is CPU time.
    private static func add(
        _ times: [Double], _ forward: [Double], _ rates: [Double], _ layer: GateSamples.Layer,
        _ series: inout [String: GateSeries], sensitivity: Double? = nil
    ) {
        guard times.count == forward.count, times.count == rates.count else { return }
        let isTotal = layer.path == Profile.totalPath
        let logs = times.map { log(max($0, 1)) }
        let overCanary = zip(logs, rates).map { $0 + (sensitivity ?? 1) * $1 }
        let compared =
            isTotal ? overCanary : zip(times, forward).map { log(max($0, 1) / max($1 - $0, 1)) }
        series[layer.path, default: GateSeries()].add(
            times, RunEstimate(trimmedMeanOf: compared),
            RunEstimate(trimmedMeanOf: overCanary))
    }
}
