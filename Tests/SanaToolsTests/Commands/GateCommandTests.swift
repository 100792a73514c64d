import Foundation
import GRDB
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// `--gate`, `--shard` and the database as the commands meet them.
@Suite(.tags(.process)) struct GateCommandTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }
    private let models = ["fixtures/tiny/plain", "fixtures/tiny/qknorm", "fixtures/tiny/sprint"]
    private let healthy = [
        "verify", "fixtures/tiny/plain", "--reference", "fixtures/goldens/tiny-plain.safetensors",
        "--tolerance", "1e-3", "--db", "h.sqlite",
    ]

    init() throws { program = try BuiltProgram() }

    private func write(_ statement: String) throws {
        try DatabaseQueue(path: folder("h.sqlite")).write { try $0.execute(sql: statement) }
    }

    @Test func verifyFailsWhereAnErrorRoseThoughItIsWithinTolerance() throws {
        #expect(
            try program.run("convert", "fixtures/tiny/plain", "--dtype", "int8", "--output", "q")
                .code == 0)
        let archive = try #require(FileManager.default.subpaths(atPath: folder("q"))?.first)
        let healthy =
            ["verify", "q/" + archive] + healthy.dropFirst(2) + ["--layer-tolerance", "*=0.5"]
        for _ in 0..<2 { #expect(try program.run(healthy + ["--gate"]).code == 0) }
        // As though all runs before had been ten times as exact.
        try write(
            "UPDATE accuracy SET relative_rms = relative_rms / 10, relative_power = relative_power / 100"
        )
        let risen = try program.run(healthy + ["--gate"])
        #expect(risen.code == 1)
        #expect(risen.output.contains("REGRESS"))
        #expect(risen.output.contains("transformer_blocks.0"))
        try expectRegressEverywhere(healthy + ["--gate"])
        // Without the gate the same run passes, and what it records is the new normal.
        #expect(try program.run(healthy).code == 0)
    }

    /// Whatever a reader looks at says that errors rose, though all comparisons pass.
    private func expectRegressEverywhere(_ verify: [String]) throws {
        let text = try program.run(verify)
        #expect(text.code == 1)
        #expect(text.output.hasSuffix("\nREGRESS: 1 of 1 got less accurate\n"), "\(text.output)")
        let json = try program.run(verify + ["--format", "json"])
        #expect(json.code == 1)
        #expect(json.json?["verdict"]?.string == "pass")
        #expect(json.json?["gate"]?["verdict"]?.string == "regress")
        let markdown = try program.run(verify + ["--format", "markdown"])
        #expect(markdown.code == 1)
        #expect(markdown.output.hasPrefix("**REGRESS: 1 of 1 got less accurate**\n"))
        let junit = try program.run(verify + ["--format", "junit"])
        #expect(junit.code == 1)
        #expect(junit.output.contains(#"name="gate""#))
        #expect(junit.output.contains(#"<failure type="regress""#))
        #expect(junit.output.contains("<system-out>REGRESS: 1 of 1 got less accurate"))
    }

    /// A baseline that was just set is the newest run itself, which would pass whatever it is.
    @Test func aRunIsNoBaselineOfItself() throws {
        let gate = ["history", "gate", "--baseline", "b", "--db", "h.sqlite"]
        #expect(try program.run(healthy).code == 0)
        #expect(try program.run("history", "baseline", "set", "b", "--db", "h.sqlite").code == 0)
        let own = try program.run(gate)
        #expect(own.code == 3)
        #expect(own.output.contains("INCONCLUSIVE"))
        #expect(own.output.contains("is this run itself: record another with 'sana-tools verify'"))
        #expect(try program.run(healthy).code == 0)
        let next = try program.run(gate)
        #expect(next.code == 0)
        #expect(next.output.contains("(run 2 against 1)"))
    }

    @Test func shardsShareTheWorkAndMissNothing() throws {
        func verified(_ shard: [String]) throws -> [String] {
            let run = try program.run(
                ["verify"] + models
                    + models.flatMap {
                        [
                            "--reference",
                            "fixtures/goldens/tiny-\($0.lastPathComponent).safetensors",
                        ]
                    } + ["--no-record", "--allow-stale", "--format", "json"] + shard)
            let verdicts = try #require(run.json?.array)
            return verdicts.compactMap {
                "\($0["model"]?.string ?? "") \($0["reference"]?.string ?? "")"
            }
        }
        let all = try verified([])
        let shards = try (1...2).map { try verified(["--shard", "\($0)/2"]) }
        #expect(all.count == 9)
        #expect(Set(all).count == 9)
        #expect(shards[0].count + shards[1].count == 9)
        #expect(Set(shards[0] + shards[1]) == Set(all))
        #expect(try verified(["--shard", "1/2"]) == shards[0])
        for wrong in ["0/2", "3/2", "1/0", "a/b"] {
            #expect(try program.run(healthy + ["--shard", wrong]).code == 64, "\(wrong)")
        }
    }

    private func repetitions(_ run: BuiltProgram.Outcome) -> Int? {
        run.json?["repetitions"]?.array?.count
    }

    /// Two profiles of three repetitions can tell nothing, and so the second one is no pass.
    @Test func slowProfileAfterOneOfFewRepetitionsIsInconclusive() throws {
        let profile = [
            "profile", "fixtures/tiny/plain", "--repeat", "3", "--db", "h.sqlite", "--gate",
            "--format", "json",
        ]
        let first = try program.run(profile)
        #expect(first.code == 0)
        #expect(repetitions(first) == 3)
        let distances = (first.json?["repetitions"]?.array ?? []).map { $0["core_distance_ns"] }
        #expect(distances.count == 3)
        let stored = try DatabaseQueue(path: folder("h.sqlite")).read {
            try Double?.fetchAll(
                $0, sql: "SELECT core_distance_ns FROM repetition ORDER BY repetition")
        }
        #expect(stored == distances.map { $0?.double })
        // What times were measured with is told, so that others are another series.
        let clock = try DatabaseQueue(path: folder("h.sqlite")).read {
            try String.fetchAll($0, sql: "SELECT clock || ' ' || canary FROM run")
        }
        #expect(clock == ["\(Profile.clock) \(HostCanary.identity)"])
        #expect(first.json?["clock"]?.string == "threads")
        #expect(first.json?["canary"]?.string == HostCanary.identity)
        let second = try program.finish(
            program.launch(
                profile, program: program.underTest.path,
                environment: ["SANA_SLOWDOWN": "total=0.4"]))
        #expect(second.code == 3)
        #expect(second.json?["gate"]?["verdict"]?.string == "inconclusive")
        #expect((second.json?["gate"]?["doubts"]?.array?.count ?? 0) >= 2)
    }

    @Test func repetitionsAdaptUnlessTheirNumberIsGiven() throws {
        let profile = ["profile", "fixtures/tiny/plain", "--no-record", "--format", "json"]
        #expect(repetitions(try program.run(profile + ["--repeat", "2"])) == 2)
        #expect((repetitions(try program.run(profile)) ?? 0) >= 20)
        #expect(repetitions(try program.run(profile + ["--budget", "0.000001"])) == 5)
        #expect(try program.run(profile + ["--budget", "0"]).code == 64)
    }

    @Test("repetitions of a recorded run are apart, of several forwards where these are short")
    func repetitionsAreApart() throws {
        let profile = [
            "profile", "fixtures/tiny/plain", "--repeat", "6", "--db", "h.sqlite", "--format",
            "json",
        ]
        let start = ContinuousClock.now
        let recorded = try program.run(profile)
        #expect(ContinuousClock.now - start >= .seconds(5))
        #expect(repetitions(recorded) == 6)
        let forwards = recorded.json?["repetitions"]?.array?.compactMap { $0["forwards"]?.int }
        #expect(forwards?.count == 6)
        #expect(forwards?.allSatisfy { $0 > 1 } == true)
        let layers = try #require(recorded.json?["layers"]?.array)
        #expect(!layers.isEmpty)
        for layer in layers {
            let samples = try #require(layer["samples_ns"]?.array).count
            #expect(samples > 0)
            #expect(samples % 6 == 0)
        }
    }

    @Test func wrongModelIsNamedBeforeAnotherIsProfiled() throws {
        let profile = ["profile", "--repeat", "1", "--db", "h.sqlite", "fixtures/tiny/plain"]
        let outcome = try program.run(profile + ["fixtures/goldens/tiny-plain.safetensors"])
        #expect(outcome.code == 65)
        #expect(outcome.talk.contains("tiny-plain.safetensors"))
        let runs = try DatabaseQueue(path: folder("h.sqlite")).read {
            try Int.fetchOne($0, sql: "SELECT count(*) FROM run")
        }
        #expect(runs == 0)
    }

    @Test func buildsTakeTurns() throws {
        let build = [
            "profile", "fixtures/tiny/plain", "--format", "json", "--pairs", "2",
            "--against-build",
        ]
        let same = try program.run(build + [program.binary.path])
        #expect(same.code == 3, "\(same.talk)")
        #expect(same.json?["pairs"]?.int == 2)
        #expect(same.json?["against"]?.string == program.binary.path)
        #expect((same.json?["layers"]?.array?.count ?? 0) > 1)
        for wrong in ["/nonexistent", "/bin/true"] {
            let run = try program.run(build + [wrong])
            #expect(run.code == 64)
            #expect(run.talk.contains(wrong))
        }
        #expect(try program.run(build + [program.binary.path, "--against", "x"]).code == 64)
        #expect(try program.run(build + [program.binary.path, "--repeat", "3"]).code == 64)
    }

    /// A writer that dies at any moment leaves whole runs and a database that opens.
    @Test func killedWritersLeaveWholeRuns() throws {
        #expect(try program.run(healthy).code == 0)
        let layers = try DatabaseQueue(path: folder("h.sqlite")).read {
            try Int.fetchOne($0, sql: "SELECT count(*) FROM accuracy") ?? 0
        }
        #expect(layers > 10)
        for attempt in 0..<12 {
            let process = try program.launch(healthy)
            // A journal grows while the run is written; later attempts wait longer for it.
            let log = folder("h.sqlite-journal")
            let end = Date().addingTimeInterval(5)
            while process.isRunning, Date() < end {
                let size = (try? FileManager.default.attributesOfItem(atPath: log)[.size]) as? Int
                if (size ?? 0) > attempt * 2000 { break }
            }
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        let listed = try program.run("history", "list", "--db", "h.sqlite", "--format", "json")
        #expect(listed.code == 0)
        try DatabaseQueue(path: folder("h.sqlite")).read { db in
            #expect(try String.fetchOne(db, sql: "PRAGMA integrity_check") == "ok")
            let counts = try Int.fetchAll(
                db,
                sql: "SELECT (SELECT count(*) FROM accuracy WHERE set_id = error_set) FROM run")
            #expect(!counts.isEmpty)
            #expect(counts.allSatisfy { $0 == layers })
        }
        #expect(try program.run(healthy).code == 0)
    }
}
