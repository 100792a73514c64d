import SanaModel
import SanaQuant
import SanaTestSupport
import Testing

/// `convert --lora`, through the built program.
@Suite(.tags(.process)) struct LoraCommandTests {
    private let program: BuiltProgram
    private static let files = [
        "--lora", "fixtures/lora/style.safetensors=0.8",
        "--lora", "fixtures/lora/detail/adapter_model.safetensors=-0.5",
    ]

    init() throws { program = try BuiltProgram() }

    private func convert(_ arguments: String...) throws -> BuiltProgram.Outcome {
        try program.run(["convert", "fixtures/tiny/plain"] + arguments + Self.files)
    }

    private func verify(
        _ model: String, _ golden: String, _ tolerance: String, _ options: String...
    ) throws -> BuiltProgram.Outcome {
        try program.run(
            ["verify", model, "--reference", "fixtures/" + golden, "--tolerance", tolerance]
                + ["--no-record"] + options)
    }

    @Test func fusedModelComputesWhatDiffusersComputes() throws {
        let outcome = try convert(
            "--dtype", "fp32", "--container", "safetensors", "--output", "fused")
        #expect(outcome.code == 0, "\(outcome.talk)")
        let fused = try verify("fused", "lora/golden.safetensors", "2e-6", "--allow-stale")
        #expect(fused.code == 0, "\(fused.output)\(fused.talk)")
        let unfused = try verify(
            "fixtures/tiny/plain", "lora/golden.safetensors", "2e-6", "--allow-stale")
        #expect(unfused.code == 1)
    }

    /// An archive is that of the fused weights: neither its numbers nor its digest pass for those
    /// of the model without adapters.
    @Test func archiveSaysWhatWasAdded() throws {
        let outcome = try convert(
            "--dtype", "int8", "--output", "f.safetensors.zst", "--format", "json")
        #expect(outcome.code == 0, "\(outcome.talk)")
        let lora = try #require(outcome.json?["lora"]?.array)
        #expect(
            lora.map { $0["name"]?.string } == ["style.safetensors", "adapter_model.safetensors"])
        #expect(lora.map { $0["weight"]?.double } == [0.8, -0.5])
        let manifest = try #require(try Archive(path: program.folder("f.safetensors.zst")).manifest)
        #expect(manifest.version == [1, 2])
        #expect(manifest.adapters.map(\.weight) == [0.8, -0.5])
        let style = try SafetensorsFile(path: Fixtures.path + "/lora/style.safetensors")
        #expect(
            manifest.adapters[0].sha256 == ContentHash.sha256(of: style.fileBytes).hexadecimal)
        #expect(manifest.adapters.map(\.sha256) == lora.compactMap { $0["sha256"]?.string })

        let source = try Checkpoint.open(Fixtures.path + "/tiny/plain").source
        let digest = try WeightsDigest.compute(source, workers: WorkerPool(threadCount: 2))
        #expect(manifest.weightsDigest != digest)
        let stale = try verify("f.safetensors.zst", "goldens/tiny-plain.safetensors", "0.9")
        #expect(stale.code == 1)
        #expect(stale.output.contains("stale"), "\(stale.output)")
        let fused = try verify(
            "f.safetensors.zst", "lora/golden.safetensors", "1e-2", "--allow-stale")
        #expect(fused.code == 0, "\(fused.output)")
    }

    /// A golden recorded from the fused fp32 folder is not stale for archives with the same
    /// adapters.
    @Test func archiveHasTheDigestOfTheFusedFolder() throws {
        _ = try convert("--dtype", "fp32", "--container", "safetensors", "--output", "fused")
        _ = try convert("--dtype", "int8", "--output", "f.safetensors.zst")
        let folder = try Checkpoint.open(program.folder("fused")).source
        #expect(
            try WeightsDigest.compute(folder, workers: WorkerPool(threadCount: 1))
                == Archive(path: program.folder("f.safetensors.zst")).manifest?.weightsDigest)
    }

    @Test func bytesDoNotDependOnThreads() throws {
        for threads in ["1", "3"] {
            let outcome = try convert(
                "--dtype", "fp16", "--threads", threads, "--output", "t\(threads).safetensors.zst")
            #expect(outcome.code == 0, "\(outcome.talk)")
        }
        #expect(
            try fileBytes(program.folder("t1.safetensors.zst"))
                == fileBytes(program.folder("t3.safetensors.zst")))
    }

    @Test func refusalsHaveTheirExitCodes() throws {
        func code(_ lora: String) throws -> Int32 {
            try program.run(
                "convert", "fixtures/tiny/plain", "--dtype", "fp32", "--output",
                "x.safetensors.zst",
                "--lora", lora
            ).code
        }
        #expect(try code("fixtures/lora/style.safetensors=much") == 64)
        #expect(try code("fixtures/lora/style.safetensors=inf") == 64)
        #expect(try code("absent.safetensors") == 66)
        #expect(try code("fixtures/lora/golden.safetensors") == 65)
        #expect(try code("fixtures/tiny/plain/config.json") == 65)
        let model = try program.run(
            "convert", "fixtures/sana-digits", "--dtype", "fp32", "--output", "x.safetensors.zst",
            "--lora", "fixtures/lora/style.safetensors")
        #expect(model.code == 65)
        #expect(model.talk.contains("do not fit"), "\(model.talk)")
        #expect(try program.run("convert", "--lora", "fixtures/lora/style.safetensors").code == 64)
    }

    /// What peft writes is a folder.
    @Test func aFolderNamesTheAdapterInIt() throws {
        let digests = try [
            "fixtures/lora/detail", "fixtures/lora/detail/adapter_model.safetensors",
        ]
        .map { lora in
            let outcome = try program.run(
                "convert", "fixtures/tiny/plain", "--dtype", "fp32", "--lora", lora + "=0.5",
                "--output", "x.safetensors.zst", "--force")
            #expect(outcome.code == 0, "\(outcome.talk)")
            return try program.run(
                "digest", "x.safetensors.zst", "--format", "json"
            ).json?["content_sha256"]?.string
        }
        #expect(digests[0] != nil)
        #expect(digests[0] == digests[1])
    }

    // MARK: Text encoder

    /// Writes a LoRA of rank 2 for the transformer and the text encoder of sana-pictures, all
    /// values 1, so that a weight gains 2.
    private func writeBoth(
        _ encoder: String = "text_encoder.layers.0.self_attn.q_proj", settings: String? = nil,
        hasTransformer: Bool = true
    ) throws {
        var builder = SafetensorsBuilder()
        let transformer = ("transformer.transformer_blocks.0.attn1.to_q", 128, 128)
        for (module, rows, columns) in (hasTransformer ? [transformer] : []) + [(encoder, 64, 96)] {
            builder.add(
                "\(module).lora_A.weight", [2, columns], Array(repeating: 1, count: 2 * columns))
            builder.add(
                "\(module).lora_B.weight", [rows, 2], Array(repeating: 1, count: 2 * rows))
        }
        if let settings { builder.metadata["lora_adapter_metadata"] = settings }
        try program.folder.write("both.safetensors", builder.file)
    }

    private func convertPictures(_ arguments: String...) throws -> BuiltProgram.Outcome {
        try program.run(
            ["convert", "fixtures/sana-pictures", "--dtype", "bf16", "--lora", "both.safetensors"]
                + arguments)
    }

    /// What the first value of a weight of the new repository has gained.
    private func gain(_ file: String, _ name: String) throws -> Float {
        let values = try [program.folder("new/" + file), Fixtures.path + "/sana-pictures/" + file]
            .map { path in
                let file = try SafetensorsFile(path: path)
                let info = try #require(file.info(name))
                return try #require(try file.bytes(of: info).widened(from: info.dtype)).values[0]
            }
        return values[0] - values[1]
    }

    private static let encoderFile = "text_encoder/model.safetensors"
    private static let query = "layers.0.self_attn.q_proj.weight"

    @Test(
        "a text encoder's part is added to the text encoder of a whole repository",
        arguments: [
            "text_encoder.layers.0.self_attn.q_proj",
            "text_encoder.model.layers.0.self_attn.q_proj",
            "lora_te_layers_0_self_attn_q_proj", "lora_te_model_layers_0_self_attn_q_proj",
        ])
    func textEncoderOfARepository(_ module: String) throws {
        try writeBoth(module)
        let outcome = try convertPictures("--container", "safetensors", "--output", "new")
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(!outcome.talk.contains("left out"), "\(outcome.talk)")
        #expect(abs(try gain(Self.encoderFile, Self.query) - 2) < 0.02)
        #expect(try gain(Self.encoderFile, "layers.1.self_attn.q_proj.weight") == 0)
        let transformer = "transformer/diffusion_pytorch_model.safetensors"
        #expect(
            abs(try gain(transformer, "transformer_blocks.0.attn1.to_q.weight") - 2) < 0.02)
        for folder in ["new", "new/text_encoder"] {
            let inspected = try program.run("inspect", folder, "--format", "json")
            #expect(inspected.code == 0, "\(inspected.output)")
            #expect(
                inspected.json?["lora"]?.array?.map { $0["name"]?.string } == ["both.safetensors"])
        }
        #expect(
            try SafetensorsFile(path: program.folder("new/" + Self.encoderFile)).tensors
                .allSatisfy { $0.dtype == .bf16 })
    }

    @Test("settings of one component say nothing of the other")
    func settingsOfBothComponents() throws {
        try writeBoth(
            settings: #"{"transformer.r": 2, "transformer.lora_alpha": 4, "text_encoder.r": 2, "#
                + #""text_encoder.lora_alpha": 8}"#)
        let outcome = try convertPictures("--container", "safetensors", "--output", "new")
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(abs(try gain(Self.encoderFile, Self.query) - 8) < 0.1)
        let transformer = "transformer/diffusion_pytorch_model.safetensors"
        #expect(
            abs(try gain(transformer, "transformer_blocks.0.attn1.to_q.weight") - 4) < 0.1)
    }

    @Test("a text encoder's part that goes unused is a warning")
    func textEncoderLeftOut() throws {
        try writeBoth()
        let commands = [
            ["--output", "a.safetensors.zst"], ["--container", "gguf", "--output", "a.gguf"],
            [
                "--container", "safetensors", "--output", "new", "--component",
                "text_encoder=copy",
            ],
        ]
        for command in commands {
            let outcome = try program.run(
                ["convert", "fixtures/sana-pictures", "--dtype", "bf16", "--lora"]
                    + ["both.safetensors"] + command)
            #expect(outcome.code == 0, "\(outcome.talk)")
            #expect(
                outcome.talk.contains("1 module of a text encoder left out"), "\(outcome.talk)")
        }
        #expect(try gain(Self.encoderFile, Self.query) == 0)
        try writeBoth("text_encoder.layers.7.self_attn.q_proj")
        let unknown = try convertPictures("--container", "safetensors", "--output", "other")
        #expect(unknown.code == 65, "\(unknown.talk)")
        #expect(unknown.talk.contains("layers.7.self_attn.q_proj"), "\(unknown.talk)")
        #expect(!program.folder("other").pathExists)
    }

    @Test("a LoRA of the text encoder alone is added to a whole repository, and to nothing else")
    func textEncoderAlone() throws {
        try writeBoth(hasTransformer: false)
        let outcome = try convertPictures("--container", "safetensors", "--output", "new")
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(abs(try gain(Self.encoderFile, Self.query) - 2) < 0.02)
        for (folder, names) in [("new/text_encoder", ["both.safetensors"]), ("new", [])] {
            let inspected = try program.run("inspect", folder, "--format", "json")
            #expect(
                inspected.json?["lora"]?.array?.map { $0["name"]?.string } == names,
                "\(inspected.output)")
        }
        let model = "fixtures/sana-pictures"
        let convert = ["convert", model, "--dtype", "bf16", "--lora", "both.safetensors"]
        try program.expect(
            "holds only a LoRA of a text encoder",
            from: [
                (65, convert + ["--container", "gguf", "--output", "a.gguf"]),
                (65, convert + ["--output", "a.safetensors.zst"]),
                (65, ["lora", "merge", "both.safetensors", "--model", model, "--output", "m"]),
            ])
    }

    // MARK: Provenance

    @Test("every output says what was added, and what its source had before")
    func provenance() throws {
        let style = ["--lora", "fixtures/lora/style.safetensors"]
        let first = try program.run(
            ["convert", "fixtures/tiny/plain", "--dtype", "fp32", "--container", "safetensors"]
                + ["--output", "styled"] + style)
        #expect(first.code == 0, "\(first.talk)")
        let outputs = [
            ("a.safetensors.zst", []),
            ("b.safetensors", ["--container", "safetensors", "--names", "original"]),
            ("c", ["--container", "safetensors", "--max-shard-size", "60KB"]),
            ("d.gguf", ["--container", "gguf"]),
        ]
        for (path, options) in outputs {
            let outcome = try program.run(
                ["convert", "styled", "--dtype", "bf16", "--lora", "fixtures/lora/detail"]
                    + ["--output", path] + options)
            #expect(outcome.code == 0, "\(outcome.talk)")
            let config =
                path.hasSuffix(".safetensors")
                ? ["--config", "fixtures/tiny/plain/config.json"] : []
            let inspected = try program.run(["inspect", path, "--format", "json"] + config)
            #expect(
                inspected.json?["lora"]?.array?.compactMap { $0["name"]?.string }
                    == ["style.safetensors", "adapter_model.safetensors"],
                "\(path): \(inspected.output) \(inspected.talk)")
        }
    }
}
