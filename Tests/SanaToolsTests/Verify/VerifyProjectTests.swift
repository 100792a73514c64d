import Foundation
import GRDB
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// `verify` of several models and files of tolerances, and what it does before it records.
@Suite(.tags(.process)) struct VerifyProjectTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }
    private let model = "fixtures/sana-digits"
    private let golden = "fixtures/goldens/sana-digits-b2-t999.safetensors"
    private let trajectory = "fixtures/trajectories/sana-digits-dpm-short-3.safetensors"

    init() throws { program = try BuiltProgram() }

    private func verify(_ arguments: String...) throws -> BuiltProgram.Outcome {
        try program.run(["verify"] + arguments)
    }

    private func project(_ lines: String) throws {
        try folder.write("sana-tools.yaml", Array("model: \(model)\n\(lines)\n".utf8))
    }

    private func verdicts(_ outcome: BuiltProgram.Outcome) -> [String?] {
        (outcome.json?.array ?? [outcome.json].compactMap(\.self)).map { $0["verdict"]?.string }
    }

    // MARK: What cannot be read

    @Test func whatCannotBeReadIsInEveryFormat() throws {
        try folder.write("bad.safetensors", Array("<html>".utf8))
        let mixed = [model, "bad.safetensors", "--reference", golden, "--no-record"]
        let text = try program.run(["verify"] + mixed)
        #expect(text.code == 65)
        #expect(text.output.contains("\nERROR  bad.safetensors\n"))
        #expect(
            text.output.hasSuffix(
                "ERROR: 1 of 2 could not be read, 0 of 1 comparisons failed\n"))
        let json = try program.run(["verify", "--format", "json"] + mixed)
        #expect(json.code == 65)
        #expect(verdicts(json) == ["pass", "error"])
        let entry = json.json?.array?.last
        #expect(entry?["model"]?.string == "bad.safetensors")
        #expect(entry?["reference"] == .null)
        #expect(entry?["message"]?.string?.contains("bad.safetensors") == true)
        let markdown = try program.run(["verify", "--format", "markdown"] + mixed)
        #expect(markdown.output.hasPrefix("**ERROR: 1 of 2 could not be read"))
        #expect(markdown.output.contains("### ⚠ `bad.safetensors`\n\nerror: bad.safetensors"))
    }

    @Test func goldenThatIsNotThereDoesNotStopTheOthers() throws {
        let outcome = try verify(
            model, "--reference", "absent.safetensors", "--reference", golden, "--format", "json",
            "--junit", "v.xml", "--no-record")
        #expect(outcome.code == 66)
        #expect(verdicts(outcome) == ["pass", "error"])
        #expect(outcome.json?.array?.last?["reference"]?.string == "absent.safetensors")
        #expect(folder.entries.contains("v.xml"))
    }

    /// A list in sana-tools.yaml does as flags do; and a rule may be about the golden that is
    /// absent.
    @Test func theProjectsGoldensAreAsThoseOfFlags() throws {
        try project("references: [\(golden), absent.safetensors]")
        let outcome = try verify("--format", "json", "--no-record")
        #expect(outcome.code == 66)
        #expect(verdicts(outcome) == ["pass", "error"])
        let ruled = try verify(
            model, "--reference", "absent.safetensors", "--trajectory", trajectory,
            "--layer-tolerance", "proj_out=1e-2", "--no-record", "--pictures", "p.png")
        #expect(ruled.code == 66)
        #expect(ruled.output.contains("PASS"))
        #expect(!ruled.talk.contains("does not show models that could not be sampled"))
        let absent = try verify(
            model, "--trajectory", "absent.safetensors", "--trajectory", "lost.safetensors",
            "--trajectory", trajectory, "--no-record", "--pictures", "p.png")
        #expect(
            absent.talk.contains("p.png does not show models that could not be sampled: \(model)\n")
        )
    }

    @Test func aloneItIsNotSilent() throws {
        try folder.write("bad.safetensors", Array("<html>".utf8))
        for (arguments, reference) in [
            (["bad.safetensors", "--reference", golden], nil),
            ([model, "--reference", "bad.safetensors"], "bad.safetensors"),
        ] as [([String], String?)] {
            let json = try program.run(["verify", "--format", "json"] + arguments)
            #expect(json.code == 65)
            #expect(verdicts(json) == ["error"])
            #expect(json.json?["reference"]?.string == reference)
            let text = try program.run(["verify"] + arguments)
            #expect(text.output.hasSuffix("ERROR: 1 of 1 could not be read\n"))
            let markdown = try program.run(["verify", "--format", "markdown"] + arguments)
            #expect(markdown.output.hasPrefix("**ERROR: 1 of 1 could not be read**"))
        }
    }

    @Test func markdownHasAnOverallLineForOneResultAndNoEmptyTable() throws {
        let one = try verify(
            model, "--reference", golden, "--format", "markdown", "--no-record")
        #expect(one.output.hasPrefix("**PASS: 1 of 1 comparisons within tolerance**\n"))
        #expect(one.output.contains("| layer |"))
        let foreign = try verify(
            model, "--reference", "fixtures/controlnet/golden-controlnet.safetensors", "--format",
            "markdown", "--no-record")
        #expect(foreign.code == 1)
        #expect(foreign.output.hasPrefix("**FAIL: 1 of 1"))
        #expect(!foreign.output.contains("| layer |"))
    }

    @Test("the project's references apply to its model and archives, not to other models")
    func referencesOfArchives() throws {
        let archive = "a/sana-digits-int8.safetensors.zst"
        try project("output: a\ndtype: int8\nreferences: \(golden)")
        #expect(try program.run("convert").code == 0)
        for path in [model, archive, "./" + archive] {
            let outcome = try program.run("verify", path, "--no-record")
            #expect(outcome.code == 0, "\(outcome.talk)")
        }
        let other = try program.run("verify", "fixtures/tiny/plain", "--no-record")
        #expect(other.code == 64)
        #expect(other.talk.contains("no reference"))
        let mixed = try program.run("verify", archive, "fixtures/tiny/plain", "--no-record")
        #expect(mixed.code == 64)
    }

    @Test("several comparisons end with one table over the models")
    func overview() throws {
        let outcome = try program.run(
            "verify", model, model, "--reference", golden, "--no-record", "--summary")
        let lines = outcome.output.split(separator: "\n")
        let heads = lines.filter { $0.hasPrefix("model ") }
        #expect(heads.count == 1)
        #expect(heads.first?.contains("size") == true)
        #expect(lines.suffix(3).first?.contains("MB") == true)
        #expect(lines.last?.hasPrefix("PASS: 2 of 2") == true)
    }

    // MARK: Tolerances

    /// The healthy int8 archive must not be judged by what the float model needs.
    @Test func filesOfTolerancesApplyToTheRunsTheyWereMadeFor() throws {
        let archive = "a/sana-digits-int8.safetensors.zst"
        try project("output: a\ndtype: int8")
        #expect(try program.run("convert").code == 0)
        for (path, file) in [(model, "float.json"), (archive, "int8.json")] {
            let written = try verify(
                path, "--reference", golden, "--calibrate", file, "--no-record")
            #expect(written.code == 0, "\(written.talk)")
        }
        let note = "no calibration matches"
        func tolerance(_ outcome: BuiltProgram.Outcome, _ index: Int) -> Double? {
            outcome.json?.array?[index]["output"]?["tolerance"]?.double
        }
        try project("output: a\nreferences: \(golden)\ntolerances: float.json")
        let one = try verify("--format", "json", "--no-record")
        #expect(one.code == 0, "\(one.talk)")
        #expect(verdicts(one) == ["pass", "pass"], "\(one.talk)")
        #expect(tolerance(one, 1) == 1e-3)
        #expect(tolerance(one, 0) ?? 1 < 1e-4)
        #expect(one.talk.components(separatedBy: note).count == 2)
        #expect(one.talk.contains("\(note) \(archive)"))
        try project("output: a\nreferences: \(golden)\ntolerances: [float.json, int8.json]")
        let both = try verify("--format", "json", "--no-record")
        #expect(both.code == 0)
        #expect(verdicts(both) == ["pass", "pass"])
        #expect(!both.talk.contains(note))
        #expect(tolerance(both, 1) ?? 1 < 1e-3)
        // Another mode has other errors.
        let mode = try verify("--compute", "w8a8", "--format", "json", "--no-record")
        #expect(mode.code == 0)
        #expect(tolerance(mode, 1) == 1e-3)
        #expect(mode.talk.contains(", int8, fp32"))
        #expect(mode.talk.contains("\(note) \(archive)"))
        let flags = try verify(
            archive, "--reference", golden, "--tolerance-file", "float.json", "--tolerance-file",
            "int8.json", "--format", "json", "--no-record")
        #expect(flags.code == 0)
        #expect(flags.json?["metric"]?.string == "relative_power")
        #expect(flags.json?["output"]?["tolerance"]?.double == tolerance(both, 1))
    }

    /// As before files said what they were made for.
    @Test func fileThatDoesNotSayAppliesToAll() throws {
        try folder.write(
            "old.json",
            Array(
                """
                {"format": "sana-tolerances", "version": 1, "metric": "relative_rms", "margin": 2,
                 "layers": {"outputs.sample": 0.125}}
                """.utf8))
        for path in [model, "fixtures/tiny/plain"] {
            let outcome = try verify(
                path, "--reference", golden, "--tolerance-file", "old.json", "--format", "json",
                "--no-record")
            #expect(!outcome.talk.contains("no calibration matches"))
            if path == model {
                #expect(outcome.json?["output"]?["tolerance"]?.double == 0.125)
            }
        }
    }

    @Test func ruleThatMatchesNothingIsFoundBeforeAnythingIsRecorded() throws {
        let refused = try verify(
            model, "--reference", golden, "--layer-tolerance", "*.attn3=1e-3")
        #expect(refused.code == 64)
        #expect(refused.talk.contains("matches no layer"))
        #expect(!folder.entries("reports").contains("sana-tools.sqlite"))
        let flag = try verify(model, "--trajectory", trajectory, "--layer-tolerance", "*.ff=1")
        #expect(flag.code == 64)
    }

    @Test func projectsRulesAboutLayersDoNotHinderATrajectory() throws {
        try project("references: \(golden)\nlayer_tolerances: ['*.attn2=3e-3']\ntolerance: 1e-5")
        let sampled = try verify("--trajectory", trajectory, "--no-record")
        #expect(sampled.code == 0, "\(sampled.talk)")
        #expect(try verify("--no-record").code == 0)
        try project("references: \(golden)\nlayer_tolerances: ['*.attn3=3e-3']")
        #expect(try verify("--no-record").code == 64)
    }

    // MARK: Calibration

    @Test func calibrationTellsWhyAGoldenIsRefused() throws {
        try program.writeRoundedGolden("rounded.safetensors")
        let arguments = [
            "verify", "fixtures/tiny/plain", "--reference", "rounded.safetensors", "--calibrate",
            "t.json",
        ]
        let precision = try program.run(arguments)
        #expect(precision.code == 1)
        #expect(!folder.entries.contains("t.json"))
        #expect(precision.talk.contains("computed in bfloat16, whose rounding alone"))
        let stale = try verify(
            "fixtures/tiny/plain", "--reference", "fixtures/goldens/tiny-positions.safetensors",
            "--calibrate", "t.json")
        #expect(stale.code == 1)
        #expect(stale.talk.contains("golden is stale"))
    }

    @Test func calibrationIgnoresTheVerdictAndKeepsTheGates() throws {
        let failing = ["verify", model, "--reference", golden, "--tolerance", "1e-9"]
        let written = try program.run(failing + ["--calibrate", "t.json"])
        #expect(written.code == 0)
        #expect(written.output.contains("FAIL: 1 of 1"))
        #expect(
            try program.run(
                "convert", model, "--dtype", "int8", "--output", "d.safetensors.zst"
            ).code == 0)
        let gated = [
            "verify", "d.safetensors.zst", "--reference", golden, "--db", "g.sqlite",
            "--calibrate", "u.json", "--gate",
        ]
        for _ in 0..<2 { #expect(try program.run(gated).code == 0) }
        // As though all runs before had been ten times as exact.
        try DatabaseQueue(path: folder("g.sqlite")).write {
            try $0.execute(
                sql: """
                    UPDATE accuracy SET relative_rms = relative_rms / 10,
                        relative_power = relative_power / 100
                    """)
        }
        try FileManager.default.removeItem(atPath: folder("u.json"))
        let risen = try program.run(gated)
        #expect(risen.code == 1)
        #expect(risen.output.contains("REGRESS"))
        #expect(folder.entries.contains("u.json"))
    }

    @Test("calibration warns of weights that a golden cannot show")
    func calibrationTellsWhatAGoldenCannotShow() throws {
        let path = Fixtures.path + "/goldens/tiny-plain.safetensors"
        let one = try SafetensorsBuilder(copying: path) { tensor, bytes in
            guard tensor.name == "inputs.encoder_attention_mask" else {
                return (tensor.name, tensor.shape, bytes)
            }
            // Every sample sees its first token only.
            let tokens = tensor.shape[1]
            let values = (0..<bytes.count / 4).map { Float($0 % tokens == 0 ? 1 : 0) }
            return (tensor.name, tensor.shape, values.flatMap { littleEndianBytes($0.bitPattern) })
        }
        try folder.write("one.safetensors", one.file)
        func warnings(_ model: String, _ golden: String) throws -> String {
            let outcome = try verify(
                model, "--reference", golden, "--calibrate", "t.json", "--no-record")
            #expect(outcome.code == 0, "\(outcome.talk)")
            return outcome.talk
        }
        let blind = try warnings("fixtures/tiny/plain", "one.safetensors")
        #expect(blind.contains("cannot show faults in transformer_blocks.0.attn2.to_"), "\(blind)")
        #expect(blind.contains(" and 5 more: nothing changes"), "\(blind)")
        let healthy = try warnings(
            "fixtures/tiny/qknorm", "fixtures/goldens/tiny-qknorm.safetensors")
        #expect(!healthy.contains("cannot show"), "\(healthy)")
    }

    @Test("calibration says where it cannot tell what a golden does not show")
    func calibrationTellsOfInputsThatDoNotFit() throws {
        let outcome = try verify(
            "fixtures/tiny/plain", "--reference", "fixtures/goldens/sana-digits-b1-t1.safetensors",
            "--calibrate", "t.json", "--no-record", "--allow-stale")
        #expect(outcome.code == 1, "\(outcome.talk)")
        #expect(
            outcome.talk.contains(
                "cannot determine which faults fixtures/goldens/sana-digits-b1-t1.safetensors does not show:"
            ), "\(outcome.talk)")
    }

    /// Neither the source's weights nor hashes are at hand, and errors stay within twice the
    /// healthy.
    @Test(
        "a calibration finds the wrong scale of one channel",
        arguments: [1.1, 127.0 / 128] as [Float])
    func calibrationFindsAWrongScale(_ factor: Float) throws {
        let model = try DoctoredCheckpoint.int8Digits()
        let arguments = [
            "verify", model.path, "--reference", "fixtures/goldens/sana-digits-b1-t1.safetensors",
            "--allow-stale", "--no-record", "--summary",
        ]
        #expect(try program.run(arguments + ["--calibrate", "t.json"]).code == 0)
        let verified = arguments + ["--tolerances", "t.json"]
        let healthy = try program.run(verified)
        #expect(healthy.code == 0, "\(healthy.output)\(healthy.talk)")
        let name = "transformer_blocks.2.attn2.to_v.scale"
        let bytes = try model.bytes(name)
        let word = bytes[20..<24].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        let wrong = Float(bitPattern: word) * factor
        try model.patch(name, element: 5, with: littleEndianBytes(wrong.bitPattern))
        let found = try program.run(verified)
        #expect(found.code == 1)
        let text = Format.decimal(Double(wrong / Float(bitPattern: word)), digits: 3)
        #expect(
            found.output.contains(
                "\(name): channel 5 of \(bytes.count / 4) has \(text) × the scale of the calibration"
            ),
            "\(found.output)")
        // Other rules choose other scales.
        try model.patch(name, with: bytes)
        let names = try OpenedModel.open(model.path).source.tensors.map(\.name)
        for name in names where name.hasSuffix(".scale") {
            let scaled = try model.bytes(name).mappingWords(4) { bits in
                let value = Float(bitPattern: UInt32(truncatingIfNeeded: bits))
                return littleEndianBytes((value * 0.999).bitPattern)
            }
            try model.patch(name, with: scaled)
        }
        let other = try program.run(verified)
        #expect(other.code == 0, "\(other.output)")
        #expect(other.talk.contains("was converted with other rules"), "\(other.talk)")
    }

    // MARK: Own errors

    @Test func missingEntryIsWhyThereIsNoColumnOfOwnErrors() throws {
        let builder = try SafetensorsBuilder(
            copying: Fixtures.path + "/../" + golden, without: "activations.caption_norm")
        try folder.write("g.safetensors", builder.file)
        let words = "own errors could not be measured: the golden has no usable caption_norm"
        let outcome = try verify(model, "--reference", "g.safetensors", "--no-record")
        #expect(outcome.code == 1)
        #expect(outcome.output.contains(words))
        let off = try verify(
            model, "--reference", "g.safetensors", "--no-record", "--no-isolated")
        #expect(!off.output.contains(words))
    }

    @Test func isolatedNeedsAForward() throws {
        let refused = try verify(model, "--trajectory", trajectory, "--isolated", "--no-record")
        #expect(refused.code == 64)
        #expect(refused.talk.contains("--isolated"))
        #expect(
            try verify(model, "--trajectory", trajectory, "--no-isolated", "--no-record").code == 0)
    }

    @Test func staleMessageTellsOfTheSourceOfAnArchive() throws {
        #expect(
            try program.run(
                "convert", "fixtures/tiny/plain", "--dtype", "int8", "--output",
                "d.safetensors.zst"
            ).code == 0)
        let other = "fixtures/goldens/tiny-positions.safetensors"
        let archive = try verify("d.safetensors.zst", "--reference", other, "--no-record")
        #expect(archive.output.contains("the archive was made from"))
        let plain = try verify("fixtures/tiny/plain", "--reference", other, "--no-record")
        #expect(plain.output.contains("the model's are"))
    }

    // MARK: Pictures

    @Test func picturesOfAllTrajectoriesAreLabelledInTheReport() throws {
        #expect(
            try program.run(
                "convert", model, "--dtype", "int8", "--output", "d.safetensors.zst"
            ).code == 0)
        let drawn = try verify(
            model, "d.safetensors.zst", "--trajectory", trajectory, "--trajectory",
            "fixtures/trajectories/sana-digits-euler-20.safetensors", "--tolerance", "1e-2",
            "--pictures", "p.png")
        #expect(drawn.code == 0, "\(drawn.talk)")
        let report = try program.run(
            "history", "report", "--output", "r.html", "--picture", "p.png")
        #expect(report.code == 0, "\(report.talk)")
        let page = String(decoding: try fileBytes(folder("r.html")), as: UTF8.self)
        for caption in [
            "diffusers along fixtures/trajectories/sana-digits-dpm-short-3.safetensors",
            "fixtures/sana-digits (BF16, fp32) along fixtures/trajectories/sana-digits-euler-20",
            "d.safetensors.zst (I8+BF16+F32, fp32) along",
        ] {
            #expect(page.contains("<li>\(caption)"), "\(caption)")
            #expect(drawn.talk.contains(caption), "\(drawn.talk)")
        }
        #expect(page.components(separatedBy: "<li>").count == 7)
        // Another program's picture has no labels, and bytes behind its end are not read.
        let png = try fileBytes(folder("p.png"))
        for (name, content) in [
            ("cut.png", Array(png.prefix(60))), ("head.png", Array(png.prefix(8))),
        ] {
            try folder.write(name, content)
            let plain = try program.run(
                "history", "report", "--output", "r.html", "--picture", name)
            let page = String(decoding: try fileBytes(folder("r.html")), as: UTF8.self)
            #expect(plain.code == 0)
            #expect(!page.contains("<figcaption>"))
        }
    }
}
