import Foundation
import GRDB
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

struct HistoryStoreTests {
    private let folder: TemporaryFolder
    private var path: String { folder("deep/history.sqlite") }

    init() throws { folder = try TemporaryFolder() }

    private func record(_ kind: RunRecord.Kind = .profile, layers: [RunRecord.Layer]) -> RunRecord {
        RunRecord(
            kind: kind, startedAt: Date(timeIntervalSince1970: 0), model: "models/a",
            modelDigest: "d1", dtype: "BF16", compute: "fp32",
            numerics: "fp32", sizes: RunSizes(batch: 1, height: 8, width: 16, captionTokens: 300),
            threads: 2, canaryGFLOPS: 100, seconds: 1, layers: layers)
    }

    private func comparison(_ actual: [Float], _ reference: [Float]) -> Comparison {
        Comparison(
            ErrorSums(
                DenseTensor(shape: [actual.count], values: FloatBuffer(actual)),
                with: FloatBuffer(reference)), shape: [actual.count])
    }

    /// The first column of a query, read as any user of SQLite would.
    private func values(_ sql: String) throws -> [String] {
        try DatabaseQueue(path: path).read { try String.fetchAll($0, sql: sql) }
    }

    @Test func keepsEverySampleAndStatistic() throws {
        let store = try HistoryStore(path: path, creating: true)
        let accuracy = RunRecord.Accuracy(
            comparison: comparison([1, 2], [1, 3]), tolerance: 1e-3, passes: false)
        let id = try store.record(
            record(layers: [
                .init(path: "b", samples: [30, 10, 20]), .init(path: "a", accuracy: accuracy),
            ]))
        let (run, layers) = try store.run(nil)
        #expect(run.joined.id == id)
        #expect(run.run.kind == "profile")
        #expect(run.run.sizes.tokens == 300)
        #expect(layers.map(\.path) == ["b", "a"])
        #expect(layers[0].samples == 3)
        #expect(layers[0].medianNs == 20)
        #expect(layers[1].relativePower == 0.1)
        #expect(layers[1].verdict == "fail")
        #expect(try store.gateSamples(run).layers.map(\.wall) == [[30, 10, 20]])
        #expect(try values("PRAGMA journal_mode") == ["delete"])
        #expect(try values("SELECT DISTINCT model FROM layer_result") == ["a"])
    }

    @Test func valuesThatAreNotFiniteAreStoredAsNull() throws {
        let store = try HistoryStore(path: path, creating: true)
        let accuracy = RunRecord.Accuracy(
            comparison: comparison([1, .nan], [0, 1]), tolerance: 1e-3, passes: false)
        try store.record(record(.verify, layers: [.init(path: "a", accuracy: accuracy)]))
        #expect(try store.run(1).1[0].relativeRms == nil)
    }

    @Test func ownAndInheritedErrorsAndTheCauseAreKept() throws {
        let store = try HistoryStore(path: path, creating: true)
        let isolated = Verification.Layer.Isolated(own: 0.25, local: 0, inherited: 0.5, gain: 2)
        let accuracy = RunRecord.Accuracy(
            comparison: comparison([1, 2], [1, 3]), tolerance: 1e-3, passes: false,
            isolated: isolated)
        var record = record(.verify, layers: [.init(path: "a", accuracy: accuracy)])
        (record.verdict, record.cause) = (.inconclusive, "a")
        try store.record(record)
        let (run, layers) = try store.run(nil)
        #expect(run.run.cause == "a")
        #expect(run.run.verdict == "inconclusive")
        #expect(layers[0].ownRelativeRms == 0.25)
        #expect(layers[0].inheritedRelativeRms == 0.5)
        let columns = "gain || ' ' || golden_max_abs || ' ' || mean_abs || ' ' || max_abs_index"
        #expect(try values("SELECT \(columns) FROM accuracy") == ["2.0 3.0 0.5 [1]"])
        #expect(try values("SELECT gain FROM layer_result") == ["2.0"])
    }

    /// A database of the first schema, with a run in it, is brought up to date and loses nothing.
    @Test func databaseOfTheFirstSchemaIsMigrated() throws {
        try FileManager.default.createFolder(folder("deep"))
        let queue = try DatabaseQueue(path: path)
        try queue.writeWithoutTransaction { try Schema.migrate($0, upTo: 1) }
        try queue.write { db in
            try db.execute(
                sql: OldHistory.run("verify", layer: "a") + """
                    UPDATE run SET reference = 'g', metric = 'relative_rms', tolerance = 1e-3,
                        verdict = 'fail';
                    INSERT INTO accuracy VALUES (7, 5, 0.5, 0.25, 1, 0.9, 6, 0, NULL, NULL, 1e-3, 'fail');
                    """)
        }
        try queue.close()
        let store = try HistoryStore(path: path, creating: true)
        let (run, layers) = try store.run(7)
        #expect(run.run.verdict == "fail")
        #expect(run.run.cause == nil)
        #expect(run.run.seconds == 0.5)
        #expect(layers.map(\.relativeRms) == [0.5])
        var record = record(.trajectory, layers: [])
        record.verdict = .pass
        #expect(try store.record(record) == 8)
        #expect(try values("PRAGMA foreign_key_check").isEmpty)
    }

    @Test func machineModelAndLayerRowsAreShared() throws {
        let store = try HistoryStore(path: path, creating: true)
        for _ in 0..<3 { try store.record(record(layers: [.init(path: "a", samples: [1])])) }
        for (table, count) in [("machine", "1"), ("model", "1"), ("layer", "1"), ("run", "3")] {
            #expect(try values("SELECT COUNT(*) FROM \(table)") == [count])
        }
        #expect(try store.runs(limit: 2).map(\.joined.id) == [3, 2])
    }

    @Test func runThatFailsHalfWayLeavesNothing() throws {
        let store = try HistoryStore(path: path, creating: true)
        // A negative latency breaks a constraint after the run's own row is written.
        #expect(throws: HistoryError.self) {
            try store.record(record(layers: [.init(path: "a", samples: [5, -1])]))
        }
        #expect(try store.runs(limit: 10).isEmpty)
    }

    @Test func twoStoresWriteAtOnce() async throws {
        let path = path
        _ = try HistoryStore(path: path, creating: true)
        let record = record(layers: (0..<20).map { .init(path: "l\($0)", samples: [1, 2, 3]) })
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    let store = try HistoryStore(path: path, creating: true)
                    for _ in 0..<10 { try store.record(record) }
                }
            }
            try await group.waitForAll()
        }
        #expect(try HistoryStore(path: path, creating: false).runs(limit: 100).count == 40)
    }

    @Test func defectiveDatabasesAreNamed() throws {
        func category(_ path: String) -> DiagnosticCategory? {
            do {
                _ = try HistoryStore(path: path, creating: false)
                return nil
            } catch { return (error as? any DiagnosticError)?.category }
        }
        #expect(category(folder("absent.sqlite")) == .noInput)
        #expect(
            category(try folder.write("text.sqlite", Array(repeating: 65, count: 5000))) == .badData
        )
        let foreign = folder("foreign.sqlite")
        try DatabaseQueue(path: foreign).write { try $0.execute(sql: "CREATE TABLE foo (y)") }
        #expect(category(foreign) == .badData)
        #expect(throws: HistoryError.self) { try HistoryStore(path: foreign, creating: true) }
        try DatabaseQueue(path: foreign).read {
            let tables = try String.fetchAll($0, sql: "SELECT name FROM sqlite_master")
            #expect(tables == ["foo"])
        }
        let newer = folder("newer.sqlite")
        _ = try HistoryStore(path: newer, creating: true)
        try DatabaseQueue(path: newer).write {
            try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('999 future')")
        }
        #expect { try HistoryStore(path: newer, creating: false) } throws: {
            if case HistoryError.newerSchema = $0 { true } else { false }
        }
        #expect { try HistoryStore(path: newer + "x/y", creating: false).run(7) } throws: {
            ($0 as? any DiagnosticError)?.category == .noInput
        }
    }
}
