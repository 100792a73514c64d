import Foundation
import GRDB
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// What a night comes to, for whoever reads the last line, the exit code, the JSON or the headline.
@Suite(.tags(.process)) struct NightOutcomeTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }
    private let golden = "fixtures/goldens/tiny-plain.safetensors"

    /// A copy of the tiny model, which tests may damage.
    private let copy: DoctoredCheckpoint

    init() throws {
        program = try BuiltProgram()
        copy = try DoctoredCheckpoint("tiny/plain")
        try FileManager.default.createSymbolicLink(
            atPath: program.folder("m"), withDestinationPath: copy.path)
    }

    private func project(_ lines: String = "") throws {
        try folder.write(
            "sana-tools.yaml",
            Array(
                """
                model: m
                references: \(golden)
                database: h.sqlite
                tolerance: 1e-3
                resolution: 64
                \(lines)

                """.utf8))
    }

    private func damage() throws {
        let name = "transformer_blocks.1.ff.conv_point.weight"
        // Other signs, in little-endian F32.
        let bytes = try copy.bytes(name).enumerated().map { $0 % 4 == 3 ? $1 ^ 0x80 : $1 }
        try copy.patch(name, with: bytes)
    }

    private func headline() throws -> String {
        let report = try program.run("history", "report", "--output", "r.html")
        #expect(report.code == 0, "\(report.talk)")
        let page = String(decoding: try fileBytes(folder("r.html")), as: UTF8.self)
        let start = try #require(page.range(of: "<strong>"))
        let end = try #require(page.range(of: "</strong>"))
        let headline = String(page[start.upperBound..<end.lowerBound])
        #expect(page.contains("<title>\(headline) – sana-tools report</title>"))
        return headline
    }

    /// Every way to learn what the gate says says `word` and `headline`.
    private func expectGate(
        _ word: String, _ headline: String, code: Int32,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let text = try program.run("history", "gate")
        #expect(text.code == code, "\(text.output)\(text.talk)", sourceLocation: sourceLocation)
        let line = "\(word.uppercased()): \(headline)"
        #expect(
            text.output.hasSuffix("\n\(line)\n"), "\(text.output)", sourceLocation: sourceLocation)
        let json = try program.run("history", "gate", "--format", "json")
        #expect(json.code == code, sourceLocation: sourceLocation)
        #expect(json.json?["verdict"]?.string == word, sourceLocation: sourceLocation)
        #expect(json.json?["headline"]?.string == headline, sourceLocation: sourceLocation)
        let markdown = try program.run("history", "gate", "--format", "markdown")
        #expect(markdown.code == code, sourceLocation: sourceLocation)
        #expect(markdown.output.hasPrefix("**\(line)**\n"), sourceLocation: sourceLocation)
        #expect(markdown.output.hasSuffix("\n**\(line)**\n"), sourceLocation: sourceLocation)
        #expect(try self.headline() == headline, sourceLocation: sourceLocation)
    }

    private func profile() throws {
        let outcome = try program.run("profile", "--repeat", "3", "--warmup", "0")
        #expect(outcome.code == 0, "\(outcome.talk)")
    }

    @Test("a night whose verifications failed is not green, whatever the latencies")
    func failedVerification() throws {
        try project()
        #expect(try program.run("verify").code == 0)
        try expectGate("pass", "Nothing got worse, 1 of 1 verification passed", code: 0)
        try damage()
        let verified = try program.run("verify", "--gate")
        #expect(verified.code == 1)
        #expect(verified.output.hasSuffix("FAIL: 1 of 1 comparisons failed\n"))
        try profile()
        try expectGate("fail", "1 of 1 verification failed", code: 1)
        let text = try program.run("history", "gate").output
        #expect(text.hasPrefix("FAIL: verify of m"), "\(text)")
        #expect(text.contains("the verification failed: golden is stale"))
        // The failed run is nothing to compare the next with, nor is one that was allowed.
        #expect(try program.run("verify", "--allow-stale").code == 1)
        #expect(try program.run("verify", "--allow-stale", "--tolerance", "9").code == 0)
        let allowed = try program.run("history", "gate", "--format", "json").json
        let run = allowed?["runs"]?.array?.first { $0["kind"]?.string == "verify" }
        #expect(run?["allowed"] == .bool(true))
        #expect(run?["baseline"]?.array?.count == 1)
    }

    @Test("an unreadable model fails the night until it is verified again")
    func unreadableModel() throws {
        try project()
        #expect(try program.run("verify").code == 0)
        let weights = copy.path + "/diffusion_pytorch_model.safetensors"
        let content = try fileBytes(weights)
        try Data(content.prefix(100)).write(to: URL(fileURLWithPath: weights))
        #expect(try program.run("verify").code == 65)
        try expectGate("fail", "1 of 2 verifications failed", code: 1)
        #expect(try program.run("history", "gate").output.contains("failed: unreadable: "))
        #expect(try program.run("history", "list").output.contains("fail, unreadable"))
        try Data(content).write(to: URL(fileURLWithPath: weights))
        #expect(try program.run("verify").code == 0)
        try expectGate("pass", "Nothing got worse, 1 of 1 verification passed", code: 0)
    }

    @Test("archives that the project promises must be there and be current")
    func promisedArchives() throws {
        try project("dtype: [fp16, int8]\noutput: a")
        let missing = try program.run("verify")
        #expect(missing.code == 66)
        for type in ["fp16", "int8"] {
            #expect(missing.output.contains("ERROR  a/m-\(type).safetensors.zst"))
        }
        #expect(
            missing.output.hasSuffix(
                "ERROR: 2 of 3 could not be read, 0 of 1 comparisons failed\n"))
        try expectGate("fail", "2 of 3 verifications failed", code: 1)
        #expect(try program.run("convert").code == 0)
        let whole = try program.run("verify", "--layer-tolerance", "*=0.5")
        #expect(whole.code == 0, "\(whole.output)\(whole.talk)")
        try expectGate("pass", "Nothing got worse, 3 of 3 verifications passed", code: 0)
        try FileManager.default.removeItem(atPath: folder("a/m-int8.safetensors.zst"))
        let removed = try program.run("verify", "--format", "json")
        #expect(removed.code == 66)
        #expect(removed.json?.array?.last?["message"]?.string?.contains("a/m-int8") == true)
        #expect(removed.talk.contains("a/m-int8.safetensors.zst: archive does not exist"))
        // Made from what the model was: a passing archive would hide the change.
        try damage()
        let stale = try program.run("verify", "--junit", "v.xml")
        #expect(stale.code == 66)
        #expect(stale.output.contains("a/m-fp16.safetensors.zst: archive is stale: made from"))
        let junit = String(decoding: try fileBytes(folder("v.xml")), as: UTF8.self)
        #expect(junit.contains("archive is stale"))
        #expect(try program.run("history", "gate").code == 1)
    }

    @Test("a mistyped path is no verdict on any model")
    func typingError() throws {
        try project()
        #expect(try program.run("verify").code == 0)
        #expect(try program.run("verify", "nowhere", "--reference", golden).code == 66)
        #expect(try program.run("verify", "m", "--reference", "nowhere").code == 66)
        #expect(try program.run("history", "gate").code == 0)
    }

    @Test("a model that is profiled and no longer verified makes the night inconclusive")
    func absentVerification() throws {
        try project()
        #expect(try program.run("verify").code == 0)
        try DatabaseQueue(path: folder("h.sqlite")).write {
            try $0.execute(sql: "UPDATE run SET started_at = '2026-01-02T03:04:05Z'")
        }
        try profile()
        try expectGate("inconclusive", "1 model not verified in the last day", code: 3)
        #expect(
            try program.run("history", "gate").output.contains(
                "m was verified last at 2026-01-02T03:04:05Z"))
        try DatabaseQueue(path: folder("h.sqlite")).write {
            try $0.execute(sql: "UPDATE run SET verdict = 'fail' WHERE kind = 'verify'")
        }
        try expectGate("fail", "1 of 1 verification failed", code: 1)
    }

    @Test("a profile of a model whose verification failed is not green")
    func profileOfAFailedModel() throws {
        try project()
        try damage()
        #expect(try program.run("verify").code == 1)
        let profiled = try program.run("profile", "--repeat", "3", "--warmup", "0", "--gate")
        #expect(profiled.code == 1)
        #expect(profiled.output.hasSuffix("\nFAIL: 1 of 1 verification failed\n"))
    }

    @Test("a failure against one golden is not forgotten for a pass against another")
    func failureOfAnotherGolden() throws {
        try project()
        #expect(try program.run("verify", "m", "--reference", golden).code == 0)
        let strict = ["verify", "m", "--reference", "other.safetensors", "--tolerance", "1e-12"]
        try folder.write("other.safetensors", fileBytes(Fixtures.path + "/../" + golden))
        #expect(try program.run(strict).code == 1)
        try DatabaseQueue(path: folder("h.sqlite")).write {
            try $0.execute(sql: "UPDATE run SET started_at = '2026-01-02T03:04:05Z'")
        }
        #expect(try program.run("verify", "m", "--reference", golden).code == 0)
        #expect(try program.run("history", "gate").code == 1)
        #expect(try program.run(strict.dropLast(2) + ["--tolerance", "1e-3"]).code == 0)
        #expect(try program.run("history", "gate").code == 0)
    }

    @Test("steps that failed before are part of the answer")
    func failedSteps() throws {
        try project()
        #expect(try program.run("verify").code == 0)
        let gate = try program.run("history", "gate", "--failed", "convert (exit 73)")
        #expect(gate.code == 1)
        #expect(gate.output.hasSuffix("\nFAIL: convert (exit 73) failed\n"))
        let report = try program.run(
            "history", "report", "--output", "r.html", "--failed", "convert (exit 73)")
        #expect(report.code == 0)
        let page = String(decoding: try fileBytes(folder("r.html")), as: UTF8.self)
        #expect(page.contains("<strong>convert (exit 73) failed</strong>"))
    }

    @Test("an error that rose 800 times is a regression under new weights, too")
    func errorUnderNewWeights() throws {
        try project()
        for _ in 0..<2 { #expect(try program.run("verify").code == 0) }
        let database = try DatabaseQueue(path: folder("h.sqlite"))
        // The runs before had other weights, and were so much more exact.
        try database.write {
            try $0.execute(
                sql: """
                    INSERT INTO model (digest, dtype, name) SELECT 'other', dtype, name FROM model;
                    UPDATE run SET model_id = (SELECT id FROM model WHERE digest = 'other') WHERE id = 1
                    """)
        }
        let same = try program.run("history", "gate")
        #expect(same.code == 0)
        #expect(same.output.contains("compared with other weights"), "\(same.output)")
        let layers = { (error: Double) in
            [
                LayerResult(
                    path: "a", samples: nil, medianNs: nil, relativeRms: error, relativePower: nil,
                    maxAbs: nil, cosine: nil, sqnrDb: nil, ownRelativeRms: nil,
                    inheritedRelativeRms: nil, tolerance: 1e-3, verdict: "pass")
            ]
        }
        for (now, ratio, verdict) in [
            (8e-4, AccuracyGate.ratioOfOtherFloats, Verdict.fail),
            (5e-6, AccuracyGate.ratioOfOtherFloats, .pass), (5e-6, 1.02, .fail),
        ] {
            let findings = AccuracyGate.compare(
                layers(now), with: [layers(1e-6)], largestRatio: ratio)
            #expect(findings.map(\.verdict) == [verdict])
        }
    }

    @Test("a night ends with the same answer everywhere")
    func nightly() throws {
        try project("dtype: fp16\noutput: a")
        let script = try fileBytes(Fixtures.path + "/../examples/nightly.sh")
        try folder.write("nightly.sh", script)
        try FileManager.default.createSymbolicLink(
            atPath: folder("sana-tools"), withDestinationPath: program.binary.path)
        func night() throws -> BuiltProgram.Outcome {
            try program.finish(
                program.launch(
                    ["-c", "PATH=$PWD:$PATH SANA_PROJECT=$PWD bash nightly.sh"],
                    program: "/bin/bash"))
        }
        try damage()
        let bad = try night()
        #expect(bad.code == 1, "\(bad.talk)")
        #expect(
            bad.output.hasSuffix("\nFAIL: verify (exit 1) failed, 2 of 2 verifications failed\n"),
            "\(bad.output.suffix(300))")
        let page = String(decoding: try fileBytes(folder("reports/report.html")), as: UTF8.self)
        #expect(page.contains("<strong>verify (exit 1) failed, 2 of 2 verifications failed"))
    }
}
