import Foundation
import SanaModel

/// Two models on the same inputs in one process, whose forwards take turns.
///
/// A host whose speed varies does so for both: a pair of forwards is compared before it has gone
/// far, and turns are in the order ABBA, so that a steady drift cancels out.
package struct PairedProfile: Sendable {
    package struct Options: Sendable {
        package var warmup = 2
        package var pairs = 100
        package var numerics = Numerics.fp32
        package var compute = ComputeMode.standard
        /// Slowdown of the forward, and of a block, that is a regression.
        package var threshold = 0.02
        package var blockThreshold = 0.025
        /// Probability of a false alarm that is accepted, for everything that is judged together.
        package var level = 0.001
        /// Part of the CPUs that others may take before it is reported.
        package var loadTolerance = 0.15

        package init(
            warmup: Int = 2, pairs: Int = 100, numerics: Numerics = Numerics.fp32,
            compute: ComputeMode = ComputeMode.standard, threshold: Double = 0.02,
            blockThreshold: Double = 0.025, level: Double = 0.001, loadTolerance: Double = 0.15
        ) {
            (self.warmup, self.pairs, self.numerics) = (warmup, pairs, numerics)
            (self.compute, self.threshold) = (compute, threshold)
            (self.blockThreshold, self.level) = (blockThreshold, level)
            self.loadTolerance = loadTolerance
        }
    }

    /// Nanoseconds of one module in one forward of each model.
    package struct Pair: Sendable, Equatable {
        package let candidate: Times
        package let baseline: Times
    }

    package struct Times: Sendable, Equatable {
        package let wall: Double
        /// CPU time of all threads.
        package let cpu: Double
    }

    /// One module in every pair of forwards.
    package struct Samples: Sendable, Equatable {
        package let path: String
        package var pairs: [Pair] = []
    }

    package let candidate: String
    package let baseline: String
    package let sizes: RunSizes
    package let threads: Int
    package let total: Samples
    /// Blocks that both models have, in execution order.
    package let blocks: [Samples]
    /// Blocks that one of them lacks.
    package let unmatched: [String]
    /// Part of the CPUs that others took meanwhile, where the system tells.
    package let otherLoad: Double?
    package let options: Options

    /// What a pair is made of, in words.
    package var unit = "forwards"
    /// What the history keeps of the candidate: a profile whose forwards took turns with the
    /// baseline's. `nil` where the forwards ran in other processes.
    package var record: Profile?

    /// - Throws: `InputError` when the inputs do not fit both models.
    package static func run(
        _ candidate: LoadedModel, against baseline: LoadedModel, _ inputs: NamedTensors,
        _ options: Options, workers: WorkerPool, progress: (Int, Int) -> Void
    ) throws -> PairedProfile {
        let (startedAt, start) = (Date(), ContinuousClock.now)
        let sizes = candidate.network.sizes(of: inputs)
        let profileOptions = Profile.Options(
            numerics: options.numerics, compute: options.compute)
        let mine = try ForwardTimer(candidate, inputs, profileOptions, workers)
        let theirs = try ForwardTimer(baseline, inputs, profileOptions, workers)
        var before = HostState.now
        for pair in 0..<options.warmup + options.pairs {
            progress(pair, options.warmup + options.pairs)
            if pair == options.warmup {
                mine.startRecording()
                theirs.startRecording()
                before = HostState.now
            }
            for isMine in Self.turns(of: pair) { try (isMine ? mine : theirs).time(inputs) }
        }
        let load = HostState.now.since(before)
        let (new, old) = (mine.gateSamples, theirs.gateSamples)
        var result = PairedProfile(
            candidate: candidate.label, baseline: baseline.label, sizes: RunSizes(sizes),
            threads: workers.threadCount, total: Samples(new.total, old.total),
            blocks: blocks(new, old), unmatched: unmatched(new, old),
            otherLoad: load.otherShare, options: options)
        result.record = mine.profile(
            candidate, profileOptions, warnings: load, startedAt: startedAt, since: start)
        return result
    }

    /// Whether the candidate runs, for each turn of a pair: pairs are in the order ABBA.
    static func turns(of pair: Int) -> [Bool] {
        pair.isMultiple(of: 2) ? [true, false] : [false, true]
    }

    /// Blocks that both have, in execution order.
    package static func blocks(_ new: GateSamples, _ old: GateSamples) -> [Samples] {
        new.blocks.compactMap { block in
            old.blocks.first { $0.path == block.path }.map { Samples(block, $0) }
        }
    }

    /// Blocks that one of them lacks.
    package static func unmatched(_ new: GateSamples, _ old: GateSamples) -> [String] {
        Set(new.blocks.map(\.path)).symmetricDifference(old.blocks.map(\.path)).sorted()
    }
}

extension PairedProfile.Samples {
    package init(_ candidate: GateSamples.Layer, _ baseline: GateSamples.Layer) {
        func times(_ layer: GateSamples.Layer) -> [PairedProfile.Times] {
            zip(layer.wall, layer.cpu).map(PairedProfile.Times.init)
        }
        self.init(
            path: candidate.path,
            pairs: zip(times(candidate), times(baseline)).map(PairedProfile.Pair.init))
    }
}

extension GateSamples {
    fileprivate var blocks: [Layer] { layers.filter { ModuleLevel(path: $0.path) == .block } }
}
