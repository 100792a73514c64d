import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Files as trainers save them, through the built program.
@Suite(.tags(.process)) struct StateDictionaryTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    init() throws { program = try BuiltProgram() }

    @Test("a training checkpoint opens, and so do its averaged weights")
    func trainingCheckpoint() throws {
        let file = "fixtures/originals/training.pth"
        let config = ["--config", "fixtures/tiny/plain/config.json"]
        let model = try program.run(["inspect", file] + config + ["--digest", "--format", "json"])
        #expect(model.code == 0, "\(model.output) \(model.talk)")
        let notes = (model.json?["notes"]?.array ?? []).compactMap(\.string).joined()
        #expect(notes.contains("'logvar_step' (an int), 'none' (None)"), "\(notes)")
        #expect(notes.contains("'blocks.0._extra_state' (state of a module)"), "\(notes)")
        #expect(notes.contains("--weights ema"))
        let averaged = try program.run(
            ["inspect", file] + config + ["--digest", "--format", "json", "--weights", "ema"])
        #expect(averaged.code == 0, "\(averaged.talk)")
        #expect(averaged.json?["digest"] != model.json?["digest"])
        let same = try program.run(["diff", file, "fixtures/originals/plain.pth"] + config)
        #expect(same.code == 0, "\(same.output) \(same.talk)")
        let ema = ["--weights", "ema"]
        for other in ["fixtures/tiny/plain", "a.safetensors"] {
            if other == "a.safetensors" {
                let made = try program.run(
                    ["convert", file, "--dtype", "fp32", "--container", "safetensors"]
                        + ["--output", "a"] + config + ema)
                #expect(made.code == 0, "\(made.talk)")
                try folder.write(
                    other, fileBytes(folder("a/diffusion_pytorch_model.safetensors")))
            }
            let compared = try program.run(["diff", file, other] + config + ema)
            #expect(compared.code == (other == "a.safetensors" ? 0 : 1), "\(compared.talk)")
        }
        let none = try program.run(
            ["inspect", "fixtures/originals/plain.pth"] + ema + config)
        #expect(none.code == 65)
        let models = ["fixtures/tiny/plain", "fixtures/tiny/qknorm"]
        #expect(try program.run(["diff"] + models + ema).code == 64)
    }

    @Test(
        "prefixes of wrappers are told and left out",
        arguments: ["_orig_mod.", "module.", "module._orig_mod.", "model.", "base_model.model."])
    func wrappedNames(_ prefix: String) throws {
        let source = Fixtures.path + "/tiny/plain"
        let builder = try SafetensorsBuilder(
            copying: source + "/diffusion_pytorch_model.safetensors"
        ) { (prefix + $0.name, $0.shape, $1) }
        try FileManager.default.createDirectory(
            atPath: folder("w"), withIntermediateDirectories: false)
        try folder.write("w/diffusion_pytorch_model.safetensors", builder.file)
        try FileManager.default.copyItem(
            atPath: source + "/config.json", toPath: folder("w/config.json"))
        let same = try program.run(
            "diff", "w/diffusion_pytorch_model.safetensors", "fixtures/tiny/plain")
        #expect(same.code == 0, "\(same.output) \(same.talk)")
        let verified = try program.run(
            "verify", "w", "--reference", "fixtures/goldens/tiny-plain.safetensors", "--tolerance",
            "1e-5", "--allow-stale", "--no-record")
        #expect(verified.code == 0, "\(verified.output) \(verified.talk)")
        #expect(verified.talk.contains("names are read without"), "\(verified.talk)")
    }

    @Test("original names in a directory are told, and the file itself opens")
    func originalNamesInADirectory() throws {
        let weights = "d/diffusion_pytorch_model.safetensors"
        let model = "fixtures/tiny/plain"
        let written = try program.run(
            "convert", model, "--dtype", "fp32", "--container", "safetensors", "--names",
            "original", "--output", "o.safetensors")
        #expect(written.code == 0, "\(written.talk)")
        try folder.write(weights, fileBytes(folder("o.safetensors")))
        try folder.write("d/config.json", fileBytes(Fixtures.path + "/tiny/plain/config.json"))
        try program.expect(
            "under the original names",
            from: [
                (1, ["inspect", "d"]), (65, ["profile", "d"]), (65, ["diff", "d", model]),
                (65, ["convert", "d", "--dtype", "fp16"]),
            ])
        #expect(try program.run("diff", weights, model).code == 0)
    }

    @Test("layers of an adapter that is not merged are named")
    func unmergedLayers() throws {
        let builder = try SafetensorsBuilder(
            copying: Fixtures.path + "/tiny/plain/diffusion_pytorch_model.safetensors"
        ) { ($0.name.replacing("to_q.weight", with: "to_q.base_layer.weight"), $0.shape, $1) }
        try folder.write("p.safetensors", builder.file)
        let outcome = try program.run(
            "convert", "p.safetensors", "--config", "fixtures/tiny/plain/config.json", "--dtype",
            "fp16")
        #expect(outcome.code == 65)
        #expect(outcome.talk.contains("PEFT adapter that is not merged"), "\(outcome.talk)")
    }

    // MARK: LoRA

    @Test("a merged file adds what its parts add")
    func mergedLora() throws {
        let files = ["fixtures/lora/style.safetensors=0.8", "fixtures/lora/detail=-0.5"]
        let merged = try program.run(
            ["lora", "merge"] + files + [
                "--model", "fixtures/tiny/plain", "--output", "m.safetensors",
            ])
        #expect(merged.code == 0, "\(merged.talk)")
        let options = ["--dtype", "fp32", "--container", "safetensors", "--output"]
        let first = try program.run(
            ["convert", "fixtures/tiny/plain", "--lora", "m.safetensors"] + options + ["a"])
        let second = try program.run(
            ["convert", "fixtures/tiny/plain"] + files.flatMap { ["--lora", $0] } + options + ["b"])
        #expect(first.code == 0, "\(first.talk)")
        #expect(second.code == 0, "\(second.talk)")
        #expect(try program.run("diff", "a", "b", "--tolerance", "1e-6").code == 0)
        #expect(
            try program.run("diff", "a", "fixtures/tiny/plain", "--tolerance", "1e-2").code == 1)
        // What was added is told by the file itself.
        let inspected = try program.run("inspect", "b", "--format", "json")
        #expect(
            inspected.json?["lora"]?.array?.compactMap { $0["name"]?.string }
                == ["style.safetensors", "adapter_model.safetensors"])
    }

    @Test("an extracted file brings the tuned model back")
    func extractedLora() throws {
        let options = ["--dtype", "fp32", "--container", "safetensors", "--output"]
        _ = try program.run(
            ["convert", "fixtures/tiny/plain", "--lora", "fixtures/lora/style.safetensors"]
                + options
                + ["tuned"])
        for (rank, tolerance, code) in [("8", "1e-5", Int32(0)), ("1", "1e-5", 1)] {
            let extracted = try program.run(
                "lora", "extract", "tuned", "fixtures/tiny/plain", "--rank", rank, "--output",
                "e.safetensors", "--force")
            #expect(extracted.code == 0, "\(extracted.talk)")
            _ = try program.run(
                ["convert", "fixtures/tiny/plain", "--lora", "e.safetensors"] + options
                    + ["again", "--force"])
            let same = try program.run("diff", "again", "tuned", "--tolerance", tolerance)
            #expect(same.code == code, "\(rank): \(same.output) \(same.talk)")
        }
        let none = try program.run(
            "lora", "extract", "fixtures/tiny/plain", "fixtures/tiny/plain", "--output",
            "n.safetensors")
        #expect(none.code == 65)
    }
}
