import Foundation
import SanaModel

/// Two models on the same inputs in one process, whose forwards take turns.
///
/// A host whose speed wanders wanders for both: a pair of forwards is compared before it has gone
/// far, and turns are in the order ABBA, so that a steady drift cancels out.
struct PairedProfile: Sendable {
    struct Options: Sendable {
        var warmup = 2
        var pairs = 100
        var numerics = Numerics.fp32
        var compute = Compute.standard
        /// Slowdown of the forward, and of a block, that is a regression.
        var threshold = 0.02
        var blockThreshold = 0.025
        /// Probability of a false alarm that is accepted, for everything that is judged together.
        var level = 0.001
        /// Part of the processors that others may take.
        var loadTolerance = 0.15
    }

    /// Nanoseconds of one module in one forward of each model.
    struct Pair: Sendable, Equatable {
        let candidate: Times
        let baseline: Times
    }

    struct Times: Sendable, Equatable {
        let wall: Double
        /// Processor time of all threads.
        let cpu: Double
    }

    /// One module in every pair of forwards.
    struct Samples: Sendable, Equatable {
        let path: String
        var pairs: [Pair] = []
    }

    let candidate: String
    let baseline: String
    let sizes: RunSizes
    let threads: Int
    let total: Samples
    /// Blocks that both models have, in execution order.
    let blocks: [Samples]
    /// Blocks that one of them lacks.
    let unmatched: [String]
    /// Part of the processors that others took meanwhile, where the system tells.
    let otherLoad: Double?
    let options: Options

    /// - Throws: `InputError` when the inputs do not fit both models.
    static func run(
        _ candidate: LoadedModel, against baseline: LoadedModel, _ inputs: SanaInputs,
        _ options: Options, workers: WorkerPool, progress: (Int, Int) -> Void
    ) throws -> PairedProfile {
        let (mine, theirs) = (BlockProbe(), BlockProbe())
        #if SLOWDOWN
            let probes = [Slowdown.around(mine, workers), theirs]
        #else
            let probes: [any LayerProbe] = [mine, theirs]
        #endif
        let contexts = probes.map { probe in
            ForwardContext(
                workers: workers, numerics: options.numerics, compute: options.compute, probe: probe
            )
        }
        var before = HostState.now
        for pair in 0..<options.warmup + options.pairs {
            progress(pair, options.warmup + options.pairs)
            if pair == options.warmup {
                (mine.forwards, theirs.forwards) = ([], [])
                before = HostState.now
            }
            for turn in 0..<2 {
                if (pair + turn) % 2 == 0 {
                    try mine.time { _ = try candidate.network.forward(inputs, contexts[0]) }
                } else {
                    try theirs.time { _ = try baseline.network.forward(inputs, contexts[1]) }
                }
            }
        }
        let load = HostState.now.since(before).otherShare
        let known = [mine, theirs].map { Set($0.forwards.first?.map(\.path) ?? []) }
        let paths = (mine.forwards.first ?? []).map(\.path).filter(known[1].contains)
        let all = paths.map { path in
            Samples(
                path: path,
                pairs: zip(mine.times(path), theirs.times(path)).map(Pair.init))
        }
        return PairedProfile(
            candidate: candidate.label, baseline: baseline.label, sizes: RunSizes(inputs),
            threads: workers.threadCount,
            total: all.first { $0.path == Profile.totalPath } ?? Samples(path: Profile.totalPath),
            blocks: all.filter { $0.path != Profile.totalPath },
            unmatched: known[0].symmetricDifference(known[1]).sorted(), otherLoad: load,
            options: options)
    }
}

/// Times forwards and their blocks, and nothing below.
private final class BlockProbe: LayerProbe {
    let readsActivations = false
    var forwards: [[(path: String, times: PairedProfile.Times)]] = []
    private var start: (wall: ContinuousClock.Instant, cpu: Int)?

    /// Runs one forward.
    func time(_ forward: () throws -> Void) rethrows {
        forwards.append([])
        let start = (wall: ContinuousClock.now, cpu: HostState.ownProcessorTime)
        try forward()
        forwards[forwards.count - 1].append((Profile.totalPath, Self.since(start)))
    }

    func times(_ path: String) -> [PairedProfile.Times] {
        forwards.compactMap { spans in spans.first { $0.path == path }?.times }
    }

    func begin(_ path: String) {
        if Self.isBlock(path) { start = (.now, HostState.ownProcessorTime) }
    }

    func end(_ path: String, _ outputs: [Activation]) {
        guard let start, Self.isBlock(path) else { return }
        forwards[forwards.count - 1].append((path, Self.since(start)))
    }

    private static func isBlock(_ path: String) -> Bool {
        path.hasPrefix("transformer_blocks.") && path.utf8.count { $0 == UInt8(ascii: ".") } == 1
    }

    private static func since(
        _ start: (wall: ContinuousClock.Instant, cpu: Int)
    ) -> PairedProfile.Times {
        .init(
            wall: Double((ContinuousClock.now - start.wall).inNanoseconds),
            cpu: Double(HostState.ownProcessorTime - start.cpu))
    }
}
