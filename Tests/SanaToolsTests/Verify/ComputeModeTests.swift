import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// What `--compute` computes, and what outputs call it.
@Suite(.tags(.process)) struct ComputeModeTests {
    private let program: BuiltProgram
    private let model = "fixtures/sana-digits"
    private let golden = "fixtures/goldens/sana-digits-b2-t999.safetensors"

    init() throws { program = try BuiltProgram() }

    private func verify(_ arguments: String...) throws -> BuiltProgram.Outcome {
        try program.run(["verify"] + arguments)
    }

    @Test func oldNamesOfComputeModesAreUnderstood() throws {
        for (old, new) in [("w8a16", "fp32"), ("w8a8", "int8"), ("w8a8-bf16", "int8-bf16")] {
            #expect(ComputeMode(argument: old) == ComputeMode(argument: new))
            #expect(ComputeMode(argument: new)?.oldName == old)
            #expect(ComputeMode(argument: new)?.rawValue == new)
        }
        #expect(ComputeMode(argument: "int4") == nil)
    }

    @Test("text names compute modes as --compute does, and JSON as records do")
    func textNamesComputeModesAsTheOptionDoes() throws {
        let archive = "d.safetensors.zst"
        #expect(
            try program.run("convert", model, "--dtype", "int8", "--output", archive).code == 0)
        for (mode, recorded) in [
            ("int8", "w8a8"), ("int8-bf16", "w8a8-bf16"), ("bf16", "bf16"), ("fp32", "w8a16"),
        ] {
            let profile = try program.run(
                "profile", archive, "--latent", "8x8", "--repeat", "1", "--compute", mode)
            #expect(profile.output.contains("compute \(mode), "), "\(profile.output)")
            for format in ["text", "markdown"] {
                let two = try verify(
                    archive, "--reference", golden, "--reference",
                    "fixtures/goldens/sana-digits-b1-t1.safetensors", "--compute", mode, "--format",
                    format, "--no-record")
                #expect(two.output.contains("compute \(mode), "), "\(two.output)")
                #expect(mode == recorded || !two.output.contains(recorded), "\(two.output)")
            }
            let json = try verify(
                archive, "--reference", golden, "--compute", mode, "--format", "json",
                "--no-record")
            #expect(json.json?["compute"]?.string == recorded)
        }
        let shown = try program.run("history", "show", "4")
        #expect(shown.output.contains("compute fp32, "), "\(shown.output)")
    }

    @Test func int8RunsInAllModesAndRecordsWhich() throws {
        #expect(
            try program.run(
                "convert", model, "--dtype", "int8", "--output", "d.safetensors.zst"
            ).code == 0)
        var outputs: [String: JSONValue?] = [:]
        for compute in ["w8a16", "w8a8", "int8-bf16"] {
            for threads in ["1", "2"] {
                let outcome = try verify(
                    "d.safetensors.zst", "--reference", golden, "--compute", compute, "--threads",
                    threads, "--format", "json")
                #expect(outcome.code == 0)
                let recorded = compute == "int8-bf16" ? "w8a8-bf16" : compute
                #expect(outcome.json?["compute"]?.string == recorded)
                let layers = outcome.json?["layers"]
                #expect(outputs[compute, default: layers] == layers)
                outputs[compute] = layers
            }
        }
        #expect(outputs["w8a16"] != outputs["w8a8"])
        #expect(outputs["int8-bf16"] != outputs["w8a8"])
        #expect(outputs["int8-bf16"] != outputs["w8a16"])
        let float = try verify(
            model, "--reference", golden, "--compute", "w8a8", "--format", "json")
        #expect(float.code == 0)
        #expect(float.json?["compute"]?.string == "fp32")
        // Without int8 weights the mixed mode is bf16.
        let mixed = try verify(
            model, "--reference", golden, "--compute", "int8-bf16", "--format", "json")
        let rounded = try verify(
            model, "--reference", golden, "--compute", "bf16", "--format", "json")
        #expect(mixed.code == 0)
        #expect(mixed.json?["compute"]?.string == "bf16")
        #expect(mixed.json?["layers"] == rounded.json?["layers"])
    }
}
