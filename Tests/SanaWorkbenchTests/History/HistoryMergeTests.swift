import Foundation
import GRDB
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

struct HistoryMergeTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func store(_ name: String) throws -> HistoryStore {
        try HistoryStore(path: folder(name), creating: true)
    }

    private func record(_ digest: String, ns: Int = 5, threads: Int = 2) -> RunRecord {
        RunRecord(
            kind: .profile, startedAt: Date(timeIntervalSince1970: Double(ns)), model: "models/a",
            modelDigest: digest, dtype: "BF16", compute: "fp32", numerics: "fp32",
            sizes: RunSizes(batch: 1, height: 8, width: 8, captionTokens: 3), threads: threads,
            seconds: 1, layers: [.init(path: "total", samples: [ns, ns + 1], cpu: [ns, ns])])
    }

    @Test func mergingUnitesWithoutDuplicatesInAnyOrder() throws {
        let (a, b, c) = (try store("a"), try store("b"), try store("c"))
        try a.record(record("x"))
        try a.record(record("y"))
        try b.record(record("x", ns: 9))
        #expect(try c.merge(folder("a")) == .init(added: 2, known: 0))
        #expect(try c.merge(folder("b")) == .init(added: 1, known: 0))
        #expect(try c.merge(folder("a")) == .init(added: 0, known: 2))
        #expect(try c.merge(folder("c")) == .init(added: 0, known: 3))
        #expect(try a.merge(folder("c")) == .init(added: 1, known: 2))
        #expect(
            try Set(a.allRuns().map(\.run.uuid)) == Set(c.allRuns().map(\.run.uuid)))
        let newest = try #require(try c.allRuns().last)
        #expect(newest.joined.digest == "x")
        #expect(newest.joined.totalMedianNs == 9.5)
        #expect(try c.gateSamples(newest).total.cpu == [9, 9])
        let foreign = try DatabaseQueue(path: folder("c")).read {
            try Row.fetchAll($0, sql: "PRAGMA foreign_key_check")
        }
        #expect(foreign.isEmpty)
    }

    @Test func mergeOfABrokenHistoryAddsNothing() throws {
        let target = try store("target")
        let other = try store("other")
        for number in 0..<50 { try other.record(record("d\(number)")) }
        try other.queue.write { db in
            try db.execute(sql: "PRAGMA foreign_keys = OFF")
        }
        try other.queue.writeWithoutTransaction { db in
            try db.execute(sql: "PRAGMA foreign_keys = OFF; DELETE FROM model WHERE id = 40")
        }
        #expect(throws: HistoryError.self) { try target.merge(folder("other")) }
        #expect(try target.allRuns().isEmpty)
    }

    @Test func oldSchemaIsReadAndMergedWithoutBeingWritten() throws {
        let path = folder("old")
        let queue = try DatabaseQueue(path: path)
        try queue.writeWithoutTransaction { try Schema.migrate($0, upTo: 2) }
        try queue.write { db in
            try db.execute(
                sql: OldHistory.run("profile", layer: "total")
                    + "INSERT INTO latency_sample VALUES (7, 5, 0, 42)")
        }
        try queue.close()
        let before = try fileBytes(path)
        let old = try HistoryStore(path: path, creating: false)
        #expect(try old.run(7).0.joined.totalMedianNs == 42)
        let target = try store("new")
        #expect(try target.merge(path).added == 1)
        #expect(try target.gateSamples(target.allRuns()[0]).total.wall == [42])
        #expect(try fileBytes(path) == before)
    }

    @Test func readOnlyHistoryIsReadAndNotWritten() throws {
        let path = folder("fixed")
        do { try store("fixed").record(record("x")) }
        let queue = try DatabaseQueue(path: path)
        try queue.writeWithoutTransaction { try $0.execute(sql: "PRAGMA journal_mode = DELETE") }
        try queue.close()
        let before = try fileBytes(path)
        let store = try HistoryStore(path: path, creating: false)
        #expect(try store.allRuns().count == 1)
        #expect {
            try store.record(record("y"))
        } throws: {
            ($0 as? any DiagnosticError)?.category == .cannotCreate
        }
        #expect(try fileBytes(path) == before)
    }

    /// A page of zeros in the middle of the file is found when its rows are read.
    @Test func corruptPagesAreBadData() throws {
        let store = try store("torn")
        for number in 0..<40 { try store.record(record("d\(number)")) }
        try store.queue.writeWithoutTransaction {
            try $0.execute(sql: "PRAGMA wal_checkpoint(TRUNCATE)")
        }
        try store.queue.close()
        var bytes = try fileBytes(folder("torn"))
        for index in 4096..<bytes.count { bytes[index] = 0xA5 }
        try folder.write("torn", bytes)
        #expect {
            try HistoryStore(path: folder("torn"), creating: false).allRuns()
        } throws: {
            ($0 as? any DiagnosticError)?.category == .badData
        }
    }

    @Test func baselinesHoldOneRunOfEachSeriesAndSurvivePruning() throws {
        let store = try store("a")
        let first = try store.record(record("x"))
        let other = try store.record(record("x", threads: 1))
        for ns in 6..<12 { try store.record(record("x", ns: ns)) }
        try store.setBaseline("release", to: [first, other])
        #expect(try store.baselines().map(\.runId) == [first, other])
        #expect(try store.prune(keeping: 2) == 4)
        #expect(try store.allRuns().map(\.joined.id) == [first, other, 7, 8])
        try store.setBaseline("release", to: [8])
        #expect(try store.baselines().map(\.runId) == [other, 8])
        #expect(throws: HistoryError.self) { try store.setBaseline("release", to: [99]) }
        try store.removeBaseline("release")
        #expect(throws: HistoryError.self) { try store.removeBaseline("release") }
        #expect(try store.prune(keeping: 2) == 1)
        #expect(try store.newestOfEachSeries().map(\.joined.id).sorted() == [other, 8])
    }

    @Test func exportHasARowForEachLayerOfEachRun() throws {
        let store = try store("a")
        for ns in 1...3 { try store.record(record("x,\"y\"", ns: ns)) }
        var rows: [[(name: String, value: JSONValue)]] = []
        try store.export([]) { rows.append($0) }
        try #require(rows.count == 3)
        #expect(rows[0].first { $0.name == "median_ns" }?.value.double == 1.5)
        rows = []
        try store.export([2]) { rows.append($0) }
        try #require(rows.count == 1)
        #expect(rows[0].first?.value.int == 2)
        #expect(CSV.line(["a", "b,c", "d\"e", ""]) == "a,\"b,c\",\"d\"\"e\",")
    }

    @Test func shardsCoverAListOnce() throws {
        let shards = try (1...3).map { try #require(Shard(argument: "\($0)/3")) }
        for index in 0..<10 { #expect(shards.count { $0.contains(index) } == 1) }
        for text in ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3"] {
            #expect(Shard(argument: text) == nil)
        }
    }
}
