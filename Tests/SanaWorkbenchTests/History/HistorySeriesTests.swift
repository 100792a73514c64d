import Foundation
import GRDB
import SanaTestSupport
import Testing

@testable import SanaWorkbench

struct HistorySeriesTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func record(
        _ kind: RunRecord.Kind = .profile, model: String = "models/a", digest: String = "d",
        dtype: String = "BF16", architecture: String? = "arch", threads: Int = 2,
        layers: [RunRecord.Layer] = []
    ) -> RunRecord {
        var record = RunRecord(
            kind: kind, startedAt: Date(timeIntervalSince1970: 0), model: model,
            modelDigest: digest, dtype: dtype, compute: "fp32", numerics: "fp32",
            sizes: RunSizes(batch: 1, height: 8, width: 8, captionTokens: 3), threads: threads,
            seconds: 1, layers: layers)
        record.architecture = architecture
        return record
    }

    @Test("packed samples come back, and damaged ones are refused")
    func packing() throws {
        for values in [[], [0], [5, 3, 1 << 53, 0, 127, 128], Array(1_000_000..<1_000_300)] {
            let data = try PackedSamples.encode(values)
            #expect(try PackedSamples.decode(data, count: values.count) == values)
            #expect(throws: DatabaseError.self) {
                try PackedSamples.decode(data, count: values.count + 1)
            }
        }
        #expect(throws: DatabaseError.self) { try PackedSamples.encode([-1]) }
        let damaged: [[UInt8]] = [
            [0x80], [1], [2, 3, 5], Array(repeating: 0xFF, count: 30), [0x02, 0x80],
            [
                0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF,
                0xFF, 0xFF, 0xFF, 0x7F,
            ],
        ]
        for bytes in damaged {
            for count in 0...3 {
                #expect(throws: DatabaseError.self, "\(bytes) \(count)") {
                    try PackedSamples.decode(Data(bytes), count: count)
                }
            }
        }
    }

    @Test("new weights stay in the series, another architecture, clock or canary does not")
    func latencySeries() throws {
        let store = try HistoryStore(path: folder("h"), creating: true)
        var other = record(digest: "d2")
        other.clock = "threads"
        var otherCanary = other
        otherCanary.canary = "another"
        for run in [
            record(), record(digest: "d2", layers: []), record(architecture: "arch2"),
            record(threads: 1), record(dtype: "F16"), other, otherCanary,
        ] { try store.record(run) }
        let series = try store.allRuns().map(\.joined.seriesId)
        #expect(series[0] == series[1])
        #expect(Set(series).count == 6)
    }

    @Test("times by the process's clock, of old versions, are told from others")
    func clockOfSamples() throws {
        let store = try HistoryStore(path: folder("h"), creating: true)
        let old = record()
        var new = old
        new.clock = Profile.clock
        let clocks: [[String?]] = try [old, new].map { record in
            let run = try store.summary(store.record(record))
            return try [store.gateSamples(run).clock, store.forwardSamples(run).clock]
        }
        #expect(clocks == [[nil, nil], [Profile.clock, Profile.clock]])
    }

    @Test("a model of the same name is compared whatever its weights and int8 rules")
    func accuracySeries() throws {
        let store = try HistoryStore(path: folder("h"), creating: true)
        for run in [
            record(.verify, dtype: "I8+F32"), record(.verify, digest: "d2", dtype: "I8+BF16+F32"),
            record(.verify, threads: 7), record(.verify, model: "models/b"),
            record(.trajectory),
        ] { try store.record(run) }
        let series = try store.allRuns().map(\.joined.seriesId)
        #expect(series[0] == series[1])
        #expect(Set(series).count == 4)
    }

    @Test("a model is named apart from its revision and from names that diffusers gives")
    func modelNames() {
        #expect(
            Series.modelName("/c/models--org--my--name/snapshots/0a1b/transformer") == "org/my/name"
        )
        #expect(Series.modelName("models/a/transformer/diffusion_pytorch_model.safetensors") == "a")
        #expect(Series.modelName("models/a/") == "a")
        #expect(Series.modelName("b.safetensors.zst") == "b.safetensors.zst")
        #expect(Series.modelName("transformer") == "transformer")
    }

    /// Runs of old versions know the digest of their weights alone.
    @Test("runs of old versions join the series of their architecture once it is known")
    func adoption() throws {
        let store = try HistoryStore(path: folder("h"), creating: true)
        let old = try store.record(record(.verify, architecture: nil))
        let stranger = try store.record(record(.verify, digest: "d9", architecture: nil))
        let new = try store.record(record(.verify))
        let late = try store.record(record(.verify, architecture: nil))
        let series = try [old, stranger, new, late].map { try store.summary($0).joined.seriesId }
        #expect(series[0] == series[2])
        #expect(series[3] == series[2])
        #expect(series[1] != series[2])
        #expect(try store.summary(old).run.architecture == "arch")
    }

    @Test("failed, stale and allowed runs are no baseline")
    func soundRuns() throws {
        let store = try HistoryStore(path: folder("h"), creating: true)
        var runs = (0..<4).map { _ in record(.verify) }
        for index in runs.indices { runs[index].verdict = .pass }
        runs[1].verdict = .fail
        runs[2].allowed = true
        runs[3].problems = [.init(kind: .stale, message: "other weights")]
        let sound = try store.record(runs[0])
        for run in runs.dropFirst() { try store.record(run) }
        let last = try store.summary(store.record(record(.verify)))
        let found = try store.runs(
            ofSeries: last.joined.seriesId, before: last, areSound: true, limit: 9)
        #expect(found.map(\.joined.id) == [sound])
        #expect(
            try store.runs(ofSeries: last.joined.seriesId, before: last, limit: 9).map(\.joined.id)
                == [1, 2, 3, 4])
        #expect(
            try store.runs(ofSeries: last.joined.seriesId, limit: 2).map(\.joined.id) == [4, 5])
    }

    @Test("a judgement says since which run the weights have changed")
    func changedWeights() throws {
        let store = try HistoryStore(path: folder("h"), creating: true)
        for digest in ["d", "d", "d2"] { try store.record(record(digest: digest)) }
        let changed = try Gate(store: store).judge()
        #expect(changed.count == 1)
        #expect(changed[0].heading.contains("weights changed since run 2"))
        #expect(changed[0].json["weights_changed_since"]?.int == 2)
        let same = try Gate(store: store).judge([2])
        #expect(!same[0].heading.contains("weights changed"))
        #expect(same[0].json["weights_changed_since"]?.int == nil)
    }

    @Test("equal errors and work are stored once, and go with the last run that has them")
    func sharedSets() throws {
        let store = try HistoryStore(path: folder("h"), creating: true)
        let work = RunRecord.Work(kind: "Linear", operations: 8, bytes: 2, attainableGFLOPS: 3)
        for ns in 1...3 {
            try store.record(record(layers: [.init(path: "a", samples: [ns], work: work)]))
        }
        func count(_ table: String) throws -> Int? {
            try store.queue.read { try Int.fetchOne($0, sql: "SELECT COUNT(*) FROM \(table)") }
        }
        #expect(try count("layer_work") == 1)
        #expect(try count("layer_set") == 1)
        #expect(try store.work(of: store.summary(2))["a"]?.operations == 8)
        // What somebody changed by hand is not shared any more.
        try store.queue.write { try $0.execute(sql: "UPDATE layer_work SET bytes = 9") }
        try store.record(record(threads: 1, layers: [.init(path: "a", samples: [1], work: work)]))
        #expect(try store.work(of: store.summary(4))["a"]?.bytes == 2)
        #expect(try count("layer_set") == 2)
        try store.queue.write { db in
            try db.execute(sql: "DELETE FROM run WHERE id = 4")
            try LayerSet.removeUnused(db)
        }
        #expect(try count("layer_set") == 1)
        #expect(try count("layer_work") == 1)
    }

    @Test("the view finds the rows of a run by keys alone")
    func viewByRun() throws {
        let store = try HistoryStore(path: folder("h"), creating: true)
        let plan = try store.queue.read {
            try Row.fetchAll(
                $0, sql: "EXPLAIN QUERY PLAN SELECT * FROM layer_result WHERE run_id = 7"
            ).map { $0["detail"] as String }
        }
        #expect(!plan.isEmpty)
        #expect(!plan.contains { $0.hasPrefix("SCAN") && $0 != "SCAN layer_result" }, "\(plan)")
    }

    /// Statements that were executed.
    private final class Statements { var texts = Set<String>() }

    @Test("nothing that a user waits for reads a table of all runs from end to end")
    func queriesUseKeys() throws {
        let store = try HistoryStore(path: folder("h"), creating: true)
        for index in 0..<4 {
            for kind in [RunRecord.Kind.profile, .verify] {
                try store.record(
                    record(
                        kind, model: "models/\(index % 2)",
                        layers: [.init(path: Profile.totalPath, samples: [5, 6], cpu: [5, 6])]))
            }
        }
        let statements = Statements()
        store.queue.inDatabase { db in
            db.trace { event in
                if case .statement(let statement) = event {
                    statements.texts.insert(statement.expandedSQL)
                }
            }
        }
        _ = try store.runs(limit: 20)
        _ = try store.run(nil)
        _ = try ReportPage(store: store, outcome: Gate(store: store).outcome()).html()
        store.queue.inDatabase { $0.trace(nil) }
        let queries = statements.texts.filter { $0.hasPrefix("SELECT") }
        #expect(queries.count > 10)
        let large = ["run", "latency", "repetition", "accuracy", "layer_work"]
        for query in queries {
            let plan = try store.queue.read {
                try Row.fetchAll($0, sql: "EXPLAIN QUERY PLAN " + query)
            }.map { $0["detail"] as String }
            // The newest few are found from the end on.
            let isBounded =
                query.contains("LIMIT") && !plan.contains { $0.contains("TEMP B-TREE") }
            let scans = plan.filter { step in
                large.contains { step == "SCAN \($0)" || step.hasPrefix("SCAN \($0) ") }
                    && !step.contains("COVERING INDEX")
            }
            #expect(scans.isEmpty || isBounded, "\(query): \(plan)")
        }
    }
}
