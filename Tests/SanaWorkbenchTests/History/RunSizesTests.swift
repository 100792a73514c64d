import Foundation
import GRDB
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// Sizes of runs are data of their networks.
struct RunSizesTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func record(_ sizes: RunSizes, _ kind: RunRecord.Kind = .verify) -> RunRecord {
        RunRecord(
            kind: kind, startedAt: Date(timeIntervalSince1970: 0), model: "m", modelDigest: "d",
            dtype: "BF16", compute: "fp32", numerics: "fp32", sizes: sizes, threads: 2, seconds: 1,
            layers: [.init(path: "total", samples: [1])])
    }

    @Test("sizes come back from their text, and other texts are none")
    func text() {
        let sizes = RunSizes(["height": 4, "frames": 9, "batch": 1, "width": 0])
        #expect(sizes.json.text() == #"{"batch":1,"frames":9,"height":4}"#)
        #expect(RunSizes.fromDatabaseValue(sizes.databaseValue) == sizes)
        #expect(RunSizes([:]).databaseValue == "{}".databaseValue)
        let others = [
            "", "[]", "{", #"{"b":1,"a":1}"#, #"{"a": 1}"#, #"{"a":1.0}"#, #"{"a":-1}"#,
            #"{"a":0}"#,
            #"{"a":"1"}"#, #"{"a":null}"#, #"{"a":1,"a":1}"#, #"{"a":99999999999999999999}"#,
        ]
        for text in others {
            #expect(RunSizes.fromDatabaseValue(text.databaseValue) == nil, "\(text)")
        }
    }

    @Test("a network's own sizes make its series, and need no column")
    func ownSizes() throws {
        let store = try HistoryStore(path: folder("h"), creating: true)
        for sizes in [
            ["batch": 1, "frames": 9], ["batch": 1, "frames": 9], ["batch": 1, "frames": 8],
        ] {
            try store.record(record(RunSizes(sizes)))
        }
        let runs = try store.allRuns()
        #expect(runs.map(\.run.sizes.json).map { $0.text() }.last == #"{"batch":1,"frames":8}"#)
        #expect(runs[0].joined.seriesId == runs[1].joined.seriesId)
        #expect(runs[0].joined.seriesId != runs[2].joined.seriesId)
        #expect(runs[0].run.sizes.text == "batch 1, 9 frames")
        let other = try HistoryStore(path: folder("other"), creating: true)
        #expect(try other.merge(folder("h")).added == 3)
        #expect(try other.allRuns().map(\.run.sizes) == runs.map(\.run.sizes))
    }

    @Test("the view has the sizes of a latent as columns, and all of them as text")
    func view() throws {
        let store = try HistoryStore(path: folder("h"), creating: true)
        try store.record(
            record(RunSizes(batch: 2, height: 8, width: 16, captionTokens: 3), .profile))
        try store.record(record(RunSizes(["batch": 1, "tokens": 12]), .profile))
        let rows = try store.reading {
            try Row.fetchAll(
                $0, sql: "SELECT batch, height, width, sizes FROM layer_result ORDER BY run_id")
        }
        #expect(
            rows[0] == [
                "batch": 2, "height": 8, "width": 16,
                "sizes": #"{"batch":2,"caption_tokens":3,"height":8,"width":16}"#,
            ])
        #expect(
            rows[1] == ["batch": 1, "height": 0, "width": 0, "sizes": #"{"batch":1,"tokens":12}"#])
    }

    /// Runs of every version go on in the series that runs of today begin.
    @Test(
        "sizes of old runs are those that today's runs have", .tags(.slow),
        arguments: 1..<Schema.migrations.count,
        [
            RunSizes(batch: 1, height: 8, width: 4, captionTokens: 3),
            RunSizes(["batch": 2, "height": 8, "width": 8]),
            RunSizes(["batch": 1, "tokens": 12]), RunSizes([:]),
        ])
    func migration(_ version: Int, _ sizes: RunSizes) throws {
        let path = folder("old")
        let queue = try DatabaseQueue(path: path)
        let layer = "outputs.sample"
        try queue.writeWithoutTransaction { try Schema.migrate($0, upTo: min(version, 4)) }
        try queue.write {
            try $0.execute(
                sql: OldHistory.run(
                    "verify", layer: layer,
                    sizes: (sizes.batch, sizes.height, sizes.width, sizes.tokens)))
        }
        try queue.writeWithoutTransaction { try Schema.migrate($0, upTo: version) }
        try queue.close()
        let read = try HistoryStore(path: path, creating: false)
        #expect(try read.allRuns().map(\.run.sizes) == [sizes])
        let target = try HistoryStore(path: folder("target"), creating: true)
        #expect(try target.merge(path).added == 1)
        let store = try HistoryStore(path: path, creating: true)
        var record = record(sizes)
        record.architecture = "a"
        for store in [target, store] {
            try store.record(record)
            let runs = try store.allRuns()
            #expect(runs.map(\.run.sizes) == [sizes, sizes])
            #expect(Set(runs.map(\.joined.seriesId)).count == 1)
            #expect(
                try store.queue.read { try Row.fetchAll($0, sql: "PRAGMA foreign_key_check") }
                    .isEmpty)
        }
    }
}
