import Foundation
import GRDB

/// What a query gives: columns in snake case, properties in camel case.
protocol HistoryColumns: Codable, FetchableRecord, Sendable {}

extension HistoryColumns {
    static var databaseColumnDecodingStrategy: DatabaseColumnDecodingStrategy {
        .convertFromSnakeCase
    }
}

/// A row of a table.
protocol HistoryRow: HistoryColumns, MutablePersistableRecord {}

extension HistoryRow {
    static var databaseColumnEncodingStrategy: DatabaseColumnEncodingStrategy {
        .convertToSnakeCase
    }
}

/// A row with a key that the database gives.
protocol NumberedRow: HistoryRow {
    var id: Int64? { get set }
}

extension NumberedRow {
    mutating func didInsert(_ inserted: InsertionSuccess) { id = inserted.rowID }
}

struct MachineRow: NumberedRow {
    static let databaseTableName = "machine"
    var id: Int64?
    let fingerprint: String
    let cpu: String
    let processors: Int
    let memoryBytes: Int
    let system: String
    let instructionSet: String
}

struct ModelRow: NumberedRow {
    static let databaseTableName = "model"
    var id: Int64?
    let digest: String
    let dtype: String
    let name: String
}

struct RunRow: NumberedRow {
    static let databaseTableName = "run"
    var id: Int64?
    let uuid: String
    let kind: String
    /// ISO 8601, UTC.
    let startedAt: String
    let toolVersion: String
    let gitCommit: String?
    var machineId: Int64
    var modelId: Int64
    let modelPath: String
    let reference: String?
    let threads: Int
    let compute: String
    let numerics: String
    let batch: Int
    let height: Int
    let width: Int
    let captionTokens: Int
    let canaryGflops: Double?
    let peakRssBytes: Int
    let metric: String?
    let tolerance: Double?
    let verdict: String?
    let seconds: Double
    /// The layer that makes a verification fail.
    let cause: String?
    let loadSeconds: Double?
    let storedBytes: Int?
    let int8Gops: Double?
    let readBandwidth: Double?
    let probeOverhead: Double?
    /// What disturbed timing, a sentence a line.
    let warnings: String?
    /// Why golden and model do not belong together, a line of `kind: message` each.
    let problems: String?

    /// The lines of `problems`.
    var problemLines: [String] { problems?.split(separator: "\n").map(String.init) ?? [] }
}

/// What the host did at one repetition of a profile.
struct RepetitionRow: HistoryRow {
    static let databaseTableName = "repetition"
    var runId: Int64
    let repetition: Int
    let canaryGflops: Double
    /// For a second of processor time.
    let canaryCpuGflops: Double
    let otherLoad: Double?
}

/// The arithmetic of one layer of a profile.
struct LayerWorkRow: HistoryRow {
    static let databaseTableName = "layer_work"
    var runId: Int64
    var layerId: Int64
    let kind: String
    let operations: Int
    let bytes: Int
    let attainableGflops: Double?
}

/// A run that others are compared with.
struct BaselineRow: HistoryRow {
    static let databaseTableName = "baseline"
    let name: String
    var runId: Int64
    /// ISO 8601, UTC.
    let setAt: String
}

struct LayerRow: NumberedRow {
    static let databaseTableName = "layer"
    var id: Int64?
    let path: String
}

struct LatencySampleRow: HistoryRow {
    static let databaseTableName = "latency_sample"
    var runId: Int64
    var layerId: Int64
    let repetition: Int
    let ns: Int
    /// Processor time of all threads meanwhile.
    let cpuNs: Int?
}

struct AccuracyRow: HistoryRow {
    static let databaseTableName = "accuracy"
    var runId: Int64
    var layerId: Int64
    /// `nil` where the value is not finite.
    let relativeRms: Double?
    let relativePower: Double?
    let maxAbs: Double?
    let cosine: Double?
    let sqnrDb: Double?
    let nonfinite: Int
    /// Error of the layer on the golden's own input.
    let ownRelativeRms: Double?
    /// Error that came in with the layer's input.
    let inheritedRelativeRms: Double?
    let tolerance: Double
    let verdict: String
    /// Of the input's error, see `Verification.Layer.Isolated`.
    let gain: Double?
    /// As in `[0, 12, 3]`.
    let maxAbsIndex: String?
    let meanAbs: Double?
    let p99Abs: Double?
    let goldenRms: Double?
    let goldenMaxAbs: Double?
    let fp16Headroom: Double?
}
