import Foundation
import GRDB
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// Histories of strangers: their schema is data, their values are checked, their neighbours stay.
@Suite(.tags(.process)) struct HistoryHostileTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func record(_ kind: RunRecord.Kind = .profile, ns: Int = 5) -> RunRecord {
        let comparison = Comparison(
            ErrorSums(
                DenseTensor(shape: [2], values: FloatBuffer([1, 2])), with: FloatBuffer([1, 3])),
            shape: [2])
        var layer = RunRecord.Layer(path: "total", samples: [ns, ns + 1], cpu: [ns, ns])
        if kind != .profile {
            layer = .init(
                path: "a", accuracy: .init(comparison: comparison, tolerance: 1, passes: true))
        }
        return RunRecord(
            kind: kind, startedAt: Date(timeIntervalSince1970: Double(ns)), model: "models/a",
            modelDigest: "d", dtype: "BF16", compute: "fp32", numerics: "fp32",
            sizes: RunSizes(batch: 1, height: 8, width: 8, captionTokens: 3), threads: 2,
            seconds: 1, layers: [layer])
    }

    /// A history with a profile and a verification, and `statement` executed on it.
    func doctored(_ name: String, _ statement: String) throws -> String {
        let path = folder(name)
        let store = try HistoryStore(path: path, creating: true)
        try store.record(record())
        try store.record(record(.verify))
        try store.queue.close()
        try execute(statement, path)
        return path
    }

    private func execute(_ statement: String, _ path: String) throws {
        let queue = try DatabaseQueue(path: path)
        try queue.writeWithoutTransaction { db in
            try db.execute(sql: "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON")
            try db.execute(sql: "PRAGMA legacy_alter_table = ON; PRAGMA writable_schema = ON")
            try db.execute(sql: statement)
        }
        try queue.close()
    }

    func category(_ body: () throws -> Void) -> DiagnosticCategory? {
        do {
            try body()
            return nil
        } catch { return (error as? any DiagnosticError)?.category }
    }

    /// Everything that a reader asks of a history.
    private func readAll(_ path: String) throws {
        let store = try HistoryStore(path: path, creating: false)
        for run in try store.runs(limit: 10) {
            _ = try store.run(run.joined.id)
            _ = try store.gateSamples(run)
            _ = try store.work(of: run)
        }
        try store.export([]) { _ in }
        let outcome = try Gate(store: store).outcome()
        _ = try ReportPage(store: store, outcome: outcome).html()
    }

    private static let endless = "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)"

    static let lyingSchemas = [
        "ALTER TABLE run ADD COLUMN g AS (seconds * 2)",
        "ALTER TABLE run ADD COLUMN dtype TEXT DEFAULT 'EVIL'",
        "DROP VIEW layer_result; ALTER TABLE run DROP COLUMN seconds",
        "DROP TABLE layer; CREATE VIEW layer AS \(endless) SELECT n AS id, 'x' || n AS path FROM r",
        "DROP TABLE machine; CREATE VIEW machine AS SELECT 1 AS id",
        "DROP TABLE layer; CREATE VIRTUAL TABLE layer USING fts5 (id, path)",
        "CREATE TRIGGER t AFTER INSERT ON run BEGIN DELETE FROM run; END",
        "CREATE VIEW other AS \(endless) SELECT n FROM r",
        "DELETE FROM grdb_migrations",
        "DELETE FROM grdb_migrations WHERE identifier NOT LIKE '4%'",
        "UPDATE sqlite_master SET sql = sql || '; ATTACH ''victim'' AS x' WHERE name = 'run'",
    ]

    @Test("a schema that lies is bad data for readers, merges and writers", arguments: lyingSchemas)
    func lyingSchema(_ statement: String) throws {
        let path = try doctored("h", statement)
        let bytes = try fileBytes(path)
        let target = try HistoryStore(path: folder("ours"), creating: true)
        let entries = folder.entries
        #expect(category { try readAll(path) } == .badData)
        #expect(category { _ = try target.merge(path) } == .badData)
        #expect(category { _ = try HistoryStore(path: path, creating: true) } == .badData)
        #expect(try target.allRuns().isEmpty)
        #expect(try fileBytes(path) == bytes)
        #expect(folder.entries == entries)
    }

    @Test("the text of an older schema is never executed", arguments: 1..<Schema.migrations.count)
    func oldSchemaText(_ version: Int) throws {
        let path = folder("old")
        let queue = try DatabaseQueue(path: path)
        try queue.writeWithoutTransaction { try Schema.migrate($0, upTo: version) }
        try queue.close()
        let evil = "; ATTACH ''\(folder("evil"))'' AS x; CREATE TABLE x.t (a)"
        try execute("UPDATE sqlite_master SET sql = sql || '\(evil)' WHERE name = 'run'", path)
        let bytes = try fileBytes(path)
        let target = try HistoryStore(path: folder("ours"), creating: true)
        #expect(category { try readAll(path) } == .badData)
        #expect(category { _ = try target.merge(path) } == .badData)
        #expect(category { _ = try HistoryStore(path: path, creating: true) } == .badData)
        #expect(folder.entries == ["old", "ours"])
        #expect(try fileBytes(path) == bytes)
    }

    /// Who waits for our lock has read theirs to the end.
    @Test("a history is read before ours is locked for the merge")
    func mergeReadsBeforeItLocks() throws {
        let path = try doctored("h", Self.lyingSchemas[3])
        let target = try HistoryStore(path: folder("ours"), creating: true)
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true
        let writer = try DatabaseQueue(path: folder("ours"), configuration: configuration)
        try writer.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
        #expect(category { _ = try target.merge(path) } == .badData)
        try writer.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
    }

    @Test("another view of our name is not read")
    func foreignView() throws {
        let path = try doctored(
            "h",
            "DROP VIEW layer_result; CREATE VIEW layer_result AS \(Self.endless) SELECT n FROM r")
        try readAll(path)
        #expect(category { _ = try HistoryStore(path: path, creating: true) } == .badData)
    }

    static let lyingValues = [
        "UPDATE accuracy SET own_relative_rms = 9e999",
        "UPDATE accuracy SET relative_rms = -1",
        "UPDATE latency SET median_ns = 9e999",
        "UPDATE latency SET median_ns = -5",
        "UPDATE latency SET wall = x'8080'",
        "UPDATE run SET total_median_ns = 9e999",
        "UPDATE run SET output_relative_rms = -9e999 WHERE kind = 'verify'",
        "UPDATE run SET stored_bytes = -1",
        "UPDATE run SET sizes = '{'",
        "UPDATE run SET sizes = '{\"height\":-1}'",
        "UPDATE run SET sizes = '{\"width\":8,\"height\":8}'",
        "UPDATE run SET sizes = '{\"height\": 8}'",
        "UPDATE run SET sizes = '{\"height\":\"8\"}'",
    ]

    @Test("values that cannot be are bad data, and no merge takes them", arguments: lyingValues)
    func lyingValue(_ statement: String) throws {
        let path = try doctored("h", statement)
        let target = try HistoryStore(path: folder("ours"), creating: true)
        #expect(category { try readAll(path) } == .badData)
        #expect(category { _ = try target.merge(path) } == .badData)
        #expect(try target.allRuns().isEmpty)
    }

    @Test("rows that are there twice are bad data")
    func duplicates() throws {
        let path = try doctored(
            "h",
            """
            CREATE TABLE l2 (id INTEGER, path TEXT); INSERT INTO l2 SELECT * FROM layer;
            INSERT INTO l2 SELECT * FROM layer; DROP TABLE layer; ALTER TABLE l2 RENAME TO layer
            """)
        let target = try HistoryStore(path: folder("ours"), creating: true)
        #expect(category { try readAll(path) } == .badData)
        #expect(category { _ = try target.merge(path) } == .badData)
    }

    @Test("infinities of an older version do not enter")
    func oldInfinity() throws {
        let path = folder("old")
        let queue = try DatabaseQueue(path: path)
        try queue.writeWithoutTransaction { try Schema.migrate($0, upTo: 4) }
        try queue.write { db in
            try db.execute(
                sql: OldHistory.run("verify", layer: "total") + """
                    INSERT INTO accuracy (run_id, layer_id, own_relative_rms, nonfinite, tolerance,
                        verdict) VALUES (7, 5, 9e999, 0, 1, 'pass');
                    """)
        }
        try queue.close()
        #expect(category { try readAll(path) } == .badData)
        try execute("UPDATE accuracy SET own_relative_rms = 1", path)
        try readAll(path)
        #expect(try HistoryStore(path: path, creating: true).allRuns().count == 1)
    }

    /// A tree of pages that leads back into itself has no end.
    @Test("reading stops where a file takes too long for its size")
    func deadline() throws {
        let store = try HistoryStore(path: try doctored("h", "SELECT 1"), creating: false)
        func count(_ rows: Int) throws -> Int? {
            // Ends by itself, so that a history that is read without a limit fails here.
            try store.reading {
                try Int.fetchOne(
                    $0, sql: "\(Self.endless) SELECT COUNT(*) FROM (SELECT n FROM r LIMIT \(rows))")
            }
        }
        #expect(try count(100_000) == 100_000)
        #expect {
            try count(20_000_000)
        } throws: {
            ($0 as? any DiagnosticError)?.category == .badData
        }
    }

    @Test("no statement reaches another file")
    func noAttach() throws {
        let path = try doctored("h", "SELECT 1")
        for store in [
            try HistoryStore(path: path, creating: true),
            try HistoryStore(path: path, creating: false), try HistoryStore(copying: path),
        ] {
            #expect(throws: DatabaseError.self) {
                try store.queue.inDatabase {
                    try $0.execute(sql: "ATTACH '\(folder("x"))' AS x")
                }
            }
        }
        #expect(!folder.entries.contains("x"))
    }

    @Test("connections are defensive, trust no schema and bound values")
    func guardedConnections() throws {
        let path = try doctored("h", "SELECT 1")
        for store in [
            try HistoryStore(path: path, creating: true),
            try HistoryStore(path: path, creating: false), try HistoryStore(copying: path),
        ] {
            try store.queue.inDatabase { db in
                #expect(try Int.fetchOne(db, sql: "PRAGMA trusted_schema") == 0)
                #expect(throws: DatabaseError.self) {
                    try Int.fetchOne(db, sql: "SELECT length(zeroblob(80000000))")
                }
                // Only a defensive connection takes no notice of it.
                try db.execute(sql: "PRAGMA writable_schema = ON")
                #expect(throws: DatabaseError.self) {
                    try db.execute(sql: "UPDATE sqlite_master SET sql = NULL WHERE name = 'run'")
                }
            }
        }
    }

    /// SQLite deletes the journal that a journal names.
    @Test("a journal that names another file is refused, and the file stays")
    func journalOfSeveralFiles() throws {
        let path = try doctored("h", "SELECT 1")
        let magic: [UInt8] = [0xD9, 0xD5, 0x05, 0xF9, 0x20, 0xA1, 0x63, 0xD7]
        try folder.write("h-journal", Array(repeating: 0, count: 512) + magic)
        #expect(category { try readAll(path) } == .badData)
        #expect(category { _ = try HistoryStore(path: path, creating: true) } == .badData)
        #expect(folder.entries.contains("h-journal"))
    }

    @Test("the fuzzer's seeds are read and refused as their names say")
    func seeds() throws {
        let source = Fixtures.path + "/fuzz/history/"
        let names = try FileManager.default.contentsOfDirectory(atPath: source).sorted()
        #expect(names.count >= 5)
        for name in names {
            let path = try folder.write(name, fileBytes(source + name))
            let expected: DiagnosticCategory? = name.hasPrefix("valid") ? nil : .badData
            #expect(category { try readAll(path) } == expected, "\(name)")
        }
    }

    // MARK: Old files and dead writers

    @Test("a history with a write-ahead log is read whole, and no file is left or changed")
    func writeAheadLog() throws {
        let path = try doctored("h", "PRAGMA journal_mode = WAL")
        try readAll(path)
        #expect(folder.entries.sorted() == ["h"])
        // A writer that died leaves its log.
        let queue = try DatabaseQueue(path: path)
        try queue.writeWithoutTransaction {
            try $0.execute(sql: "UPDATE run SET model_path = 'in the log'")
        }
        for name in ["h", "h-wal"] {
            try folder.write("dead" + name.dropFirst(), try fileBytes(folder(name)))
        }
        try queue.close()
        let before = try fileBytes(folder("dead"))
        let paths = try HistoryStore(path: folder("dead"), creating: false).allRuns()
            .map(\.run.modelPath)
        #expect(paths == ["in the log", "in the log"])
        #expect(try fileBytes(folder("dead")) == before)
        #expect(folder.entries.sorted() == ["dead", "dead-wal", "h"])
        // The next writer does without a log.
        try HistoryStore(path: path, creating: true).record(record(ns: 9))
        #expect(try fileBytes(path)[18] == 1)
        #expect(folder.entries.sorted() == ["dead", "dead-wal", "h"])
    }

    @Test("a copy that has no place is an I/O error that names the directory")
    func noTemporaryDirectory() throws {
        let program = try BuiltProgram()
        let bytes = try fileBytes(doctored("h", "PRAGMA journal_mode = WAL"))
        try program.folder.write("h", bytes)
        try program.folder.write("file", [])
        for place in ["absent", "file"].map({ program.folder($0) }) {
            let outcome = try program.finish(
                program.launch(["history", "list", "--db", "h"], environment: ["TMPDIR": place]))
            #expect(outcome.code == 74)
            #expect(outcome.talk.contains("error: h: cannot copy it to \(place): "))
            #expect(outcome.talk.contains("TMPDIR"), "\(outcome.talk)")
        }
        #expect(try program.run("history", "list", "--db", "h").code == 0)
    }

    @Test("what a writer that died has begun is not read, and not undone in place")
    func deadWriter() throws {
        let path = try doctored("h", "SELECT 1")
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true
        let writer = try DatabaseQueue(path: path, configuration: configuration)
        try writer.writeWithoutTransaction { db in
            try db.execute(sql: "PRAGMA cache_size = 5; BEGIN IMMEDIATE")
            try db.execute(sql: "UPDATE run SET model_path = 'half done'")
            // More pages than the cache holds, so that some reach the file.
            try db.execute(
                sql: """
                    CREATE TABLE filler AS WITH RECURSIVE n (i) AS
                        (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000)
                    SELECT i, zeroblob(500) AS z FROM n
                    """)
            for name in ["", "-journal"] {
                try folder.write("dead" + name, try fileBytes(path + name))
            }
            try db.execute(sql: "ROLLBACK")
        }
        try writer.close()
        let before = try (fileBytes(folder("dead")), fileBytes(folder("dead-journal")))
        let entries = folder.entries
        let runs = try HistoryStore(path: folder("dead"), creating: false).allRuns()
        #expect(runs.map(\.run.modelPath) == ["models/a", "models/a"])
        #expect(try fileBytes(folder("dead")) == before.0)
        #expect(try fileBytes(folder("dead-journal")) == before.1)
        #expect(folder.entries == entries)
        // The next writer undoes it.
        try HistoryStore(path: folder("dead"), creating: true).record(record(ns: 9))
        #expect(try HistoryStore(path: folder("dead"), creating: false).allRuns().count == 3)
        #expect(!folder.entries.contains("dead-journal"))
    }

    @Test("a database whose creation died is finished by the next run")
    func deadCreation() throws {
        try folder.write("empty", [])
        let empty = try DatabaseQueue(path: folder("wal"))
        try empty.writeWithoutTransaction { try $0.execute(sql: "PRAGMA journal_mode = WAL") }
        try empty.close()
        let half = try DatabaseQueue(path: folder("half"))
        try half.writeWithoutTransaction { try Schema.migrate($0, upTo: 2) }
        try half.close()
        let names = try DatabaseQueue(path: folder("names"))
        try names.writeWithoutTransaction { try Schema.migrate($0, upTo: 0) }
        try names.close()
        for name in ["empty", "wal", "half", "names"] {
            let path = folder(name)
            #expect(try HistoryStore(path: path, creating: false).runs(limit: 9).isEmpty, "\(name)")
            #expect(category { try readAll(path) } == .noInput, "\(name)")
            try HistoryStore(path: path, creating: true).record(record())
            #expect(try HistoryStore(path: path, creating: false).allRuns().count == 1, "\(name)")
        }
    }

    @Test("who finds an old history locked waits, then brings it up to date")
    func lockedMigration() throws {
        let path = folder("old")
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true
        let other = try DatabaseQueue(path: path, configuration: configuration)
        try other.writeWithoutTransaction { db in
            try Schema.migrate(db, upTo: 2)
            try db.execute(sql: "BEGIN IMMEDIATE")
        }
        DispatchQueue.global().asyncAfter(deadline: .now() + 0.5) {
            try? other.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
        }
        #expect(category { _ = try HistoryStore(path: path, creating: true) } == nil)
        #expect(try HistoryStore(path: path, creating: false).allRuns().isEmpty)
    }

    @Test("writers that bring an old history up to date at once lose no run")
    func migrationAtOnce() throws {
        let program = try BuiltProgram()
        let path = program.folder("old.sqlite")
        for _ in 0..<4 {
            try? FileManager.default.removeItem(atPath: path)
            let old = try DatabaseQueue(path: path)
            try old.writeWithoutTransaction { try Schema.migrate($0, upTo: 2) }
            try old.close()
            let writers = try (0..<20).map { _ in
                try program.launch([
                    "verify", "fixtures/tiny/plain", "--reference",
                    "fixtures/goldens/tiny-plain.safetensors", "--db", "old.sqlite",
                    "--threads", "1", "-q",
                ])
            }
            for writer in writers { writer.waitUntilExit() }
            #expect(writers.map { $0.exitCode ?? -1 } == [Int32](repeating: 0, count: 20))
            #expect(try HistoryStore(path: path, creating: false).allRuns().count == 20)
        }
    }

    @Test("first writers at once lose no run")
    func firstWriters() async throws {
        let program = try BuiltProgram()
        let arguments = [
            "verify", "fixtures/tiny/plain", "--reference",
            "fixtures/goldens/tiny-plain.safetensors", "--db", "new.sqlite", "--threads", "1", "-q",
        ]
        for count in [2, 6] {
            let path = program.folder("new.sqlite")
            try? FileManager.default.removeItem(atPath: path)
            let writers = try (0..<count).map { _ in try program.launch(arguments) }
            for writer in writers {
                writer.waitUntilExit()
                #expect(writer.exitCode == 0)
            }
            #expect(try HistoryStore(path: path, creating: false).allRuns().count == count)
        }
    }
}
