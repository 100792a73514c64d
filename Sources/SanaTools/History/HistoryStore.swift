import Foundation
import GRDB
import SanaModel

/// The SQLite database of all runs.
///
/// Write-ahead logging and a busy timeout let several processes write; each run is one transaction,
/// so a run that dies leaves nothing.
struct HistoryStore: Sendable {
    let path: String
    let queue: DatabaseQueue

    /// Opens the database, making it and its folder when asked to.
    ///
    /// - Throws: `HistoryError`, `FileError`.
    init(path: String, creating: Bool) throws {
        self.path = path
        if creating {
            do {
                try FileManager.default.createFolder(path.parentFolder)
            } catch let error as FileError {
                throw HistoryError.cannotWrite(path, reason: error.description)
            }
        } else if !path.pathExists {
            throw HistoryError.absent(path)
        }
        // A folder, pipe or device is told as such; SQLite would wait for a pipe.
        if path.pathExists { _ = try ByteView(mapping: path) }
        var configuration = Configuration()
        configuration.busyMode = .timeout(30)
        configuration.foreignKeysEnabled = true
        configuration.readonly = !creating
        if creating { configuration.journalMode = .wal }
        let migrator = Schema.migrator
        do {
            let file = try DatabaseQueue(path: path, configuration: configuration)
            try file.read { db in
                guard try !migrator.hasBeenSuperseded(db) else {
                    throw HistoryError.newerSchema(path)
                }
                // Never write into, or read from, a database that is somebody else's.
                let tables = try String.fetchAll(
                    db, sql: "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
                let isNew = creating && tables.isEmpty
                guard try isNew || !migrator.appliedMigrations(db).isEmpty else {
                    throw HistoryError.notDatabase(path, reason: "it is no history of sana-tools")
                }
            }
            if creating { try migrator.migrate(file) }
            queue = try file.read(migrator.hasCompletedMigrations) ? file : Self.migratedCopy(file)
        } catch let error as DatabaseError {
            throw HistoryError(error, path)
        }
    }

    /// The content of a file of an older schema that is only to be read, brought up to date in memory.
    private static func migratedCopy(_ file: DatabaseQueue) throws -> DatabaseQueue {
        let copy = try DatabaseQueue()
        try file.backup(to: copy)
        try Schema.migrator.migrate(copy)
        return copy
    }

    /// Stores a run with all its layers.
    ///
    /// - Returns: its number.
    /// - Throws: `HistoryError`.
    @discardableResult
    func record(_ record: RunRecord) throws -> Int64 {
        try translatingErrors {
            try queue.write { db in
                let machine = try Self.machine(.current, db)
                let model = try Self.find(
                    ModelRow.filter(
                        Column("digest") == record.modelDigest && Column("dtype") == record.dtype),
                    orInsert: ModelRow(
                        digest: record.modelDigest, dtype: record.dtype,
                        name: record.model.lastPathComponent), db)
                var run = RunRow(record, machine: machine, model: model)
                try run.insert(db)
                let runID = db.lastInsertedRowID
                for (index, item) in (record.profile?.repetitions ?? []).enumerated() {
                    var row = RepetitionRow(
                        runId: runID, repetition: index, canaryGflops: item.canaryGFLOPS,
                        canaryCpuGflops: item.canaryCPUGFLOPS, otherLoad: item.otherLoad)
                    try row.insert(db)
                }
                for layer in record.layers {
                    let layerID = try Self.find(
                        LayerRow.filter(Column("path") == layer.path),
                        orInsert: LayerRow(path: layer.path), db)
                    for (repetition, ns) in layer.samples.enumerated() {
                        var row = LatencySampleRow(
                            runId: runID, layerId: layerID, repetition: repetition, ns: ns,
                            cpuNs: repetition < layer.cpu.count ? layer.cpu[repetition] : nil)
                        try row.insert(db)
                    }
                    if let work = layer.work {
                        var row = LayerWorkRow(
                            runId: runID, layerId: layerID, kind: work.kind,
                            operations: work.operations, bytes: work.bytes,
                            attainableGflops: work.attainableGFLOPS)
                        try row.insert(db)
                    }
                    if let accuracy = layer.accuracy {
                        var row = AccuracyRow(accuracy, run: runID, layer: layerID)
                        try row.insert(db)
                    }
                }
                return runID
            }
        }
    }

    /// The newest runs, newest first.
    func runs(limit: Int) throws -> [RunSummary] {
        try translatingErrors {
            try queue.read { db in
                try RunSummary.fetchAll(
                    db, sql: RunSummary.sql + " ORDER BY run.id DESC LIMIT ?", arguments: [limit])
            }
        }
    }

    /// A run by its number, or the newest where `id` is `nil`.
    ///
    /// - Throws: `HistoryError.noSuchRun`.
    func run(_ id: Int64?) throws -> (RunSummary, [LayerResult]) {
        try translatingErrors {
            try queue.read { db in
                let run = try RunSummary.fetchOne(
                    db,
                    sql: RunSummary.sql
                        + " WHERE run.id = COALESCE(?, (SELECT MAX(id) FROM run))", arguments: [id])
                guard let run else { throw HistoryError.noSuchRun(path, id) }
                let layers = try LayerResult.fetchAll(
                    db,
                    sql: """
                        SELECT path, samples, median_ns, relative_rms, relative_power, max_abs, cosine, sqnr_db,
                            own_relative_rms, inherited_relative_rms, tolerance, layer_result.verdict
                        FROM layer_result JOIN layer USING (path) WHERE run_id = ? ORDER BY layer.id
                        """, arguments: [run.joined.id])
                return (run, layers)
            }
        }
    }

    func translatingErrors<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as DatabaseError {
            throw HistoryError(error, path)
        } catch let error as any DiagnosticError {
            throw error
        } catch {
            // A row whose values are not of the schema's types.
            throw HistoryError.notDatabase(path, reason: "\(error)".printable)
        }
    }

    private static func machine(_ machine: Machine, _ db: Database) throws -> Int64 {
        try find(
            MachineRow.filter(Column("fingerprint") == machine.fingerprint),
            orInsert: MachineRow(
                fingerprint: machine.fingerprint, cpu: machine.cpu, processors: machine.processors,
                memoryBytes: machine.memoryBytes, system: machine.system,
                instructionSet: machine.instructionSet), db)
    }

    /// The key of the row that `request` finds, or of `row` once it is inserted.
    static func find<Row: NumberedRow>(
        _ request: QueryInterfaceRequest<Row>, orInsert row: Row, _ db: Database
    ) throws -> Int64 {
        if let found = try request.fetchOne(db)?.id { return found }
        var row = row
        try row.insert(db)
        return db.lastInsertedRowID
    }
}

extension RunRow {
    fileprivate init(_ record: RunRecord, machine: Int64, model: Int64) {
        self.init(
            uuid: UUID().uuidString.lowercased(), kind: record.kind.rawValue,
            startedAt: record.startedAt.formatted(.iso8601), toolVersion: SanaToolsCommand.version,
            gitCommit: GitCommit.current, machineId: machine, modelId: model,
            modelPath: record.model, reference: record.reference, threads: record.threads,
            compute: record.compute, numerics: record.numerics, batch: record.sizes.batch,
            height: record.sizes.height, width: record.sizes.width,
            captionTokens: record.sizes.captionTokens, canaryGflops: record.canaryGFLOPS,
            peakRssBytes: record.peakRSSBytes, metric: record.metric, tolerance: record.tolerance,
            verdict: record.verdict?.rawValue, seconds: record.seconds, cause: record.cause,
            loadSeconds: record.profile?.loadSeconds, storedBytes: record.storedBytes,
            int8Gops: record.profile?.peaks.int8GOPS,
            readBandwidth: record.profile?.peaks.readBandwidth,
            probeOverhead: record.profile?.probeOverhead,
            warnings: record.profile?.warnings.joined(separator: "\n"),
            problems: record.problems.isEmpty
                ? nil : record.problems.map(\.line).joined(separator: "\n"))
    }
}

extension AccuracyRow {
    fileprivate init(_ accuracy: RunRecord.Accuracy, run: Int64, layer: Int64) {
        func finite(_ value: Double?) -> Double? { value.flatMap { $0.isFinite ? $0 : nil } }
        let comparison = accuracy.comparison
        self.init(
            runId: run, layerId: layer, relativeRms: finite(comparison.relativeRMS),
            relativePower: finite(comparison.relativePower), maxAbs: finite(comparison.maxAbs),
            cosine: finite(comparison.cosine), sqnrDb: finite(comparison.sqnrDecibels),
            nonfinite: comparison.nonfinite, ownRelativeRms: finite(accuracy.isolated?.own),
            inheritedRelativeRms: finite(accuracy.isolated?.inherited),
            tolerance: accuracy.tolerance, verdict: accuracy.passes ? "pass" : "fail",
            gain: accuracy.isolated?.gain, maxAbsIndex: "\(comparison.maxAbsIndex)",
            meanAbs: finite(comparison.meanAbs), p99Abs: finite(comparison.p99Abs),
            goldenRms: finite(comparison.goldenRMS),
            goldenMaxAbs: finite(comparison.goldenMaxAbs),
            fp16Headroom: finite(comparison.fp16Headroom))
    }
}

/// A run as lists show it: its row, and what other tables know of it.
struct RunSummary: FetchableRecord, Sendable {
    let run: RunRow
    let joined: Joined

    /// Columns of other tables.
    struct Joined: HistoryColumns {
        /// Number of the run.
        let id: Int64
        let dtype: String
        let digest: String
        /// Fingerprint of the machine.
        let machine: String
        /// Errors of the output in a verification.
        let outputRelativeRms: Double?
        let outputRelativePower: Double?
        /// Median latency of the forward in a profile.
        let totalMedianNs: Double?
    }

    init(row: Row) throws {
        run = try RunRow(row: row)
        joined = try Joined(row: row)
    }

    static let sql = """
        SELECT run.*, model.dtype, model.digest, machine.fingerprint AS machine,
            output.relative_rms AS output_relative_rms,
            output.relative_power AS output_relative_power, total.median_ns AS total_median_ns
        FROM run JOIN model ON model.id = run.model_id JOIN machine ON machine.id = run.machine_id
        LEFT JOIN layer_result AS output
            ON output.run_id = run.id AND output.path = '\(Golden.outputPath)'
        LEFT JOIN layer_result AS total
            ON total.run_id = run.id AND total.path = '\(Profile.totalPath)'
        """
}

/// A row of the view `layer_result`.
struct LayerResult: HistoryColumns {
    let path: String
    let samples: Int?
    let medianNs: Double?
    let relativeRms: Double?
    let relativePower: Double?
    let maxAbs: Double?
    let cosine: Double?
    let sqnrDb: Double?
    let ownRelativeRms: Double?
    let inheritedRelativeRms: Double?
    let tolerance: Double?
    let verdict: String?
}

/// Trouble with the history's database.
enum HistoryError: DiagnosticError {
    case newerSchema(String)
    case notDatabase(String, reason: String)
    case cannotWrite(String, reason: String)
    case failed(String, reason: String)
    case noSuchRun(String, Int64?)
    case absent(String)
    case noSuchBaseline(String, String)

    init(_ error: DatabaseError, _ path: String) {
        let reason = error.message ?? "SQLite error \(error.resultCode.rawValue)"
        self =
            switch error.resultCode {
            case .SQLITE_NOTADB, .SQLITE_CORRUPT, .SQLITE_ERROR, .SQLITE_CONSTRAINT:
                .notDatabase(path, reason: reason)
            case .SQLITE_CANTOPEN, .SQLITE_READONLY, .SQLITE_PERM:
                .cannotWrite(path, reason: reason)
            default: .failed(path, reason: reason)
            }
    }

    var category: DiagnosticCategory {
        switch self {
        case .newerSchema, .notDatabase: .badData
        case .cannotWrite: .cannotCreate
        case .failed: .inputOutput
        case .noSuchRun, .noSuchBaseline, .absent: .noInput
        }
    }

    var description: String {
        switch self {
        case .absent(let path): "\(path.printable): no history here yet"
        case .newerSchema(let path):
            "\(path.printable): history was written by a newer sana-tools"
        case .noSuchBaseline(let path, let name):
            "\(path.printable): no baseline '\(name.printable)'"
        case .notDatabase(let path, let reason):
            "\(path.printable): not a usable history database: \(reason.printable)"
        case .cannotWrite(let path, let reason):
            "\(path.printable): cannot write the history: \(reason.printable)"
        case .failed(let path, let reason): "\(path.printable): \(reason.printable)"
        case .noSuchRun(let path, let id):
            "\(path.printable): " + (id.map { "no run \($0)" } ?? "no run recorded yet")
        }
    }

    var remedy: String? {
        switch self {
        case .newerSchema: "update sana-tools, or choose another file with --db"
        case .notDatabase: "restore the file from a backup, or choose another one with --db"
        case .cannotWrite:
            "choose another file with --db, or leave the run unrecorded with --no-record"
        case .failed: nil
        case .noSuchBaseline: "'sana-tools history baseline list' shows them"
        case .absent:
            "'sana-tools verify' and 'profile' record their runs there; name another with --db"
        case .noSuchRun: "'sana-tools history list' shows the runs"
        }
    }
}
