import SanaTestSupport
import Testing

@testable import SanaModel

/// NVlabs' own checkpoints against the diffusers ones that they were made from.
struct OriginalCheckpointTests {
    private static let cases = ["plain", "positions", "bias-qknorm", "sprint", "controlnet"]

    private func original(_ name: String) -> String { Fixtures.path + "/originals/\(name).pth" }
    /// What an original was made of.
    private func tiny(_ name: String) -> String {
        Fixtures.path
            + (name == "controlnet" ? "/controlnet/repository/controlnet" : "/tiny/\(name)")
    }

    private func expectEqual(_ source: any TensorSource, _ reference: any TensorSource) throws {
        #expect(Set(source.tensors.map(\.name)) == Set(reference.tensors.map(\.name)))
        for tensor in reference.tensors {
            #expect(source.info(tensor.name) == tensor)
            let (ours, theirs) = try (source.bytes(of: tensor), reference.bytes(of: tensor))
            let isEqual = ours.withUnsafeBytes { ours in
                theirs.withUnsafeBytes { ours.elementsEqual($0) }
            }
            #expect(isEqual, "\(tensor.name)")
        }
    }

    @Test(arguments: cases)
    func tensorsAreThoseOfDiffusersBitByBit(_ name: String) throws {
        let config = tiny(name) + "/config.json"
        let checkpoint = try Checkpoint.open(original(name), config: config)
        #expect(checkpoint.layout == .original)
        let reference = try Checkpoint.open(tiny(name))
        #expect(try checkpoint.sanaConfig() == reference.sanaConfig())
        try expectEqual(checkpoint.source, reference.source)
        try checkpoint.config().check(source: checkpoint.source, label: name)
    }

    /// As ComfyUI stores it: a prefix before every name, and other models' tensors in the same
    /// file.
    @Test(arguments: ["", "diffusion_model.", "model.diffusion_model."], cases)
    func safetensorsWithOriginalNames(_ prefix: String, _ name: String) throws {
        let path = original(name)
        let zip = try ZipFile(content: ByteView(mapping: path), path: path)
        let stored = try Checkpoint.open(path, config: tiny(name) + "/config.json").files[0]
        var builder = SafetensorsBuilder()
        // Each tensor has a storage of its own, in the order of the dictionary.
        for (index, tensor) in stored.tensors.enumerated() {
            let entry = try #require(zip.entries.first { $0.name.hasSuffix("/data/\(index)") })
            try #require(entry.bytes.count == tensor.byteCount, "\(tensor.name)")
            builder.add(
                prefix + tensor.name, tensor.dtype, tensor.shape,
                bytes: entry.bytes.withUnsafeBytes { Array($0) })
        }
        if !prefix.isEmpty {
            builder.add("vae.blocks.0.attn.qkv.weight", [3, 1], [1, 2, 3])
            builder.add("conditioner.embedders.0.weight", [1], [1])
        }
        let folder = try TemporaryFolder()
        let file = try folder.write("comfy.safetensors", builder.file)
        let checkpoint = try Checkpoint.open(file, config: tiny(name) + "/config.json")
        #expect(checkpoint.layout == .original)
        try expectEqual(checkpoint.source, Checkpoint.open(tiny(name)).source)
        try checkpoint.config().check(source: checkpoint.source, label: file)
    }

    /// diffusers' names behind the prefix that a training program leaves.
    @Test(arguments: ["diffusion_model.", "model.diffusion_model."])
    func prefixedNamesOfDiffusers(_ prefix: String) throws {
        let reference = try Checkpoint.open(tiny("sprint")).source
        var builder = SafetensorsBuilder()
        for tensor in reference.tensors {
            builder.add(
                prefix + tensor.name, tensor.dtype, tensor.shape,
                bytes: try reference.bytes(of: tensor).withUnsafeBytes { Array($0) })
        }
        let weights = try Checkpoint.weights(content: ByteView(builder.file), path: "x")
        try expectEqual(weights, reference)
    }

    /// Its blocks and last layer are the transformer's, and left out.
    @Test func controlNetsHoldTheirTransformerToo() throws {
        let config = tiny("controlnet") + "/config.json"
        let checkpoint = try Checkpoint.open(original("controlnet"), config: config)
        let stored = checkpoint.files[0].tensors.map(\.name)
        #expect(stored.contains("blocks.2.attn.qkv.weight"))
        #expect(stored.contains("final_layer.linear.weight"))
        #expect(stored.contains("controlnet.1.copied_block.scale_shift_table"))
        #expect(try checkpoint.sanaConfig().modelClass == .controlNet)
        // Only the first block takes the condition.
        var builder = SafetensorsBuilder()
        for name in [
            "controlnet.1.before_proj.weight", "controlnet.0.copied_block.no.weight",
            "controlnet.0.other.bias", "controlnet.x.after_proj.bias",
        ] { builder.add(name, [1], [0]) }
        let odd = try Checkpoint.weights(content: ByteView(builder.file), path: "x")
        #expect(odd.tensors.allSatisfy { $0.name.hasPrefix("controlnet.") })
        #expect(odd.tensors.count == 4)
    }

    @Test func aWidthOfNoReleasedModelNeedsAConfiguration() {
        #expect { try Checkpoint.open(original("plain")) } throws: {
            "\($0)".contains("a width of 24")
                && ($0 as? any DiagnosticError)?.remedy?.contains("--config") == true
        }
    }

    @Test func filesThatAreNoZipFileAreRefused() throws {
        let folder = try TemporaryFolder()
        // What torch wrote before 1.6 begins with.
        try folder.write("old.pth", [0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20])
        #expect { try Checkpoint.open(folder("old.pth")) } throws: {
            "\($0)".contains("not a zip file")
        }
    }

    @Test func tensorsWithoutAMeaningAreReported() throws {
        var builder = SafetensorsBuilder()
        builder.add("blocks.0.extra.weight", [1], [0])
        builder.add("blocks.-1.attn.proj.bias", [1], [0])
        builder.add("blocks.0.attn.qkv.weight", [3, 1], [1, 2, 3])
        let weights = try Checkpoint.weights(content: ByteView(builder.file), path: "x")
        #expect(
            Set(weights.tensors.map(\.name)).isSuperset(of: [
                "blocks.0.extra.weight", "blocks.-1.attn.proj.bias",
                "transformer_blocks.0.attn1.to_v.weight",
            ]))
        builder.add("transformer_blocks.0.attn1.to_k.weight", [1, 1], [0])
        let doubled = ByteView(builder.file)
        #expect { try Checkpoint.weights(content: doubled, path: "x") } throws: {
            "\($0)".contains("two tensors map to 'transformer_blocks.0.attn1.to_k.weight'")
        }
    }

    @Test func rowsThatCannotBeDealtOutAreRefused() throws {
        var builder = SafetensorsBuilder()
        builder.add("blocks.0.attn.qkv.weight", [4, 1], [1, 2, 3, 4])
        let content = ByteView(builder.file)
        #expect { try Checkpoint.weights(content: content, path: "x") } throws: {
            "\($0)".contains("cannot be split into 3")
        }
    }

    @Test func pipelinesInOneFileOpenWithTheirShards() throws {
        let path = Fixtures.path + "/originals/pipeline.dduf"
        let checkpoint = try Checkpoint.open(path)
        let reference = try Checkpoint.open(tiny("sharded-bf16"))
        #expect(try checkpoint.sanaConfig() == reference.sanaConfig())
        #expect(checkpoint.files.count == 5)
        #expect(checkpoint.files.allSatisfy { $0.diskPath == path })
        try expectEqual(checkpoint.source, reference.source)
        #expect { try Checkpoint.open(path, subfolder: "vae") } throws: {
            "\($0)".contains("has no directory 'vae'")
        }
        #expect { try Checkpoint.open(path, variant: "fp16") } throws: {
            "\($0)".contains("no weights of variant 'fp16'")
        }
    }

    @Test func pipelinesMustBeWhole() throws {
        let index = #"{"transformer": ["diffusers", "SanaTransformer2DModel"]}"#
        var entries = [
            ("model_index.json", Array(index.utf8)), ("transformer/config.json", [0x7B]),
        ]
        func message() -> String {
            do {
                _ = try Checkpoint(
                    content: ByteView(ZipBuilder(entries).file), path: "p.dduf")
                return ""
            } catch { return "\(error)" }
        }
        #expect(message().contains("p.dduf/transformer/config.json"))
        entries[1].1 = Array("{}".utf8)
        #expect(message().contains("no diffusion_pytorch_model*.safetensors"))
        entries.append(("transformer/diffusion_pytorch_model.safetensors", [1, 2]))
        #expect(message().contains("p.dduf/transformer/diffusion_pytorch_model.safetensors"))
        entries[0].1 = Array("{}".utf8)
        #expect(message().contains("no component is a SanaTransformer2DModel"))
    }
}
