import Foundation
import GRDB
import SanaModel

/// The SQLite database of all runs.
///
/// A busy timeout lets several processes write; each run is one transaction, so a run that dies
/// leaves nothing. Reading writes no file, whoever the database is of and wherever it is.
package struct HistoryStore: Sendable {
    /// The default path of a history.
    package static let defaultPath = "reports/sana-tools.sqlite"

    package let path: String
    package let queue: DatabaseQueue
    private let isWritable: Bool

    /// Opens the database, making it and its folder when asked to.
    ///
    /// - Throws: `HistoryError`, `FileError`.
    package init(path: String, creating: Bool) throws {
        (self.path, isWritable) = (path, creating)
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
        queue = try Self.translating(path, isWriting: creating) {
            try creating ? HistoryFile.writable(path) : HistoryFile.readable(path)
        }
    }

    /// A checked copy of all rows of a file that is only read, see `HistoryFile.staged`.
    ///
    /// - Throws: `HistoryError`, `FileError`.
    package init(copying path: String) throws {
        (self.path, isWritable) = (path, false)
        _ = try ByteView(mapping: path)
        queue = try Self.translating(path, isWriting: false) { try HistoryFile.staged(path) }
    }

    /// The newest runs, newest first.
    package func runs(limit: Int) throws -> [RunSummary] {
        try reading {
            try RunSummary.fetchAll(
                $0, sql: RunSummary.sql + " ORDER BY run.id DESC LIMIT ?", arguments: [limit])
        }
    }

    /// A run by its number, or the newest where `id` is `nil`.
    ///
    /// - Throws: `HistoryError.noSuchRun`.
    package func run(_ id: Int64?) throws -> (RunSummary, [LayerResult]) {
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

    package func reading<Result>(_ body: (Database) throws -> Result) throws -> Result {
        try translatingErrors { try queue.read(body) }
    }

    /// Runs `body` in a transaction.
    package func writing<Result>(_ body: (Database) throws -> Result) throws -> Result {
        guard isWritable else {
            throw HistoryError.cannotWrite(path, reason: "it was opened read-only")
        }
        return try translatingErrors { try queue.write(body) }
    }

    package func translatingErrors<Result>(_ body: () throws -> Result) throws -> Result {
        try Self.translating(path, isWriting: isWritable, body)
    }

    private static func translating<Result>(
        _ path: String, isWriting: Bool, _ body: () throws -> Result
    ) throws -> Result {
        do {
            return try body()
        } catch let error as DatabaseError {
            throw HistoryError(error, path, isWriting: isWriting)
        } catch let error as any DiagnosticError {
            throw error
        } catch let failure as SchemaCheck.Failure {
            throw HistoryError.notDatabase(path, reason: failure.reason)
        } catch is SchemaCheck.IsNewer {
            throw HistoryError.newerSchema(path)
        } catch {
            // A row whose values are not of the schema's types.
            throw HistoryError.notDatabase(path, reason: "\(error)".printable)
        }
    }

    /// The key of the row that `request` finds, or of `row` once it is inserted.
    package static func find<Row: NumberedRow>(
        _ request: QueryInterfaceRequest<Row>, orInsert row: Row, _ db: Database
    ) throws -> Int64 {
        if let found = try request.fetchOne(db)?.id { return found }
        var row = row
        try row.insert(db)
        return db.lastInsertedRowID
    }
}
