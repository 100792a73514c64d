import Foundation
import SanaModel

/// What one verify or profile run leaves in the history, independent of how it is stored.
package struct RunRecord: Sendable {
    package enum Kind: String, Sendable { case verify, profile, trajectory }

    /// What one layer showed.
    package struct Layer: Sendable {
        package let path: String
        /// Latency of every repetition in nanoseconds; empty for a verification.
        package var samples: [Int] = []
        /// Processor time of each repetition; empty where it is not known.
        package var cpu: [Int] = []
        package var accuracy: Accuracy?
        package var work: Work?
    }

    /// The arithmetic of one layer.
    package struct Work: Sendable {
        package let kind: String
        package let operations: Int
        package let bytes: Int
        /// What the roofline allows.
        package let attainableGFLOPS: Double?

        /// Whether it is a matrix product, which a roofline shows.
        package var isProduct: Bool { LayerWorkRow.products.contains(kind) }
    }

    /// One layer's comparison, see `Comparison`.
    package struct Accuracy: Sendable {
        package let comparison: Comparison
        package let tolerance: Double
        package let passes: Bool
        package var isolated: Verification.Layer.Isolated?
    }

    package let kind: Kind
    package let startedAt: Date
    package let model: String
    package let modelDigest: String
    package let dtype: String
    package var reference: String?
    package let compute: String
    package let numerics: String
    package let sizes: RunSizes
    package let threads: Int
    package var canaryGFLOPS: Double?
    package var metric: String?
    package var tolerance: Double?
    package var verdict: Verdict?
    /// Path of the layer that makes a verification fail.
    package var cause: String?
    /// Why golden and model do not belong together.
    package var problems: [Verification.Problem] = []
    package let seconds: Double
    package let layers: [Layer]
    /// Largest resident memory of the process so far; several models of one command share it.
    package var peakRSSBytes = Machine.peakResidentBytes
    var profile: Profile.Facts?
    package var storedBytes: Int?
    /// See `OpenedModel.architecture`.
    package var architecture: String?
    /// How CPU time was measured.
    package var clock = Series.processClock
    /// Identifies the canary's kernel.
    package var canary: String?
    /// Whether the user allowed a golden of other weights.
    package var allowed = false

    package static func verification(
        _ result: Verification, _ model: LoadedModel, _ sizes: RunSizes, _ workers: WorkerPool
    ) -> RunRecord {
        var record = RunRecord(
            kind: result.sampling == nil ? .verify : .trajectory, startedAt: result.startedAt,
            model: result.model,
            modelDigest: model.sourceDigest, dtype: model.dtype,
            reference: result.reference, compute: result.compute,
            numerics: result.numerics.rawValue,
            sizes: sizes, threads: workers.threadCount, metric: result.metric.rawValue,
            tolerance: result.tolerance, verdict: result.verdict,
            cause: result.cause, seconds: result.seconds,
            layers: result.compared.map {
                Layer(
                    path: $0.path,
                    accuracy: Accuracy(
                        comparison: $0.comparison, tolerance: $0.tolerance, passes: $0.passes,
                        isolated: $0.isolated))
            })
        (record.problems, record.storedBytes) = (result.problems, model.storedBytes)
        (record.architecture, record.allowed) = (model.architecture, result.isStaleAllowed)
        return record
    }

    /// A verification that should have taken place and could not.
    ///
    /// - Parameter model: where it could be read.
    package static func failure(
        _ failure: VerificationBatch.Failure, of reference: VerificationBatch.Reference,
        _ model: LoadedModel?, _ options: Verification.Options, threads: Int
    ) -> RunRecord {
        let kind: Kind = if case .trajectory = reference { .trajectory } else { .verify }
        var record = RunRecord(
            kind: kind, startedAt: failure.date, model: failure.model,
            modelDigest: model?.sourceDigest ?? unknown, dtype: model?.dtype ?? unknown,
            reference: reference.path, compute: model?.compute(options.compute) ?? unknown,
            numerics: options.numerics.rawValue,
            sizes: RunSizes([:]), threads: threads,
            verdict: .fail, seconds: 0, layers: [])
        record.problems = [
            .init(
                kind: failure.error.category == .noInput ? .absent : .unreadable,
                message: failure.error.description)
        ]
        return record
    }

    /// Stands for what only a model that can be read tells.
    package static let unknown = "unknown"

    private static func total(
        _ timing: Timing, _ repetitions: [Profile.Repetition]
    ) -> Layer {
        Layer(
            path: Profile.totalPath, samples: timing.samples,
            cpu: repetitions.map(\.cpuNanoseconds))
    }

    /// - Parameter other: model whose forwards took turns with it; such runs are a series of their
    ///   own.
    package static func profile(
        _ result: Profile, _ model: LoadedModel, _ workers: WorkerPool,
        against other: String? = nil
    ) -> RunRecord {
        var record = RunRecord(
            kind: .profile, startedAt: result.startedAt, model: result.model,
            modelDigest: model.sourceDigest,
            dtype: model.dtype, reference: other,
            compute: result.compute, numerics: result.numerics.rawValue, sizes: result.sizes,
            threads: workers.threadCount, canaryGFLOPS: result.canaryGFLOPS,
            seconds: result.seconds,
            layers: [total(result.total, result.repetitions)]
                + result.layers.map { layer in
                    Layer(
                        path: layer.module.path, samples: layer.timing.samples, cpu: layer.cpu,
                        work: Work(
                            kind: layer.module.kind, operations: layer.module.operations,
                            bytes: layer.bytes, attainableGFLOPS: result.attainable(layer)))
                })
        record.peakRSSBytes = result.peakRSSBytes
        record.profile = Profile.Facts(
            loadSeconds: result.loadSeconds, repetitions: result.repetitions,
            warnings: result.warnings, peaks: result.peaks, probeOverhead: result.probeOverhead)
        record.storedBytes = result.storedBytes
        record.architecture = model.architecture
        (record.clock, record.canary) = (Profile.clock, HostCanary.identity)
        return record
    }

    package static func profile(_ result: PipelineProfile) -> RunRecord {
        var record = RunRecord(
            kind: .profile, startedAt: result.startedAt, model: result.model,
            modelDigest: result.identity.digest, dtype: result.identity.dtype,
            reference: PipelineProfile.reference(result.request), compute: result.compute,
            numerics: result.numerics.rawValue, sizes: result.sizes, threads: result.threads,
            seconds: result.seconds,
            layers: [total(result.total, result.repetitions)]
                + result.parts.map {
                    Layer(path: $0.path, samples: $0.timing.samples, cpu: $0.cpu)
                })
        record.peakRSSBytes = result.peakRSSBytes
        record.profile = Profile.Facts(
            loadSeconds: result.loadSeconds, repetitions: result.repetitions,
            warnings: result.warnings)
        record.storedBytes = result.identity.storedBytes
        record.architecture = result.identity.architecture
        (record.clock, record.canary) = (Profile.clock, HostCanary.identity)
        return record
    }
}
