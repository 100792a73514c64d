import Foundation
import SanaModel

/// What one verify or profile run leaves in the history, independent of how it is stored.
struct RunRecord: Sendable {
    enum Kind: String, Sendable { case verify, profile }

    /// What one layer showed.
    struct Layer: Sendable {
        let path: String
        /// Latency of every repetition in nanoseconds; empty for a verification.
        var samples: [Int] = []
        var accuracy: Accuracy?
    }

    /// One layer's comparison, see `Comparison`.
    struct Accuracy: Sendable {
        let comparison: Comparison
        let tolerance: Double
        let passes: Bool
    }

    let kind: Kind
    let startedAt: Date
    let model: String
    let modelDigest: String
    let dtype: String
    var reference: String?
    let compute: String
    let numerics: String
    let sizes: RunSizes
    let threads: Int
    var canaryGFLOPS: Double?
    var metric: String?
    var tolerance: Double?
    var verdict: String?
    let seconds: Double
    let layers: [Layer]
    /// Largest resident memory of the process so far; several models of one command share it.
    let peakRSSBytes = Machine.peakResidentBytes

    static func verification(
        _ result: Verification, _ model: LoadedModel, _ inputs: SanaInputs, _ workers: WorkerPool
    ) -> RunRecord {
        RunRecord(
            kind: .verify, startedAt: result.startedAt, model: result.model,
            modelDigest: model.sourceDigest, dtype: model.dtype,
            reference: result.reference, compute: result.compute,
            numerics: result.numerics.rawValue,
            sizes: RunSizes(inputs), threads: workers.threadCount, metric: result.metric.rawValue,
            tolerance: result.tolerance, verdict: result.verdict, seconds: result.seconds,
            layers: (result.layers + [result.output].compactMap { $0 }).map {
                Layer(
                    path: $0.path,
                    accuracy: Accuracy(
                        comparison: $0.comparison, tolerance: $0.tolerance, passes: $0.passes))
            })
    }

    static func profile(
        _ result: Profile, _ model: LoadedModel, _ inputs: SanaInputs, _ workers: WorkerPool
    ) -> RunRecord {
        RunRecord(
            kind: .profile, startedAt: result.startedAt, model: result.model,
            modelDigest: model.sourceDigest,
            dtype: model.dtype,
            compute: result.compute, numerics: result.numerics.rawValue, sizes: RunSizes(inputs),
            threads: workers.threadCount, canaryGFLOPS: result.canaryGFLOPS,
            seconds: result.seconds,
            layers: [Layer(path: Profile.totalPath, samples: result.total.samples)]
                + result.layers.map { Layer(path: $0.module.path, samples: $0.timing.samples) })
    }
}

/// Sizes of a forward.
struct RunSizes: Sendable, Equatable {
    let batch: Int
    /// Rows of the latent.
    let height: Int
    /// Columns of the latent.
    let width: Int
    let captionTokens: Int

    init(batch: Int, height: Int, width: Int, captionTokens: Int) {
        (self.batch, self.height, self.width, self.captionTokens) =
            (batch, height, width, captionTokens)
    }

    init(_ inputs: SanaInputs) {
        let latent = inputs.hiddenStates.shape
        self.init(
            batch: latent[0], height: latent[2], width: latent[3],
            captionTokens: inputs.encoderHiddenStates.shape[1])
    }
}
