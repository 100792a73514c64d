import Foundation
import FoundationXML
import GRDB
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// `verify` as its users call it.
@Suite(.tags(.process)) struct VerifyCommandTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }
    private let model = "fixtures/sana-digits"
    private let golden = "fixtures/goldens/sana-digits-b2-t999.safetensors"

    init() throws { program = try BuiltProgram() }

    private func verify(_ arguments: String...) throws -> BuiltProgram.Outcome {
        try program.run(["verify"] + arguments)
    }

    @Test func causeAndOwnErrorsAreInEveryFormat() throws {
        let doctored = try DoctoredCheckpoint("sana-digits/transformer")
        let name = "transformer_blocks.1.attn1.to_out.0.weight"
        try doctored.patch(name, with: doctored.bytes(name).mappingBF16 { $0 * 1.25 })
        let cause = "transformer_blocks.1.attn1"
        let arguments = ["verify", doctored.path, "--reference", golden, "--allow-stale"]
        let json = try program.run(arguments + ["--format", "json"])
        #expect(json.code == 1)
        #expect(json.json?["cause"]?.string == cause)
        #expect(json.json?["cause_basis"]?.string == "own")
        let layer = json.json?["layers"]?.array?.first { $0["path"]?.string == cause }
        #expect((layer?["own_relative_rms"]?.double ?? 0) > 0.1)
        #expect((layer?["would_pass_at"]?.double ?? 0) > 0.1)
        #expect(layer?["max_abs_index"]?.array?.count == 3)
        for key in [
            "local_relative_rms", "inherited_relative_rms", "gain", "mean_abs", "p99_abs",
            "golden_rms",
            "golden_max_abs", "fp16_headroom", "nonfinite",
        ] { #expect(layer?.members?.contains { $0.key == key } == true) }
        let text = try program.run(arguments)
        #expect(text.output.contains("cause: \(cause), own error"))
        #expect(text.output.contains("would pass at"))
        let jump = try program.run(arguments + ["--no-isolated"])
        #expect(jump.output.contains("cause: \(cause), where the error jumps"))
        #expect(jump.code == 1)
        #expect(!jump.output.contains("inherited"))
        let markdown = try program.run(arguments + ["--format", "markdown", "--wide"])
        #expect(markdown.output.contains("cause: \(cause)"))
        #expect(markdown.output.contains("| fp16 room |"))
        let stored = try DatabaseQueue(path: folder("reports/sana-tools.sqlite")).read {
            try String.fetchAll($0, sql: "SELECT DISTINCT cause FROM run")
        }
        #expect(stored == [cause])
    }

    @Test func layerTolerancesComeFromFlagsAndTheProject() throws {
        func tolerance(_ outcome: BuiltProgram.Outcome, _ path: String) -> Double? {
            outcome.json?["layers"]?.array?.first { $0["path"]?.string == path }?["tolerance"]?
                .double
        }
        let flags = try verify(
            model, "--reference", golden, "--layer-tolerance", "*.ff=1e-9", "--layer-tolerance",
            "*.3.*=5e-3", "--format", "json")
        #expect(flags.code == 1)
        #expect(flags.json?["first_out_of_tolerance"]?.string == "transformer_blocks.0.ff")
        #expect(tolerance(flags, "transformer_blocks.3.ff") == 1e-9)
        #expect(tolerance(flags, "transformer_blocks.3.attn1") == 5e-3)
        try folder.write(
            "sana-tools.yaml",
            Array(
                """
                model: \(model)
                references: \(golden)
                tolerance: 2e-6
                layer_tolerances: ['*.attn2=3e-3']
                """.utf8))
        let project = try verify("--format", "json", "--layer-tolerance", "*.0.attn2=4e-3")
        #expect(project.code == 0)
        #expect(tolerance(project, "transformer_blocks.0.attn2") == 4e-3)
        #expect(tolerance(project, "transformer_blocks.1.attn2") == 3e-3)
        #expect(tolerance(project, "norm_out") == 2e-6)
        for (rule, word) in [("nothing=1", "matches no layer"), ("x", "such as")] {
            let refused = try verify(model, "--reference", golden, "--layer-tolerance", rule)
            #expect(refused.code == 64, "\(refused.talk)")
            #expect(refused.talk.contains(word), "\(refused.talk)")
        }
    }

    @Test func calibrationIsWrittenAndUsed() throws {
        let goldens = ["--reference", "fixtures/goldens/sana-digits-b1-t1.safetensors"]
        let written = try program.run(
            ["verify", model, "--calibrate", "t.json", "--margin", "3", "--reference", golden]
                + goldens)
        #expect(written.code == 0, "\(written.talk)")
        #expect(written.talk.contains("24 layers"), "\(written.talk)")
        let used = try program.run(
            ["verify", model, "--tolerance-file", "t.json", "--reference", golden] + goldens)
        #expect(used.code == 0)
        #expect(used.output.contains("tolerance 2.00e-06"))
        let metric = try program.run(
            ["verify", model, "--tolerance-file", "t.json", "--metric", "relative_power"] + goldens)
        #expect(metric.code == 64)
        let several = try program.run(
            ["verify", model, model, "--calibrate", "t.json", "--reference", golden])
        #expect(several.code == 64)
        try folder.write("bad.json", Array("{}".utf8))
        let bad = try program.run(["verify", model, "--tolerance-file", "bad.json"] + goldens)
        #expect(bad.code == 65)
        #expect(bad.talk.contains("hint"))
        let stale = try verify(
            "fixtures/tiny/plain", "--reference", golden, "--calibrate", "none.json")
        #expect(stale.code == 1)
        #expect(!folder.entries.contains("none.json"))
    }

    @Test func severalModelsAndGoldensGiveOneVerdictEachAndOneForAll() throws {
        try folder.write("bad.safetensors", Array("<html>".utf8))
        let outcome = try verify(
            model, "fixtures/tiny/plain", "bad.safetensors", "--reference", golden,
            "--reference", "fixtures/goldens/tiny-plain.safetensors", "--format", "json")
        #expect(outcome.code == 65)
        #expect(
            outcome.json?.array?.compactMap { $0["verdict"]?.string }
                == ["pass", "fail", "fail", "pass", "error"])
        let listed = try program.run("history", "list", "--format", "json")
        // The model that cannot be read has failed against either golden.
        #expect(listed.results?.count == 6)
        let text = try verify(model, "--reference", golden, "--reference", golden, "--summary")
        #expect(text.output.hasSuffix("PASS: 2 of 2 comparisons within tolerance\n"))
    }

    /// An archive knows the digest of the weights it was made from; other goldens are stale to it.
    @Test func archiveIsMatchedByTheDigestOfItsSource() throws {
        #expect(
            try program.run(
                "convert", model, "--dtype", "int8", "--output", "d.safetensors.zst"
            ).code == 0)
        var builder = try SafetensorsBuilder(copying: Fixtures.path + "/../" + golden)
        builder.replaceInContract(#""digest":""#, #""digest":"0"#)
        try folder.write("stale.safetensors", builder.file)
        for (reference, flags, code) in [
            (golden, [], Int32(0)), ("stale.safetensors", [], 1),
            ("stale.safetensors", ["--allow-stale"], 0),
        ] as [(String, [String], Int32)] {
            let outcome = try program.run(
                ["verify", "d.safetensors.zst", "--reference", reference, "--format", "json"]
                    + flags)
            let ids = outcome.json?["problems"]?.array?.compactMap { $0["id"]?.string }
            #expect(outcome.code == code)
            #expect(ids == (code == 0 ? [] : ["stale"]))
        }
    }

    @Test func projectNamesTrajectoriesToo() throws {
        try folder.write(
            "sana-tools.yaml",
            Array(
                """
                model: \(model)
                references: \(golden)
                trajectories: fixtures/trajectories/sana-digits-dpm-short-3.safetensors
                tolerance: 1e-5
                """.utf8))
        let outcome = try verify("--format", "json")
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(
            outcome.json?.array?.map { $0["trajectory"]?["steps"]?.int ?? 0 } == [0, 3])
        let one = try verify("--reference", golden, "--format", "json")
        #expect(one.code == 0)
        #expect(one.json?["verdict"]?.string == "pass")
    }

    // MARK: JUnit

    /// Children of an element that are elements, in order.
    private func elements(_ node: XMLNode?) -> [XMLElement] {
        (node?.children ?? []).compactMap { $0 as? XMLElement }
    }

    private func attribute(_ element: XMLElement, _ name: String) -> String {
        element.attribute(forName: name)?.stringValue ?? ""
    }

    /// What Ant's schema demands of a suite: attributes with their types, elements in their order.
    private func checkSuite(_ suite: XMLElement) throws {
        let names = Set((suite.attributes ?? []).compactMap(\.name))
        #expect(
            names == [
                "package", "id", "name", "timestamp", "hostname", "tests", "failures", "errors",
                "time",
            ])
        #expect(
            attribute(suite, "timestamp").wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/) != nil)
        let children = elements(suite)
        let cases = children.filter { $0.name == "testcase" }
        #expect(
            children.map(\.name) == ["properties"] + cases.map(\.name) + [
                "system-out", "system-err",
            ])
        #expect(Int(attribute(suite, "tests")) == cases.count)
        for (name, count) in [("failure", "failures"), ("error", "errors")] {
            let found = cases.filter { elements($0).contains { $0.name == name } }
            #expect(Int(attribute(suite, count)) == found.count)
        }
        for item in cases {
            #expect(!attribute(item, "name").isEmpty)
            #expect(!attribute(item, "classname").isEmpty)
            #expect(Double(attribute(item, "time")) != nil)
            #expect(elements(item).count <= 1)
            for outcome in elements(item) {
                #expect(!attribute(outcome, "type").isEmpty)
                #expect(!attribute(outcome, "message").isEmpty)
            }
        }
        for property in elements(children.first) {
            #expect(property.name == "property")
            #expect(!attribute(property, "name").isEmpty)
        }
    }

    @Test func junitHasACaseForEachLayerAndCountsThatAddUp() throws {
        try folder.write("bad.safetensors", Array("<html>".utf8))
        let doctored = try DoctoredCheckpoint("sana-digits/transformer")
        let name = "transformer_blocks.1.attn1.to_out.0.weight"
        try doctored.patch(name, with: doctored.bytes(name).mappingBF16 { $0 * 1.25 })
        let outcome = try verify(
            model, doctored.path, "bad.safetensors", "--reference", golden, "--junit", "v.xml",
            "--format", "junit")
        #expect(outcome.code == 65)
        let file = String(decoding: try fileBytes(folder("v.xml")), as: UTF8.self)
        #expect(file == outcome.output)
        let document = try XMLDocument(data: Data(file.utf8))
        let root = try #require(document.rootElement())
        #expect(root.name == "testsuites")
        #expect((root.attributes ?? []).isEmpty)
        let suites = elements(root)
        #expect(suites.map { attribute($0, "tests") } == ["34", "34", "1"])
        #expect(suites.map { attribute($0, "errors") } == ["0", "0", "1"])
        #expect(attribute(suites[0], "failures") == "0")
        for suite in suites { try checkSuite(suite) }
        let cases = elements(suites[1]).filter { $0.name == "testcase" }
        let contract = cases.filter { attribute($0, "name").hasPrefix("contract.") }
        #expect(contract.count == 10)
        let failed = contract.filter { !elements($0).isEmpty }
        #expect(failed.map { attribute($0, "name") } == ["contract.stale"])
        let layer = try #require(
            cases.first { attribute($0, "name") == "transformer_blocks.1.attn1" })
        #expect(attribute(elements(layer)[0], "message").hasSuffix("the cause"))
    }

    /// A layer that could not be compared is a line of the viewer like those that were.
    @Test func junitHasACaseForALayerThatTheGoldenLacks() throws {
        let lost = "transformer_blocks.2.attn1"
        let builder = try SafetensorsBuilder(
            copying: Fixtures.path + "/../" + golden, without: "activations." + lost)
        try folder.write("g.safetensors", builder.file)
        let outcome = try verify(model, "--reference", "g.safetensors", "--format", "junit")
        #expect(outcome.code == 1)
        let document = try XMLDocument(data: Data(outcome.output.utf8))
        let suite = try #require(document.rootElement().map(elements)?.first)
        try checkSuite(suite)
        let failed = elements(suite).filter { $0.name == "testcase" && !elements($0).isEmpty }
        #expect(failed.map { attribute($0, "name") } == ["contract.missing", lost])
        #expect(failed.flatMap(elements).map { attribute($0, "type") } == ["missing", "missing"])
        // The history says what was wrong, and with which golden.
        let list = try program.run("history", "list")
        #expect(list.output.contains("fail, output RMS"))
        #expect(list.output.contains(", missing"))
        let show = try program.run("history", "show", "1")
        #expect(show.output.contains("against g.safetensors"))
        #expect(show.output.contains("missing: \(lost) is not in the golden"))
        let json = try program.run("history", "list", "--format", "json")
        let problems = json.json?.array?.first?["problems"]?.array ?? json.json?["problems"]?.array
        #expect(problems?.count == 1)
    }

    /// A layer with a tolerance of its own passes by no --tolerance.
    @Test func remedyOfALayerWithATolerancesOfItsOwnNamesIt() throws {
        let outcome = try verify(
            model, "--reference", golden, "--layer-tolerance", "caption_norm=1e-9")
        #expect(outcome.code == 1)
        #expect(outcome.output.contains("would pass if caption_norm had a tolerance of "))
        #expect(!outcome.output.contains("would pass at tolerance"))
        let json = try verify(
            model, "--reference", golden, "--layer-tolerance", "caption_norm=1e-9", "--format",
            "json")
        #expect(json.json?["would_pass_at"] == .null)
        let several = try verify(
            model, "--reference", golden, "--layer-tolerance", "caption_norm=1e-9",
            "--layer-tolerance", "proj_out=1e-9")
        #expect(several.code == 1)
        #expect(!several.output.contains("would pass if"))
        #expect(
            several.output.contains(
                "2 layers fail; the furthest from its tolerance of 1.00e-09 is proj_out with "))
    }

    @Test func tolerancesOfOtherGoldensAreRemarkedOn() throws {
        let other = "fixtures/goldens/sana-digits-b1-t1.safetensors"
        #expect(
            try verify(model, "--reference", golden, "--calibrate", "t.json", "--no-record").code
                == 0)
        let remarks = try [golden, other].map {
            try verify(
                model, "--reference", $0, "--tolerance-file", "t.json", "--no-record"
            ).talk.contains("were not calibrated with")
        }
        #expect(remarks == [false, true])
    }

    @Test func markupAndControlCharactersCannotBreakTheDocument() throws {
        let names = ["<a href=\"x\">&amp;\u{1}\u{FFFF}\t\n]]>", "é’"]
        let report = JUnitReport(suites: [
            .init(
                name: names[0], startedAt: Date(), seconds: 1, properties: [(names[0], names[0])],
                cases: names.flatMap {
                    [
                        .init(name: $0, outcome: .passed),
                        .init(name: $0, outcome: .failed(type: $0, message: $0)),
                        .init(name: $0, outcome: .error(type: $0, message: $0)),
                    ]
                }, output: names[0])
        ])
        let document = try XMLDocument(data: Data(report.text.utf8))
        let suite = try #require(document.rootElement().map(elements)?.first)
        try checkSuite(suite)
        #expect(attribute(suite, "name") == "<a href=\"x\">&amp;\\u{1}\\u{ffff}\t\n]]>")
    }

    @Test func inconclusiveComparisonHasAnExitCodeOfItsOwn() throws {
        try program.writeRoundedGolden("g.safetensors")
        let outcome = try verify(
            "fixtures/tiny/plain", "--reference", "g.safetensors", "--tolerance", "2e-3")
        #expect(outcome.code == 3)
        #expect(outcome.output.hasPrefix("INCONCLUSIVE"))
        #expect(
            outcome.output.hasSuffix("INCONCLUSIVE: 1 of 1 comparisons are inconclusive\n"))
        let strict = try verify(
            "fixtures/tiny/plain", "--reference", "g.safetensors", "--tolerance", "1e-3")
        #expect(strict.code == 1)
        #expect(strict.output.contains("whose rounding alone"))
    }

    @Test func bf16IsJudgedByErrorPowerAndAlikeFromAllKernelsAndThreads() throws {
        var layers: JSONValue?
        let portable = ["--kernels", "portable"]
        for more in [portable, ["--threads", "1"], ["--threads", "3"]] {
            let outcome = try program.run(
                ["verify", model, "--reference", golden, "--compute", "bf16", "--format", "json"]
                    + more)
            #expect(outcome.code == 0, "\(outcome.talk)")
            #expect(outcome.json?["compute"]?.string == "bf16")
            #expect(outcome.json?["metric"]?.string == "relative_power")
            layers = layers ?? outcome.json?["layers"]
            #expect(layers != nil)
            #expect(outcome.json?["layers"] == layers)
        }
        let exact = try verify(model, "--reference", golden, "--format", "json")
        #expect(exact.json?["layers"] != layers)
        let unknown = try verify(model, "--reference", golden, "--kernels", "mmx")
        #expect(unknown.code == 64)
        #expect(unknown.talk.contains("portable"))
    }
}
