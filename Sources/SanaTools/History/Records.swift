import Foundation
import GRDB

/// What a query gives: columns in snake case, properties in camel case.
protocol HistoryColumns: Codable, FetchableRecord, Sendable {
    var quantities: [Double?] { get }
}

extension HistoryColumns {
    static var databaseColumnDecodingStrategy: DatabaseColumnDecodingStrategy {
        .convertFromSnakeCase
    }
}

extension HistoryColumns {
    /// Infinities, which no writer of ours leaves, would break what is computed and drawn of them.
    init(row: Row) throws {
        try row.requireFinite()
        self = try FetchableRecordDecoder().decode(Self.self, from: row)
        guard quantities.allSatisfy({ $0 ?? 0 >= 0 }) else {
            throw DatabaseError(
                resultCode: .SQLITE_CONSTRAINT, message: "a quantity is negative")
        }
    }

    /// Values that cannot be negative.
    var quantities: [Double?] { [] }
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
    var seriesId: Int64
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
    /// See `OpenedModel.architecture`; `nil` in runs of old versions.
    var architecture: String?
    /// How CPU time was measured, see `Series.processClock`.
    let clock: String
    /// Identifies the canary's kernel; `nil` in runs of old versions.
    let canary: String?
    /// Whether the user allowed a golden of other weights.
    let allowed: Bool
    /// See `LayerSet`: errors of layers, and their work.
    var errorSet: Int64?
    var workSet: Int64?
    /// What the roofline allows for products, at most.
    let peakGflops: Double?
    /// Errors of the output in a verification.
    let outputRelativeRms: Double?
    let outputRelativePower: Double?
    /// Median latency of the forward in a profile.
    let totalMedianNs: Double?

    /// Whether later runs may be measured by it: it passed, on a golden of its own weights.
    var isSound: Bool {
        (verdict == nil || verdict == Verdict.pass.rawValue) && problems == nil && !allowed
    }
    /// The same in SQL.
    static let isSoundSQL =
        "(run.verdict IS NULL OR run.verdict = 'pass') AND run.problems IS NULL AND NOT run.allowed"

    var quantities: [Double?] {
        [
            canaryGflops, tolerance, seconds, loadSeconds, int8Gops, readBandwidth, peakGflops,
            outputRelativeRms, outputRelativePower, totalMedianNs, Double(peakRssBytes),
            storedBytes.map(Double.init), Double(threads), Double(batch), Double(height),
            Double(width), Double(captionTokens),
        ]
    }

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
    /// CPU time of the canary and of the forward next to it; `nil` in runs of old versions.
    let canaryCpuNs: Int?
    let modelCpuNs: Int?
    /// See `CoreDistance`; `nil` where it could not be told.
    let coreDistanceNs: Double?

    var quantities: [Double?] {
        [
            canaryGflops, canaryCpuGflops, otherLoad, canaryCpuNs.map(Double.init),
            modelCpuNs.map(Double.init), coreDistanceNs,
        ]
    }
}

/// The arithmetic of one layer of a profile.
struct LayerWorkRow: HistoryRow {
    static let databaseTableName = "layer_work"
    var setId: Int64
    var layerId: Int64
    let kind: String
    let operations: Int
    let bytes: Int

    /// Kinds of matrix products, which a roofline shows.
    static let products: Set = ["Linear", "Conv2d"]
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

/// The samples of one layer of a profile.
struct LatencyRow: HistoryRow {
    static let databaseTableName = "latency"
    var runId: Int64
    var layerId: Int64
    let samples: Int
    let medianNs: Double
    /// See `PackedSamples`.
    let wall: Data
    /// CPU time of all threads meanwhile; `nil` where it is not known of every repetition.
    let cpu: Data?

    /// - Throws: `DatabaseError` for samples that are not latencies.
    init(runId: Int64, layerId: Int64, wall: [Int], cpu: [Int]) throws {
        (self.runId, self.layerId, samples) = (runId, layerId, wall.count)
        medianNs = wall.map(Double.init).median
        self.wall = try PackedSamples.encode(wall)
        self.cpu = cpu.count == wall.count ? try PackedSamples.encode(cpu) : nil
    }

    /// - Throws: `DatabaseError` where samples and what is said of them differ.
    func check() throws {
        let values = try PackedSamples.decode(wall, count: samples).map(Double.init)
        if let cpu { _ = try PackedSamples.decode(cpu, count: samples) }
        guard values.median == medianNs else {
            throw DatabaseError(
                resultCode: .SQLITE_CONSTRAINT, message: "a median is not that of its samples")
        }
    }
}

struct AccuracyRow: HistoryRow {
    static let databaseTableName = "accuracy"
    var setId: Int64
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
