import CSQLiteGuard
import Foundation
import GRDB
import Libc
import SanaModel

/// Opens untrusted files: nothing in them runs, and nothing next to them is touched.
package enum HistoryFile {
    /// Opens a history to add to it, which is made or brought up to date where it must be.
    ///
    /// Databases have a rollback journal, so that reading needs no file beside them.
    package static func writable(_ path: String) throws -> DatabaseQueue {
        try refuseJournalOfSeveralFiles(path)
        let file = try DatabaseQueue(path: path, configuration: configuration())
        try file.writeWithoutTransaction { db in
            // Fails where another process has the file open, and is tried again by the next run.
            if isWriteAhead(path) { try? db.execute(sql: "PRAGMA journal_mode = DELETE") }
            let check = try checkAtOnce(db)
            switch check.version {
            case Schema.migrations.count:
                guard check.isOurs else {
                    throw SchemaCheck.Failure(reason: "its tables are not those of sana-tools")
                }
            case 0: try Schema.migrate(db)
            default:
                try Schema.migrate(db)
                // The old tables' room; a failure leaves the file as it is, only larger.
                try? vacuum(db)
            }
        }
        return file
    }

    /// The schema at one moment: another process may be bringing it up to date.
    private static func checkAtOnce(_ db: Database) throws -> SchemaCheck {
        try db.execute(sql: "BEGIN DEFERRED")
        defer { try? db.execute(sql: "COMMIT") }
        return try SchemaCheck(db)
    }

    /// Opens a history to read it: in place where its tables are ours to the letter, else as a copy
    /// of its rows in our own tables.
    package static func readable(_ path: String) throws -> DatabaseQueue {
        let file = try source(path)
        let check = try file.read { try SchemaCheck($0) }
        if check.isOurs {
            if size(path) <= mostChecked { try checkPages(of: file, check.version) }
            return file
        }
        try checkPages(of: file, check.version)
        return try stage(file, check.version, path)
    }

    /// A copy of all rows of a history in tables of our own, whose checks they have passed.
    package static func staged(_ path: String) throws -> DatabaseQueue {
        let file = try source(path)
        let version = try file.read { try SchemaCheck($0).version }
        try checkPages(of: file, version)
        return try stage(file, version, path)
    }

    /// Gives unused room back.
    package static func vacuum(_ db: Database) throws {
        sqlite_guard_allow_vacuum(db.sqliteConnection, 1)
        defer { sqlite_guard_allow_vacuum(db.sqliteConnection, 0) }
        try db.execute(sql: "VACUUM")
    }

    private static func configuration(isReadOnly: Bool = false, operations: Int32? = nil)
        -> Configuration
    {
        var configuration = Configuration()
        configuration.busyMode = .timeout(60)
        configuration.foreignKeysEnabled = true
        configuration.readonly = isReadOnly
        configuration.prepareDatabase { db in
            sqlite_guard(db.sqliteConnection)
            if let operations { sqlite_guard_operations(db.sqliteConnection, operations) }
        }
        return configuration
    }

    /// What a statement that reads a file may take, a second for each MB: a damaged file may lead
    /// round in circles.
    private static func operations(_ path: String) -> Int32 {
        Int32(clamping: 50_000_000 * (1 + size(path) >> 20))
    }

    private static func size(_ path: String) -> Int {
        (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) ?? 0
    }

    /// A connection to read from: to the file, or to a private copy where reading it in place would
    /// take writing beside it.
    private static func source(_ path: String) throws -> DatabaseQueue {
        try refuseJournalOfSeveralFiles(path)
        guard !isWriteAhead(path) else { return try privateCopy(path) }
        do {
            let file = try DatabaseQueue(
                path: path,
                configuration: configuration(isReadOnly: true, operations: operations(path)))
            _ = try file.read { try SchemaCheck($0) }
            return file
        } catch let error as DatabaseError
            where [.SQLITE_READONLY, .SQLITE_CANTOPEN].contains(error.resultCode)
            && size(path + "-journal") > 0
        {
            // A writer died: what it began must be undone, which is not ours to do in place.
            return try privateCopy(path)
        }
    }

    /// Bytes of a history whose pages are checked before it is read in place. Reading a larger one
    /// must not take longer the older it is; the limit on operations ends what leads round in
    /// circles there.
    private static let mostChecked = 8 << 20

    /// Checks that each page of the tables is part of one table once: a page that two lead to gives
    /// rows without end, and a value that takes more memory than the file.
    private static func checkPages(of file: DatabaseQueue, _ version: Int) throws {
        guard version > 0 else { return }
        try file.read { db in
            // Their constraints are expressions of theirs.
            try db.execute(sql: "PRAGMA ignore_check_constraints = ON")
            for table in try SchemaCheck.reference(version).columns.keys.sorted() {
                let answer = try String.fetchOne(db, sql: "PRAGMA quick_check(\"\(table)\")")
                guard answer == "ok" else {
                    throw SchemaCheck.Failure(reason: "table '\(table)' is damaged")
                }
            }
        }
    }

    private static func privateCopy(_ path: String) throws -> DatabaseQueue {
        let temporary = FileManager.default.temporaryDirectory.path
        let folder = temporary.appendingPath("sana-tools-" + UUID().uuidString)
        guard mkdir(folder, 0o700) == 0 else {
            throw HistoryError.cannotCopy(path, to: temporary, code: errno)
        }
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let copy = folder.appendingPath("history")
        let endings = ["", "-wal", "-journal"]
        func state() -> [[String]] {
            endings.map { ending in
                let values = try? FileManager.default.attributesOfItem(atPath: path + ending)
                return ["\(values?[.size] ?? 0)", "\(values?[.modificationDate] ?? 0)"]
            }
        }
        for _ in 0..<5 {
            let before = state()
            for ending in endings {
                try? FileManager.default.removeItem(atPath: copy + ending)
                guard size(path + ending) > 0 else { continue }
                let content = try ByteView(mapping: path + ending)
                do {
                    try content.withUnsafeBytes {
                        try Data($0).write(to: URL(filePath: copy + ending))
                    }
                } catch let error as CocoaError {
                    throw HistoryError.cannotCopy(path, to: temporary, code: error.systemCode)
                }
            }
            if state() == before { break }
        }
        let file = try DatabaseQueue(
            path: copy, configuration: configuration(operations: operations(path)))
        try file.writeWithoutTransaction { try $0.execute(sql: "PRAGMA journal_mode = DELETE") }
        let result = try DatabaseQueue(
            path: "", configuration: configuration(operations: operations(path)))
        try file.backup(to: result)
        return result
    }

    /// Copies the rows of every table of the version that the file has into tables that our own
    /// statements made, then brings those up to date.
    private static func stage(
        _ file: DatabaseQueue, _ version: Int, _ path: String
    ) throws -> DatabaseQueue {
        let copy = try DatabaseQueue(
            path: "", configuration: configuration(operations: operations(path)))
        try file.read { theirs in
            try copy.writeWithoutTransaction { ours in
                try Schema.migrate(ours, upTo: version)
                try ours.execute(sql: "PRAGMA foreign_keys = OFF")
                try ours.inTransaction(.immediate) {
                    for table in try SchemaCheck.reference(version).columns {
                        try copyRows(of: table.key, table.value, from: theirs, to: ours)
                    }
                    try ours.checkForeignKeys()
                    return .commit
                }
                try ours.execute(sql: "PRAGMA foreign_keys = ON")
                try Schema.migrate(ours)
            }
        }
        return copy
    }

    private static func copyRows(
        of table: String, _ columns: [String], from theirs: Database, to ours: Database
    ) throws {
        guard table != Schema.migrationTable else { return }
        let names = columns.map { "\"\($0)\"" }.joined(separator: ", ")
        let places = columns.map { _ in "?" }.joined(separator: ", ")
        let insert = try ours.makeStatement(
            sql: "INSERT INTO \"\(table)\" (\(names)) VALUES (\(places))")
        let rows = try Row.fetchCursor(theirs, sql: "SELECT \(names) FROM \"\(table)\"")
        while let row = try rows.next() {
            try insert.execute(arguments: StatementArguments(row.databaseValues))
        }
    }

    /// Whether a file says that it has a write-ahead log, as those of old versions do.
    private static func isWriteAhead(_ path: String) -> Bool {
        guard let file = FileHandle(forReadingAtPath: path) else { return false }
        defer { try? file.close() }
        guard let header = try? file.read(upToCount: 20), header.count == 20 else { return false }
        return header[18] == 2 || header[19] == 2
    }

    /// A journal that names another one is of a transaction on several databases, which a history
    /// never has: undoing it would delete the file that it names.
    private static func refuseJournalOfSeveralFiles(_ path: String) throws {
        guard size(path + "-journal") > 0 else { return }
        let journal: ByteView
        do { journal = try ByteView(mapping: path + "-journal") } catch let error as FileError
            where error.category == .noInput
        {
            // Another process has just ended its transaction.
            return
        }
        let end = journal.withUnsafeBytes { Array($0.suffix(8)) }
        if end == [0xD9, 0xD5, 0x05, 0xF9, 0x20, 0xA1, 0x63, 0xD7] {
            throw SchemaCheck.Failure(reason: "its journal names another journal")
        }
    }
}

extension Row {
    /// - Throws: `DatabaseError` where a value is infinite.
    package func requireFinite() throws {
        for (column, value) in self {
            if case .double(let number) = value.storage, !number.isFinite {
                throw DatabaseError(
                    resultCode: .SQLITE_CONSTRAINT, message: "\(column) is not a finite number")
            }
        }
    }
}
