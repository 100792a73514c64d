/// The samples of one profile, as the gate compares them.
struct GateSamples: Sendable, Equatable {
    /// Nanoseconds of one module, one of each kind for each repetition.
    struct Layer: Sendable, Equatable {
        let path: String
        var wall: [Double] = []
        /// Processor time of all threads; empty for runs of old versions.
        var cpu: [Double] = []
    }

    /// What the host did at one repetition.
    struct Host: Sendable, Equatable {
        let canaryGFLOPS: Double
        /// For a second of processor time.
        let canaryCPUGFLOPS: Double
        /// Part of the processors that others took, where it is known.
        let otherLoad: Double?
        /// CPU time of the canary and of the forward next to it; `nil` for runs of old versions.
        var canaryCPUNanoseconds: Int?
        var modelCPUNanoseconds: Int?
    }

    /// The whole forward.
    let total: Layer
    /// In execution order.
    let layers: [Layer]
    /// As many as `total` has samples; empty for runs of old versions.
    let host: [Host]
}

/// A time of one module in all repetitions, and the same with the host taken out.
struct GateSeries: Sendable {
    var raw: [Double] = []
    /// The forward: times the rate of the canary beside it. A layer: over the rest of its forward.
    var adjusted: [Double] = []
    /// Median of `adjusted` in each run.
    var runMedians: [Double] = []

    /// How much runs differ among themselves: the standard deviation of their medians over their mean;
    /// 0 for fewer than three, which do not tell.
    var spread: Double {
        guard runMedians.count > 2 else { return 0 }
        let mean = runMedians.reduce(0, +) / Double(runMedians.count)
        let squares = runMedians.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        return (squares / Double(runMedians.count - 1)).squareRoot() / mean
    }
}

/// Samples of several runs, laid end to end.
struct GatePool: Sendable {
    /// By path, the forward included, by the clock and by processor time.
    private(set) var wall: [String: GateSeries] = [:]
    private(set) var cpu: [String: GateSeries] = [:]
    /// Layers in execution order.
    let paths: [String]
    /// Median canaries, by the clock and by processor time; `nil` for runs that have none.
    let canary: Double?
    let canaryCPU: Double?
    /// Median part of the processors that others took.
    let otherLoad: Double?

    init(_ runs: [GateSamples]) {
        var seen = Set<String>()
        paths = runs.flatMap { $0.layers.map(\.path) }.filter { seen.insert($0).inserted }
        let host = runs.flatMap(\.host)
        canary = host.isEmpty ? nil : host.map(\.canaryGFLOPS).median
        canaryCPU = host.isEmpty ? nil : host.map(\.canaryCPUGFLOPS).median
        let loads = host.compactMap(\.otherLoad)
        otherLoad = loads.isEmpty ? nil : loads.median
        for run in runs {
            let (forward, host) = (run.total, run.host)
            if host.count == forward.wall.count {
                Self.add(
                    forward.wall, zip(forward.wall, host).map { $0 * $1.canaryGFLOPS },
                    to: &wall[forward.path])
                Self.add(
                    forward.cpu, zip(forward.cpu, host).map { $0 * $1.canaryCPUGFLOPS },
                    to: &cpu[forward.path])
            }
            for layer in run.layers {
                Self.add(layer.wall, Self.relative(layer.wall, forward.wall), to: &wall[layer.path])
                Self.add(layer.cpu, Self.relative(layer.cpu, forward.cpu), to: &cpu[layer.path])
            }
        }
    }

    private static func add(
        _ raw: [Double], _ adjusted: [Double], to series: inout GateSeries?
    ) {
        guard !raw.isEmpty, raw.count == adjusted.count else { return }
        series = series ?? GateSeries()
        series?.raw += raw
        series?.adjusted += adjusted
        series?.runMedians.append(adjusted.median)
    }

    /// A layer over the rest of each forward.
    private static func relative(_ layer: [Double], _ forward: [Double]) -> [Double] {
        zip(layer, forward).map { $0 / max($1 - $0, 1) }
    }
}
