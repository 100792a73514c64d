import Foundation
import GRDB

/// What a query gives: columns in snake case, properties in camel case.
package protocol HistoryColumns: Codable, FetchableRecord, Sendable {
    var quantities: [Double?] { get }
}

extension HistoryColumns {
    package static var databaseColumnDecodingStrategy: DatabaseColumnDecodingStrategy {
        .convertFromSnakeCase
    }
}

extension HistoryColumns {
    /// Infinities, which no writer of ours leaves, would break what is computed and drawn of them.
    package init(row: Row) throws {
        try row.requireFinite()
        self = try FetchableRecordDecoder().decode(Self.self, from: row)
        guard quantities.allSatisfy({ $0 ?? 0 >= 0 }) else {
            throw DatabaseError(
                resultCode: .SQLITE_CONSTRAINT, message: "a quantity is negative")
        }
    }

    /// Values that cannot be negative.
    package var quantities: [Double?] { [] }
}

/// A row of a table.
package protocol HistoryRow: HistoryColumns, MutablePersistableRecord {}

extension HistoryRow {
    package static var databaseColumnEncodingStrategy: DatabaseColumnEncodingStrategy {
        .convertToSnakeCase
    }
}

/// A row with a key that the database gives.
package protocol NumberedRow: HistoryRow {
    var id: Int64? { get set }
}

extension NumberedRow {
    package mutating func didInsert(_ inserted: InsertionSuccess) { id = inserted.rowID }
}

package struct MachineRow: NumberedRow {
    package static let databaseTableName = "machine"
    package var id: Int64?
    package let fingerprint: String
    package let cpu: String
    package let processors: Int
    package let memoryBytes: Int
    package let system: String
    package let instructionSet: String
}

package struct ModelRow: NumberedRow {
    package static let databaseTableName = "model"
    package var id: Int64?
    package let digest: String
    package let dtype: String
    package let name: String
}

package struct RunRow: NumberedRow {
    package static let databaseTableName = "run"
    package var id: Int64?
    package let uuid: String
    package let kind: String
    /// ISO 8601, UTC.
    package let startedAt: String
    package let toolVersion: String
    package let gitCommit: String?
    package var machineId: Int64
    package var modelId: Int64
    package var seriesId: Int64
    package let modelPath: String
    package let reference: String?
    package let threads: Int
    package let compute: String
    package let numerics: String
    package let sizes: RunSizes
    package let canaryGflops: Double?
    package let peakRssBytes: Int
    package let metric: String?
    package let tolerance: Double?
    package let verdict: String?
    package let seconds: Double
    /// The layer that makes a verification fail.
    package let cause: String?
    package let loadSeconds: Double?
    package let storedBytes: Int?
    package let int8Gops: Double?
    package let readBandwidth: Double?
    package let probeOverhead: Double?
    /// What disturbed timing, a sentence a line.
    package let warnings: String?
    /// Why golden and model do not belong together, a line of `kind: message` each.
    package let problems: String?
    /// See `OpenedModel.architecture`; `nil` in runs of old versions.
    package var architecture: String?
    /// How CPU time was measured, see `Series.processClock`.
    package let clock: String
    /// Identifies the canary's kernel; `nil` in runs of old versions.
    package let canary: String?
    /// Whether the user allowed a golden of other weights.
    package let allowed: Bool
    /// See `LayerSet`: errors of layers, and their work.
    package var errorSet: Int64?
    package var workSet: Int64?
    /// What the roofline allows for products, at most.
    package let peakGflops: Double?
    /// Errors of the output in a verification.
    package let outputRelativeRms: Double?
    package let outputRelativePower: Double?
    /// Median latency of the forward in a profile.
    package let totalMedianNs: Double?

    /// Whether it profiled a whole sampling.
    var isOfPipeline: Bool {
        kind == RunRecord.Kind.profile.rawValue
            && reference?.hasPrefix(PipelineProfile.referencePrefix) == true
    }

    /// Whether later runs may be measured by it: it passed, on a golden of its own weights.
    package var isSound: Bool {
        (verdict == nil || verdict == Verdict.pass.rawValue) && problems == nil && !allowed
    }
    /// The same in SQL.
    package static let isSoundSQL =
        "(run.verdict IS NULL OR run.verdict = 'pass') AND run.problems IS NULL AND NOT run.allowed"

    package var quantities: [Double?] {
        [
            canaryGflops, tolerance, seconds, loadSeconds, int8Gops, readBandwidth, peakGflops,
            outputRelativeRms, outputRelativePower, totalMedianNs, Double(peakRssBytes),
            storedBytes.map(Double.init), Double(threads),
        ]
    }

    /// The lines of `problems`.
    package var problemLines: [String] { problems?.split(separator: "\n").map(String.init) ?? [] }
}

/// What the host did at one repetition of a profile.
package struct RepetitionRow: HistoryRow {
    package static let databaseTableName = "repetition"
    package var runId: Int64
    package let repetition: Int
    package let canaryGflops: Double
    /// For a second of processor time.
    package let canaryCpuGflops: Double
    package let otherLoad: Double?
    /// CPU time of the canary and of the forward next to it; `nil` in runs of old versions.
    package let canaryCpuNs: Int?
    package let modelCpuNs: Int?
    /// See `CoreDistance`; `nil` where it could not be told.
    package let coreDistanceNs: Double?

    package var quantities: [Double?] {
        [
            canaryGflops, canaryCpuGflops, otherLoad, canaryCpuNs.map(Double.init),
            modelCpuNs.map(Double.init), coreDistanceNs,
        ]
    }
}

/// The arithmetic of one layer of a profile.
package struct LayerWorkRow: HistoryRow {
    package static let databaseTableName = "layer_work"
    package var setId: Int64
    package var layerId: Int64
    package let kind: String
    package let operations: Int
    package let bytes: Int

    /// Kinds of matrix products, which a roofline shows.
    package static let products: Set = ["Linear", "Conv2d"]
}

/// A run that others are compared with.
package struct BaselineRow: HistoryRow {
    package static let databaseTableName = "baseline"
    package let name: String
    package var runId: Int64
    /// ISO 8601, UTC.
    package let setAt: String
}

package struct LayerRow: NumberedRow {
    package static let databaseTableName = "layer"
    package var id: Int64?
    package let path: String
}

/// The samples of one layer of a profile.
package struct LatencyRow: HistoryRow {
    package static let databaseTableName = "latency"
    package var runId: Int64
    package var layerId: Int64
    package let samples: Int
    package let medianNs: Double
    /// See `PackedSamples`.
    package let wall: Data
    /// CPU time of all threads meanwhile; `nil` where it is not known of every repetition.
    package let cpu: Data?

    /// - Throws: `DatabaseError` for samples that are not latencies.
    package init(runId: Int64, layerId: Int64, wall: [Int], cpu: [Int]) throws {
        (self.runId, self.layerId, samples) = (runId, layerId, wall.count)
        medianNs = wall.map(Double.init).median
        self.wall = try PackedSamples.encode(wall)
        self.cpu = cpu.count == wall.count ? try PackedSamples.encode(cpu) : nil
    }

    /// - Throws: `DatabaseError` where samples and what is said of them differ.
    package func check() throws {
        let values = try PackedSamples.decode(wall, count: samples).map(Double.init)
        if let cpu { _ = try PackedSamples.decode(cpu, count: samples) }
        guard values.median == medianNs else {
            throw DatabaseError(
                resultCode: .SQLITE_CONSTRAINT, message: "a median is not that of its samples")
        }
    }
}

package struct AccuracyRow: HistoryRow {
    package static let databaseTableName = "accuracy"
    package var setId: Int64
    package var layerId: Int64
    /// `nil` where the value is not finite.
    package let relativeRms: Double?
    package let relativePower: Double?
    package let maxAbs: Double?
    package let cosine: Double?
    package let sqnrDb: Double?
    package let nonfinite: Int
    /// Error of the layer on the golden's own input.
    package let ownRelativeRms: Double?
    /// Error that came in with the layer's input.
    package let inheritedRelativeRms: Double?
    package let tolerance: Double
    package let verdict: String
    /// Of the input's error, see `Verification.Layer.Isolated`.
    package let gain: Double?
    /// As in `[0, 12, 3]`.
    package let maxAbsIndex: String?
    package let meanAbs: Double?
    package let p99Abs: Double?
    package let goldenRms: Double?
    package let goldenMaxAbs: Double?
    package let fp16Headroom: Double?
}
