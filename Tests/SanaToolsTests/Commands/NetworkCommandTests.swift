import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// What the built program does with an autoencoder and a text encoder.
@Suite(.tags(.process)) struct NetworkCommandTests {
    private let program: BuiltProgram

    init() throws { program = try BuiltProgram() }

    private static let autoencoders = [
        "activations", "batch-norm", "dc-gen", "in", "lite", "odd", "one-stage", "quadratic",
        "ragged-heads", "ratio4", "sana", "scales", "tiled", "wide",
    ]
    private static let textEncoders = [
        "bias", "cap-off", "long", "no-cap", "plain", "sliding", "wide",
    ]
    private static let goldens =
        autoencoders.flatMap { name in
            ["decode", "encode"].map {
                ("fixtures/dcae/\(name)", "fixtures/dcae/\(name)/\($0).safetensors")
            }
        } + textEncoders.map { ("fixtures/gemma/\($0)", "fixtures/gemma/\($0)/golden.safetensors") }

    @Test("every golden is met within 2e-6", arguments: goldens)
    func verify(_ model: String, _ golden: String) throws {
        let outcome = try program.run(
            "verify", model, "--reference", golden, "--tolerance", "2e-6", "--no-record",
            "--format", "json")
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(outcome.json?["verdict"]?.string == "pass")
        let layers = outcome.json?["layers"]?.array ?? []
        // A golden with tiling holds input and output only.
        #expect(layers.count >= (model.hasSuffix("tiled") ? 0 : 4))
    }

    @Test(
        "a fault is blamed on its layer",
        arguments: [
            ("dcae/sana", "decode", "decoder.up_blocks.0.1.conv2.weight", "decoder.up_blocks.0.1"),
            ("dcae/sana", "decode", "decoder.conv_in.bias", "decoder.conv_in"),
            ("dcae/sana", "encode", "encoder.conv_out.weight", "encoder.conv_out"),
            ("gemma/plain", "golden", "layers.1.mlp.up_proj.weight", "layers.1.mlp"),
            ("gemma/plain", "golden", "layers.0.self_attn.v_proj.weight", "layers.0.self_attn"),
            ("gemma/plain", "golden", "norm.weight", "norm"),
        ])
    func faults(_ model: String, _ golden: String, _ tensor: String, _ layer: String) throws {
        let folder = Fixtures.path + "/" + model
        let file = try #require(
            try WeightFiles.candidates(
                in: folder.folderEntries(), folder: folder,
                stem: model.hasPrefix("gemma") ? "model" : "diffusion_pytorch_model"
            ).first)
        let builder = try SafetensorsBuilder(copying: folder + "/" + file.name) { info, bytes in
            // 10 as F32.
            let ten: [UInt8] = [0, 0, 0x20, 0x41]
            return (info.name, info.shape, info.name == tensor ? ten + bytes.dropFirst(4) : bytes)
        }
        try FileManager.default.createDirectory(
            atPath: program.folder("model"), withIntermediateDirectories: false)
        try program.folder.write("model/" + file.name, builder.file)
        try program.folder.write("model/config.json", fileBytes(folder + "/config.json"))
        let outcome = try program.run(
            "verify", "model", "--reference", "fixtures/\(model)/\(golden).safetensors",
            "--allow-stale", "--tolerance", "2e-6", "--no-record", "--format", "json")
        #expect(outcome.code == 1, "\(outcome.talk)")
        #expect(outcome.json?["cause"]?.string == layer)
    }

    @Test(
        "conversion, archive and unpacking keep the network",
        arguments: [("dcae/sana", "decode"), ("gemma/plain", "golden")], ["fp16", "bf16", "int8"])
    func convert(_ item: (model: String, golden: String), _ dtype: String) throws {
        let model = "fixtures/" + item.model
        let archive = "model-\(dtype).safetensors.zst"
        #expect(
            try program.run(
                "convert", model, "--dtype", dtype, "--output", archive, "--allow-rounding"
            ).code == 0)
        #expect(
            try program.run(
                "verify", archive, "--reference", "\(model)/\(item.golden).safetensors",
                "--tolerance", dtype == "int8" ? "1e-2" : "1e-1", "--no-record"
            ).code == 0)
        #expect(try program.run("unpack", archive, "--output", "unpacked").code == 0)
        let inspection = try program.run("inspect", "unpacked", "--strict", "--format", "json")
        #expect(inspection.code == 0, "\(inspection.output)")
        let names = try program.folder("unpacked").folderEntries()
        let stem = item.model.hasPrefix("gemma") ? "model" : "diffusion_pytorch_model"
        #expect(names.sorted() == ["config.json", stem + ".safetensors"])
    }

    @Test("int8 takes what may be rounded and says why it leaves the rest")
    func plan() throws {
        let reasons = try ["fixtures/dcae/sana", "fixtures/gemma/plain"].map { model in
            let outcome = try program.run(
                "convert", model, "--dtype", "int8", "--dry-run", "--format", "json")
            #expect(outcome.code == 0)
            let tensors = outcome.json?["tensors"]?.array ?? []
            #expect(!tensors.isEmpty)
            return Dictionary(
                tensors.map { ($0["name"]?.string ?? "", $0["to"]?.string ?? "") }
            ) { first, _ in first }
        }
        let (autoencoder, text) = (reasons[0], reasons[1])
        #expect(autoencoder["decoder.up_blocks.0.1.conv1.weight"] == "I8")
        #expect(autoencoder["decoder.conv_in.weight"] == "F32")
        #expect(autoencoder["encoder.conv_out.weight"] == "F32")
        #expect(text["layers.0.self_attn.q_proj.weight"] == "I8")
        #expect(text["layers.0.mlp.down_proj.weight"] == "I8")
        #expect(text["embed_tokens.weight"] == "F32")
        #expect(text["norm.weight"] == "F32")
    }

    @Test("every tensor has a role and a part", arguments: ["dcae/sana", "dcae/in", "gemma/bias"])
    func roles(_ name: String) throws {
        let config = try Checkpoint.open(Fixtures.path + "/" + name).config()
        for tensor in config.expectedTensors.all {
            #expect(tensor.role != .other, "\(tensor.name)")
            #expect(tensor.part != .other, "\(tensor.name)")
        }
    }

    @Test("each entry is profiled as a series of its own")
    func profile() throws {
        for arguments in [
            ["fixtures/dcae/sana", "--latent", "4x4"],
            ["fixtures/dcae/sana", "--entry", "encode", "--latent", "4x4"],
            ["fixtures/dcae/sana", "--reference", "fixtures/dcae/sana/encode.safetensors"],
            ["fixtures/gemma/plain", "--tokens", "12"],
        ] {
            let outcome = try program.run(
                ["profile"] + arguments
                    + ["--repeat", "2", "--db", "h.sqlite", "--format", "json"])
            #expect(outcome.code == 0, "\(outcome.talk)")
            #expect(outcome.json?["layers"]?.array?.isEmpty == false)
        }
        let list = try program.run("history", "list", "--db", "h.sqlite", "--format", "json")
        #expect(list.results?.count == 4)
        let none = try program.run(
            "profile", "fixtures/gemma/plain", "--entry", "decode", "--repeat", "1", "--no-record")
        #expect(none.code == 64)
        #expect(none.talk.contains("has no entry 'decode'"))
    }

    @Test("the golden of another entry or class is not of this one")
    func foreign() throws {
        let outcome = try program.run(
            "verify", "fixtures/dcae/sana", "--reference",
            "fixtures/gemma/plain/golden.safetensors",
            "--no-record")
        #expect(outcome.code == 1)
        #expect(outcome.output.contains("golden is of a Gemma2Model"))
    }

    @Test("mit-han-lab's names are read", arguments: ["sana", "in"])
    func originalNames(_ name: String) throws {
        let folder = "fixtures/dcae/\(name)"
        for entry in ["decode", "encode"] {
            let outcome = try program.run(
                "verify", folder + "/original.safetensors", "--config", folder + "/config.json",
                "--reference", "\(folder)/\(entry).safetensors", "--tolerance", "2e-6",
                "--no-record")
            #expect(outcome.code == 0, "\(outcome.output) \(outcome.talk)")
        }
        let alone = try program.run("inspect", folder + "/original.safetensors")
        #expect(alone.output.contains("authors' names"), "\(alone.output)")
    }

    @Test("the configuration of a released autoencoder is what its config.json says")
    func releasedConfigurations() throws {
        for released in ReleasedAutoencoder.all {
            #expect(
                try AutoencoderDCConfig(json: released.config.json, file: "") == released.config)
        }
    }

    @Test("a released autoencoder's old class name is explained")
    func formerName() throws {
        try FileManager.default.copyItem(
            atPath: Fixtures.path + "/dcae/sana", toPath: program.folder("old"))
        let config = try JSONFile.read(program.folder("old/config.json"))
        try program.folder.write(
            "old/config.json",
            Array(config.setting("_class_name", to: .string("DCAE")).text().utf8))
        for command in ["inspect", "digest"] {
            _ = try program.run(command, "old")
        }
        let outcome = try program.run(
            "verify", "old", "--reference", "fixtures/dcae/sana/decode.safetensors", "--no-record")
        #expect(outcome.code == 65)
        #expect(outcome.talk.contains("former name of AutoencoderDC"))
    }

    /// A repository of a transformer, an autoencoder and a text encoder.
    private func makeRepository() throws {
        let manager = FileManager.default
        try manager.createDirectory(
            atPath: program.folder("repo"), withIntermediateDirectories: false)
        for (name, fixture) in [
            ("transformer", "sana-digits/transformer"), ("vae", "dcae/sana"),
            ("text_encoder", "gemma/wide"),
        ] {
            try manager.copyItem(
                atPath: Fixtures.path + "/" + fixture, toPath: program.folder("repo/" + name))
        }
        let index =
            #"{"_class_name": "SanaPipeline", "transformer": ["diffusers", "SanaTransformer2DModel"], "#
            + #""vae": ["diffusers", "AutoencoderDC"], "text_encoder": ["transformers", "Gemma2Model"]}"#
        try program.folder.write("repo/model_index.json", Array(index.utf8))
    }

    @Test("components of a repository become int8 by their own plans")
    func components() throws {
        try makeRepository()
        let plan = try program.run(
            "convert", "repo", "--dtype", "int8", "--output", "new", "--component", "vae=int8",
            "--component", "text_encoder=int8", "--dry-run")
        #expect(plan.code == 0, "\(plan.talk)")
        let outcome = try program.run(
            "convert", "repo", "--dtype", "int8", "--output", "new", "--component", "vae=int8",
            "--component", "text_encoder=int8", "--container", "safetensors")
        #expect(outcome.code == 0, "\(outcome.talk)")
        for (component, golden) in [
            ("vae", "dcae/sana/decode"), ("vae", "dcae/sana/encode"),
            ("text_encoder", "gemma/wide/golden"),
        ] {
            let source = try program.run(
                "verify", "repo", "--subfolder", component, "--reference",
                "fixtures/\(golden).safetensors", "--tolerance", "2e-6", "--no-record")
            #expect(source.code == 0, "\(source.talk)")
            let converted = try program.run(
                "verify", "new", "--subfolder", component, "--reference",
                "fixtures/\(golden).safetensors", "--tolerance", "1e-2", "--allow-stale",
                "--no-record")
            #expect(converted.code == 0, "\(converted.talk)")
            let config = try JSONFile.read(program.folder("new/\(component)/config.json"))
            #expect(config["quantization_config"]?["weights_dtype"]?.string == "int8")
        }
        for component in ["vae", "text_encoder"] {
            let inspection = try program.run("inspect", "new/" + component)
            #expect(inspection.code == 0, "\(inspection.output)")
        }
    }

    private static let python = Python.having("diffusers, transformers")

    @Test(
        "captured goldens are met", .enabled(if: python != nil, "diffusers and transformers"),
        arguments: [
            ["fixtures/dcae/sana", "--latent", "4x5", "--batch", "2"],
            ["fixtures/dcae/sana", "--entry", "encode", "--latent", "3x4", "--detail", "full"],
            ["fixtures/gemma/wide", "--tokens", "5"],
            ["fixtures/tiny/plain", "--latent", "6x4", "--batch", "2", "--tokens", "4"],
            ["fixtures/tiny/sprint", "--guidance", "0.3", "--detail", "full", "--tokens", "4"],
            ["fixtures/controlnet/switches", "--conditioning-scale", "0.7", "--detail", "full"],
            [
                "fixtures/controlnet/repository/transformer", "--inputs",
                "fixtures/controlnet/golden-transformer.safetensors",
            ],
        ])
    func capture(_ arguments: [String]) throws {
        let captured = try program.run(
            ["capture"] + arguments
                + ["--output", "g.safetensors", "--python", try #require(Self.python)])
        #expect(captured.code == 0, "\(captured.talk)")
        let verified = try program.run(
            "verify", arguments[0], "--reference", "g.safetensors", "--tolerance", "2e-6",
            "--no-record")
        #expect(verified.code == 0, "\(verified.output)")
    }

    @Test(
        "capture refuses what the network does not take",
        .enabled(if: python != nil, "diffusers and transformers"),
        arguments: [
            (["fixtures/tiny/plain", "--guidance", "1"], Int32(64), "--guidance"),
            (["fixtures/dcae/sana", "--timestep", "1"], 64, "--timestep"),
            (["fixtures/dcae/sana", "--trajectory"], 64, "AutoencoderDC does not sample"),
            (
                [
                    "fixtures/tiny/plain", "--inputs",
                    "fixtures/controlnet/golden-controlnet.safetensors",
                ], 65, "unknown or badly numbered input: inputs.conditioning_scale"
            ),
            (
                ["fixtures/dcae/sana", "--inputs", "fixtures/goldens/tiny-plain.safetensors"], 65,
                "missing input: inputs.latent"
            ),
        ])
    func captureRefuses(_ arguments: [String], _ code: Int32, _ reason: String) throws {
        let outcome = try program.run(
            ["capture"] + arguments
                + ["--output", "g.safetensors", "--python", try #require(Self.python)])
        #expect(outcome.code == code)
        #expect(outcome.talk.contains(reason), "\(outcome.talk)")
        #expect(!program.folder("g.safetensors").pathExists)
    }

    @Test(
        "capture hashes every entry and says what the golden cannot show",
        .enabled(if: python != nil, "diffusers and transformers"))
    func captureTellsWhatAGoldenCannotShow() throws {
        // Of one caption token the softmax is 1, whatever queries and keys are.
        let captured = try program.run(
            "capture", "fixtures/tiny/plain", "--tokens", "1", "--output", "g.safetensors",
            "--python", try #require(Self.python))
        #expect(captured.code == 0, "\(captured.talk)")
        #expect(
            captured.talk.contains(
                "warning: this golden cannot show faults in transformer_blocks.0.attn2."),
            "\(captured.talk)")
        let path = program.folder("g.safetensors")
        let file = try SafetensorsFile(path: path)
        let contract = try JSONScanner.parse(
            file.header.metadata.first { $0.key == "contract" }?.value ?? "")
        let blind = contract["blind"]?.array?.compactMap(\.string) ?? []
        #expect(blind.count == 8)
        #expect(blind.allSatisfy { $0.contains(".attn2.to_q.") || $0.contains(".attn2.to_k.") })
        let hashed = Set((contract["sha256"]?.members ?? []).map(\.key))
        #expect(hashed == Set(file.tensors.map(\.name)))
        var bytes = try fileBytes(path)
        let place = try #require(file.tensors.firstIndex { $0.name == "activations.norm_out" })
        bytes[file.headerBytes.count + file.header.dataOffsets[place]] ^= 1
        try program.folder.write("g.safetensors", bytes)
        let damaged = try program.run(
            "verify", "fixtures/tiny/plain", "--reference", "g.safetensors", "--no-record")
        #expect(damaged.code == 65)
        #expect(damaged.talk.contains("entry 'activations.norm_out' is damaged"), "\(damaged.talk)")
    }
}
