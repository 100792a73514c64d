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
        do {
            let file = try DatabaseQueue(path: path, configuration: configuration)
            let isCurrent = try file.read { db in
                let version = try Schema.version(db)
                if version == .newer { throw HistoryError.newerSchema(path) }
                // Never write into, or read from, a database that is somebody else's.
                let tables = try String.fetchAll(
                    db, sql: "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
                let isNew = creating && tables.isEmpty
                guard version != .foreign, isNew || version != .known(0) else {
                    throw HistoryError.notDatabase(path, reason: "it is no history of sana-tools")
                }
                return version == .known(Schema.migrations.count)
            }
            if creating { try file.writeWithoutTransaction { try Schema.migrate($0) } }
            queue = creating || isCurrent ? file : try Self.migratedCopy(file)
        } catch let error as DatabaseError {
            throw HistoryError(error, path)
        }
    }

    /// The content of a file of an older schema that is only to be read, brought up to date in memory.
    private static func migratedCopy(_ file: DatabaseQueue) throws -> DatabaseQueue {
        let copy = try DatabaseQueue()
        try file.backup(to: copy)
        try copy.writeWithoutTransaction { try Schema.migrate($0) }
        return copy
    }

    /// The newest runs, newest first.
    func runs(limit: Int) throws -> [RunSummary] {
        try reading {
            try RunSummary.fetchAll(
                $0, sql: RunSummary.sql + " ORDER BY run.id DESC LIMIT ?", arguments: [limit])
        }
    }

    /// A run by its number, or the newest where `id` is `nil`.
    ///
    /// - Throws: `HistoryError.noSuchRun`.
    func run(_ id: Int64?) throws -> (RunSummary, [LayerResult]) {
        try reading { db in
            let run = try RunSummary.fetchOne(
                db,
                sql: RunSummary.sql + " WHERE run.id = COALESCE(?, (SELECT MAX(id) FROM run))",
                arguments: [id])
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

    func reading<Result>(_ body: (Database) throws -> Result) throws -> Result {
        try translatingErrors { try queue.read(body) }
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
