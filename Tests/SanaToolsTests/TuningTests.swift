import Foundation
import SanaModel
import SanaQuant
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// Choosing which weights become int8.
@Suite(.tags(.process)) struct TuningTests {
    private static let goldens = ["b1-t1", "b2-t999", "b1-t500-full"].map {
        Fixtures.path + "/goldens/sana-digits-\($0).safetensors"
    }
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func search(_ goldens: [String]) throws -> PrecisionSearch {
        PrecisionSearch(
            subject: ForwardPrecision(
                model: try OpenedModel.open(Fixtures.digits),
                goldens: try goldens.map { try Golden(path: $0) }, compute: .fp32,
                numerics: .fp32, workers: WorkerPool(threadCount: 2)), compute: .fp32)
    }

    /// On sana-digits the search beats both usual choices at no more than their size.
    @Test func tunedChoiceBeatsTheUsualOnesAtTheirSize() throws {
        let tuning = try Tuning.run(search(Self.goldens), tolerance: 1e-5)
        #expect(tuning.baselines.count == 2)
        for (name, baseline, tuned) in tuning.baselines {
            let tuned = try #require(tuned)
            #expect(tuned.bytes <= baseline.bytes, "\(name)")
            #expect(tuned.error < baseline.error / 2, "\(name)")
            // Nor does its own front.
            #expect(
                tuning.front.allSatisfy { $0.bytes > baseline.bytes || $0.error >= tuned.error })
        }
        let chosen = try #require(tuning.chosen)
        #expect(chosen.error <= 1e-5)
        // The front is one: sizes fall, errors rise.
        for (one, next) in zip(tuning.front, tuning.front.dropFirst()) {
            #expect(one.bytes > next.bytes)
            #expect(one.error < next.error)
        }
        // Nothing on the front that keeps the tolerance is smaller.
        #expect(tuning.front.allSatisfy { $0.error > 1e-5 || $0.bytes >= chosen.bytes })
        let ranked = tuning.candidates.map(\.errorPerByte)
        #expect(ranked == ranked.sorted())
        #expect(ranked.count == 46)
        #expect(tuning.json["baselines"]?.array?.count == 2)
    }

    /// Errors do not add up, so no weight may be left out by its own error alone.
    @Test func nothingThatStillFitsIsLeftOut() throws {
        let search = try search(Self.goldens)
        let tuning = try Tuning.run(search, tolerance: 1e-5)
        let chosen = try #require(tuning.chosen)
        for candidate in tuning.candidates where !chosen.names.contains(candidate.name) {
            let larger = try search.measure(
                chosen.names.union([candidate.name]), tuning.candidates)
            #expect(larger.error > 1e-5, "\(candidate.name)")
        }
        // A choice that somebody found by hand.
        #expect(chosen.bytes <= 1_340_930)
    }

    @Test func goldenThatCannotTellIsRefused() throws {
        let program = try BuiltProgram()
        try program.writeRoundedGolden("rounded.safetensors")
        let rounded = try program.run(
            "tune", "fixtures/tiny/plain", "--reference", "rounded.safetensors", "--tolerance",
            "1e-9")
        #expect(rounded.code == 1)
        #expect(rounded.talk.contains("whose rounding alone"))
        let model = try DoctoredCheckpoint("sana-digits/transformer")
        let name = "transformer_blocks.0.attn1.to_q.weight"
        try model.patch(name, with: model.bytes(name).mappingBF16 { $0 * 1.01 })
        let stale = try program.run(["tune", model.path, "--reference", Self.goldens[0]])
        #expect(stale.code == 1, "\(stale.talk)")
        #expect(stale.talk.contains("golden is stale"), "\(stale.talk)")
    }

    @Test func goldenInFloat16IsTunedForWithItsNumerics() throws {
        let program = try BuiltProgram()
        let arguments = [
            "tune", "fixtures/overflow", "--reference",
            "fixtures/overflow/golden-float16.safetensors",
        ]
        let other = try program.run(arguments)
        #expect(other.code == 1)
        #expect(other.talk.contains("choose with --numerics"))
        let tuned = try program.run(arguments + ["--numerics", "fp16-clip"])
        #expect(tuned.code == 0, "\(tuned.talk)")
        #expect(tuned.output.contains("CHOSEN"), "\(tuned.talk)")
    }

    @Test func toleranceThatNoModelMeetsGivesNoChoice() throws {
        let tuning = try Tuning.run(search([Self.goldens[0]]), tolerance: 1e-20)
        #expect(tuning.chosen == nil)
        #expect(tuning.rules.isEmpty)
        #expect(tuning.summary.hasPrefix("NONE"))
    }

    /// What the search measures in memory is what convert and verify get.
    @Test func rulesMakeTheArchiveThatWasMeasured() throws {
        let program = try BuiltProgram()
        let references = Self.goldens.prefix(2).flatMap { ["--reference", $0] }
        let tuned = try program.run(
            ["tune", "fixtures/sana-digits", "--tolerance", "1e-5", "--output", "rules.txt"]
                + references + ["--format", "json"])
        #expect(tuned.code == 0, "\(tuned.talk)")
        let expected = try #require(tuned.json?["chosen"]?["relative_power"]?.double)
        let converted = try program.run(
            "convert", "fixtures/sana-digits", "--dtype", "int8", "--rule-file", "rules.txt",
            "--output", "t.safetensors.zst", "--format", "json")
        #expect(converted.code == 0, "\(converted.talk)")
        let verified = try program.run(
            ["verify", "t.safetensors.zst", "--format", "json"] + references)
        #expect(verified.code == 0)
        let errors = verified.json?.array?.compactMap { $0["output"]?["relative_power"]?.double }
        #expect(errors?.max() == expected)
        let refused = try program.run(
            ["tune", "fixtures/sana-digits", "--output", "rules.txt"] + references)
        #expect(refused.code == 73)
        let quantized = try program.run(["tune", "t.safetensors.zst"] + references)
        #expect(quantized.code == 64)
        let none = try program.run("tune", "fixtures/sana-digits")
        #expect(none.code == 64)
        let strict = try program.run(
            ["tune", "fixtures/sana-digits", "--tolerance", "1e-20", "--output", "none.txt"]
                + references)
        #expect(strict.code == 1)
        #expect(!program.folder.entries.contains("none.txt"))
        let unfit = try program.run(
            "tune", "fixtures/tiny/plain", "--reference", Self.goldens[0], "--allow-stale")
        #expect(unfit.code == 65)
    }

    @Test func quantizedSourceHoldsTheBytesOfAConversion() throws {
        let program = try BuiltProgram()
        for arguments in [
            [
                "convert", "fixtures/sana-digits", "--dtype", "int8", "--output",
                "a.safetensors.zst",
            ],
            ["unpack", "a.safetensors.zst", "--output", "int8"],
        ] { #expect(try program.run(arguments).code == 0) }
        let converted = try OpenedModel.open(program.folder("int8")).source
        let source = try OpenedModel.open(Fixtures.digits).source
        let names = Set(converted.tensors.filter { $0.dtype == .i8 }.map(\.name))
        let quantized = QuantizedSource(source, quantizing: names)
        #expect(Set(quantized.tensors.map(\.name)) == Set(converted.tensors.map(\.name)))
        for tensor in converted.tensors {
            #expect(quantized.info(tensor.name) == tensor)
            let ours = try quantized.bytes(of: tensor).withUnsafeBytes { Array($0) }
            let theirs = try converted.bytes(of: tensor).withUnsafeBytes { Array($0) }
            #expect(ours == theirs, "\(tensor.name)")
        }
    }

    @Test func weightThatIsNotFiniteIsNamed() throws {
        let model = try DoctoredCheckpoint("sana-digits/transformer")
        let name = "transformer_blocks.0.attn1.to_q.weight"
        try model.patch(name, element: 5, with: [0x80, 0x7F])
        let source = QuantizedSource(
            try OpenedModel.open(model.path).source, quantizing: [name])
        let info = try #require(source.info(name))
        #expect { try source.bytes(of: info) } throws: {
            ($0 as? BadDataError)?.reason == "element 5 is not finite"
        }
    }

    @Test func rulesAreReadLineByLine() throws {
        func rules(_ text: String) throws -> [String] {
            try RuleFile.read(folder.write("r.txt", Array(text.utf8))).map(\.text)
        }
        #expect(try rules("") == [])
        #expect(try rules("# a=int4\n\n  \n") == [])
        #expect(try rules("# x\r\na=int8\r\nb.*=keep") == ["a=int8", "b.*=keep"])
        for text in ["a", "a=int4", "x=keep\n(=int8"] {
            #expect { try rules(text) } throws: {
                ($0 as? BadDataError)?.reason.contains("line \(text.contains("\n") ? 2 : 1):")
                    == true
            }
        }
        #expect(throws: FileError.self) { try RuleFile.read(folder("absent")) }
        #expect(throws: BadDataError.self) {
            try rules(String(repeating: "#", count: 1 << 20 + 1))
        }
    }

    /// Blocks of all networks are chosen by the picture, and the rules make what was measured.
    @Test func pipelineIsTunedByItsPicture() throws {
        let program = try BuiltProgram()
        let model = "fixtures/pipelines/sana"
        func tune(_ decibels: String) throws -> BuiltProgram.Outcome {
            try program.run(
                "tune", model, "--reference", "\(model).safetensors", "--psnr", decibels,
                "--output", "rules.txt", "--force", "--format", "json")
        }
        let tuned = try tune("38")
        #expect(tuned.code == 0, "\(tuned.talk)")
        let names = (tuned.json?["tensors"]?.array ?? []).compactMap { $0["name"]?.string }
        #expect(names.contains("transformer: transformer_blocks.1"), "\(names)")
        #expect(names.contains("text_encoder: layers.0"), "\(names)")
        #expect(names.contains { $0.hasPrefix("vae: decoder.") }, "\(names)")
        // No picture shows what the encoder does.
        #expect(!names.contains { $0.hasPrefix("vae: encoder.") }, "\(names)")
        let chosen = try #require(tuned.json?["chosen"])
        let expected = try #require(chosen["psnr_db"]?.double)
        #expect(expected >= 38)
        let count = try #require(chosen["int8"]?.int)
        #expect(count > 0)
        #expect(count < names.count, "\(tuned.output)")
        let converted = try program.run(
            "convert", model, "--dtype", "int8", "--rule-file", "rules.txt", "--output", "tuned")
        #expect(converted.code == 0, "\(converted.talk)")
        let verified = try program.run(
            "verify", "tuned", "--reference", "\(model).safetensors", "--tolerance", "1",
            "--no-record", "--format", "json")
        let image = verified.json?["stages"]?.array?.first { $0["name"]?.string == "image" }
        #expect(abs(try #require(image?["psnr_db"]?.double) - expected) < 0.1)
        // What asks less gets more.
        let small = try tune("20")
        let bytes = try #require(small.json?["chosen"]?["bytes"]?.int)
        #expect(bytes < (chosen["bytes"]?.int ?? 0))
        let none = try tune("150")
        #expect(none.code == 1)
        #expect(none.output.contains("\"chosen\": null"))
    }

    @Test func pipelineIsNotTunedByWhatDoesNotFit() throws {
        let program = try BuiltProgram()
        let folder = "fixtures/pipelines"
        let cases: [([String], Int32, String)] = [
            (
                ["sana", "--reference", "\(folder)/sana.safetensors", "--tolerance", "1"], 64,
                "--psnr"
            ),
            (["sana", "--reference", "\(folder)/sprint.safetensors"], 65, "SanaSprintPipeline"),
            (
                [
                    "sana", "--reference", "\(folder)/sana.safetensors", "--reference",
                    Self.goldens[0],
                ], 64, "only one of these kinds"
            ),
            (["sana", "--reference", "\(folder)/sana.safetensors", "--psnr", "-3"], 64, "--psnr"),
        ]
        for (arguments, code, text) in cases {
            let outcome = try program.run(
                ["tune", "\(folder)/\(arguments[0])"] + arguments.dropFirst())
            #expect(outcome.code == code, "\(arguments): \(outcome.talk)")
            #expect(outcome.talk.contains(text), "\(arguments): \(outcome.talk)")
        }
        let network = try program.run(
            "tune", "fixtures/sana-digits", "--reference", Self.goldens[0], "--psnr", "30")
        #expect(network.code == 64)
    }
}
