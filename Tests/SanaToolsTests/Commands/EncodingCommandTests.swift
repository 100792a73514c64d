import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Checkpoints as other programs store and name them, through the built program.
@Suite(.tags(.process)) struct EncodingCommandTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    init() throws { program = try BuiltProgram() }

    /// The tiny model in fp8 with ComfyUI's scales, in its folder.
    private func writeScaled(in name: String) throws {
        let source = Fixtures.path + "/tiny/plain"
        try FileManager.default.createDirectory(
            atPath: folder(name), withIntermediateDirectories: true)
        try FileManager.default.copyItem(
            atPath: source + "/config.json", toPath: folder(name + "/config.json"))
        var builder = SafetensorsBuilder()
        let file = try SafetensorsFile(
            path: source + "/diffusion_pytorch_model.safetensors")
        for tensor in file.tensors {
            let bytes = try file.bytes(of: tensor)
            guard tensor.name.hasSuffix(".weight"), tensor.shape.count == 2 else {
                builder.add(
                    tensor.name, tensor.dtype, tensor.shape,
                    bytes: bytes.withUnsafeBytes { Array($0) })
                continue
            }
            // 1, 1.125, …: what the bits are does not matter here.
            let values = (0..<tensor.elementCount).map { UInt8(0x38 + $0 % 8) }
            builder.add(tensor.name, .f8e4m3, tensor.shape, bytes: values)
            builder.add(tensor.name.dropLast(6) + "scale_weight", [], [0.01])
        }
        builder.add("scaled_fp8", .f8e4m3, [2], bytes: [0, 0])
        try folder.write(name + "/diffusion_pytorch_model.safetensors", builder.file)
    }

    @Test("quantized weights are shown, compared, profiled and converted")
    func quantizedModel() throws {
        try writeScaled(in: "scaled")
        let inspected = try program.run("inspect", "scaled", "--format", "json")
        #expect(inspected.code == 0, "\(inspected.output)")
        let encoding = inspected.json?["encodings"]?.array?.first
        #expect(encoding?["recipe"]?.string == "scaled fp8 E4M3")
        let converted = try program.run(
            "convert", "scaled", "--dtype", "fp32", "--container", "safetensors", "--output", "new")
        #expect(converted.code == 0, "\(converted.talk)")
        let weight = "transformer_blocks.0.attn1.to_q.weight"
        let file = try SafetensorsFile(path: folder("new/diffusion_pytorch_model.safetensors"))
        let info = try #require(file.info(weight))
        let values = try #require(try file.bytes(of: info).widened(from: info.dtype)?.values)
        #expect(values.prefix(2) == [0.01, 1.125 * 0.01])
        #expect(try program.run("diff", "scaled", "new").code == 0)
        #expect(try program.run("diff", "scaled", "fixtures/tiny/plain").code == 1)
        let profiled = try program.run(
            "profile", "scaled", "--latent", "4x4", "--repeat", "1", "--no-record")
        #expect(profiled.code == 0, "\(profiled.talk)")
    }

    @Test("int8 becomes every float type, from a directory and from an archive")
    func int8ToFloats() throws {
        let model = "fixtures/tiny/plain"
        for (container, source) in [("safetensors", "int8"), ("archive", "int8.safetensors.zst")] {
            let made = try program.run(
                "convert", model, "--dtype", "int8", "--container", container, "--output", source)
            #expect(made.code == 0, "\(made.talk)")
            for dtype in ["fp32", "bf16", "fp16", "int8"] {
                let output = "\(container)-\(dtype)"
                let converted = try program.run(
                    "convert", source, "--dtype", dtype, "--container", "safetensors", "--output",
                    output)
                #expect(converted.code == 0, "\(converted.talk)")
                let config = try JSONFile.read(folder(output + "/config.json"))
                let weights = "/diffusion_pytorch_model.safetensors"
                let types = Set(
                    try SafetensorsFile(path: folder(output + weights)).tensors.map(\.dtype))
                if dtype == "int8" {
                    #expect(config["quantization_config"] != nil)
                    // Not a bit changes.
                    let first = try SafetensorsFile(path: folder("safetensors-int8" + weights))
                    let second = try SafetensorsFile(path: folder(output + weights))
                    #expect(first.tensors == second.tensors)
                    for tensor in first.tensors {
                        let one = try first.bytes(of: tensor).withUnsafeBytes { Array($0) }
                        let two = try second.bytes(of: tensor).withUnsafeBytes { Array($0) }
                        #expect(one == two, "\(tensor.name)")
                    }
                } else {
                    #expect(config["quantization_config"] == nil)
                    #expect(!types.contains(.i8), "\(types)")
                }
                let tolerance = ["fp32": "0", "int8": "0", "bf16": "4e-3", "fp16": "1e-3"][dtype]
                let same = try program.run(
                    "diff", output, source, "--tolerance", tolerance ?? "0")
                #expect(same.code == 0, "\(dtype) \(same.output) \(same.talk)")
            }
        }
        // So it does under other names and in other containers, and with an adapter.
        for options in [
            ["--container", "gguf", "--dtype", "bf16", "--output", "a.gguf"],
            [
                "--container", "safetensors", "--names", "original", "--dtype", "fp32",
                "--output", "a.safetensors",
            ],
        ] {
            let converted = try program.run(["convert", "int8"] + options)
            #expect(converted.code == 0, "\(options) \(converted.talk)")
            let same = try program.run(
                "diff", options.last ?? "", "int8", "--tolerance", "4e-3")
            #expect(same.code == 0, "\(same.output) \(same.talk)")
        }
        let adapted = try program.run(
            "convert", "int8", "--lora", "fixtures/lora/style.safetensors", "--dtype", "bf16",
            "--container", "safetensors", "--output", "adapted")
        #expect(adapted.code == 0, "\(adapted.talk)")
        #expect(try program.run("diff", "adapted", "int8", "--tolerance", "1e-2").code == 1)
    }

    @Test("what another program has quantized is judged as quantized weights are")
    func metricOfQuantizedWeights() throws {
        let made = try program.run(
            "convert", "fixtures/tiny/plain", "--dtype", "int8", "--container", "gguf", "--names",
            "diffusers", "--output", "q8.gguf")
        #expect(made.code == 0, "\(made.talk)")
        let options = [
            "--reference", "fixtures/goldens/tiny-plain.safetensors", "--no-record", "--source",
        ]
        let judged = try program.run(
            ["verify", "q8.gguf"] + options + ["fixtures/tiny/plain", "--format", "json"])
        #expect(judged.code == 0, "\(judged.output) \(judged.talk)")
        #expect(judged.json?["metric"]?.string == "relative_power")
        let text = try program.run(["verify", "q8.gguf"] + options + ["fixtures/tiny/plain"])
        #expect(text.output.contains("relative_power ‖a−r‖²/‖r‖² ≤"), "\(text.output)")
        // Floats are judged as before.
        let float = try program.run(
            "verify", "fixtures/tiny/plain", "--reference",
            "fixtures/goldens/tiny-plain.safetensors", "--no-record", "--tolerance", "1e-5")
        #expect(float.output.contains("relative_rms ‖a−r‖/‖r‖ ≤"), "\(float.output)")
        // A weight that is another's is told by its name.
        let name = "time_embed.emb.timestep_embedder.linear_1.weight"
        let path = Fixtures.path + "/tiny/plain/diffusion_pytorch_model.safetensors"
        let other = try SafetensorsBuilder(copying: path) { tensor, bytes in
            let reversed = Array(bytes.reversed())
            // Whole values, the last first.
            let width = tensor.dtype.bitWidth / 8
            let values = stride(from: 0, to: reversed.count, by: width).flatMap {
                reversed[$0..<$0 + width].reversed()
            }
            return (tensor.name, tensor.shape, tensor.name == name ? values : Array(bytes))
        }
        try folder.write("other/diffusion_pytorch_model.safetensors", other.file)
        try folder.write("other/config.json", fileBytes(Fixtures.path + "/tiny/plain/config.json"))
        let wrong = try program.run(["verify", "q8.gguf"] + options + ["other"])
        #expect(wrong.code == 1, "\(wrong.output) \(wrong.talk)")
        #expect(
            wrong.output.contains("\(name): does not hold the source's weights"),
            "\(wrong.output)")
    }

    @Test("a GGUF file holds the model, under the names that were asked for")
    func ggufRoundTrip() throws {
        let model = "fixtures/tiny/plain"
        for (names, dtype, tolerance) in [
            ("original", "bf16", "4e-3"), ("diffusers", "fp16", "1e-3"),
            ("diffusers", "int8", "2e-2"),
        ] {
            let file = "\(names)-\(dtype).gguf"
            let written = try program.run(
                "convert", model, "--dtype", dtype, "--container", "gguf", "--output", file,
                "--names", names)
            #expect(written.code == 0, "\(written.talk)")
            let same = try program.run("diff", file, model, "--tolerance", tolerance)
            #expect(same.code == 0, "\(same.output) \(same.talk)")
            let changed = try program.run("diff", file, model, "--tolerance", "1e-9")
            #expect(changed.code == 1)
            guard names == "diffusers" else { continue }
            // Files are opened by what they hold, whatever their names.
            try folder.write("renamed.pth", fileBytes(folder(file)))
            let digests = try [file, "renamed.pth"].map {
                try program.run("digest", $0, "--format", "json")
            }
            #expect(digests.map(\.code) == [0, 0], "\(digests[1].talk)")
            #expect(digests[0].json?["weights_digest"] != nil)
            #expect(digests[0].json?["weights_digest"] == digests[1].json?["weights_digest"])
            let inspected = try program.run("inspect", file, "--strict")
            #expect(inspected.code == 0, "\(inspected.output) \(inspected.talk)")
        }
        let refused = try program.run("convert", model, "--dtype", "fp32", "--container", "gguf")
        #expect(refused.code == 64)
    }

    @Test("original names are those that the reader of originals knows")
    func originalNames() throws {
        for model in ["plain", "qknorm", "sprint"] {
            let file = model + "-original.safetensors"
            let written = try program.run(
                "convert", "fixtures/tiny/\(model)", "--dtype", "fp32", "--container",
                "safetensors",
                "--names", "original", "--output", file)
            #expect(written.code == 0, "\(written.talk)")
            let names = try SafetensorsFile(path: folder(file)).tensors.map(\.name)
            #expect(names.contains("blocks.0.attn.qkv.weight"))
            #expect(!names.contains { $0.contains("transformer_blocks") })
            let same = try program.run("diff", file, "fixtures/tiny/\(model)")
            #expect(same.code == 0, "\(same.output) \(same.talk)")
        }
    }

    @Test("a variant is part of the names that a folder's weights get")
    func savedVariant() throws {
        let written = try program.run(
            "convert", "fixtures/tiny/plain", "--dtype", "fp16", "--container", "safetensors",
            "--save-variant", "fp16", "--max-shard-size", "60KB", "--output", "v")
        #expect(written.code == 0, "\(written.talk)")
        let names = try folder("v").folderEntries()
        #expect(names.contains("diffusion_pytorch_model.safetensors.index.fp16.json"), "\(names)")
        #expect(names.contains { $0.hasPrefix("diffusion_pytorch_model.fp16-00001-of-") })
        #expect(try program.run("inspect", "v", "--variant", "fp16").code == 0)
    }

    @Test("what lies in place of weights is told alike by every command")
    func placesWithoutWeights() throws {
        let weights = Fixtures.path + "/tiny/plain/diffusion_pytorch_model.safetensors"
        for (file, words) in [
            ("onnx/model.onnx", "the ONNX model model.onnx"),
            ("ov/openvino_model.bin", "openvino_model.bin of an OpenVINO model"),
            ("orig/checkpoints/Sana.pth", "original repository with checkpoints/Sana.pth"),
        ] {
            let model = String(file.prefix { $0 != "/" })
            try folder.write(file, [UInt8](repeating: 1, count: 64))
            try program.expect(
                words,
                from: [
                    (65, ["inspect", model]), (65, ["convert", model, "--dtype", "fp16"]),
                    (65, ["profile", model]),
                ])
        }
        for suffix in [".part", ".crdownload", ".aria2"] {
            let file = "w.safetensors" + suffix
            try folder.write(file, fileBytes(weights))
            try program.expect(
                "unfinished",
                from: [(65, ["inspect", file]), (1, ["digest", file]), (65, ["profile", file])])
        }
    }

    @Test("packed weights under a configuration of another method are one error, not many")
    func contradictionIsOneError() throws {
        let weights = Fixtures.path + "/encodings/bitsandbytes-nf4-bfloat16.safetensors"
        try folder.write("m/diffusion_pytorch_model.safetensors", fileBytes(weights))
        let config = try JSONFile.read(Fixtures.path + "/tiny/plain/config.json")
        for (settings, rule) in [
            (JSONValue.null, "quantization-mismatch"),
            (try JSONScanner.parse(#"{"quant_method": "sdnq"}"#), "quantization-mismatch"),
        ] {
            let text = config.setting("quantization_config", to: settings).text()
            try folder.write("m/config.json", Array(text.utf8))
            let inspected = try program.run("inspect", "m", "--format", "json")
            #expect(inspected.code == 1)
            #expect(
                inspected.json?["problems"]?.array?.compactMap { $0["id"]?.string } == [rule],
                "\(inspected.output)")
        }
        // A method that cannot be read is named even where there is no configuration.
        var builder = SafetensorsBuilder()
        builder.add("a.qweight", .i8, [2, 2], bytes: [1, 2, 3, 4])
        builder.add("a.wscales", [2], [1, 1])
        for file in ["n/diffusion_pytorch_model.safetensors", "svdq-int4.safetensors"] {
            try folder.write(file, builder.file)
            let model = file.hasPrefix("n/") ? "n" : file
            try program.expect(
                "nunchaku (SVDQuant)", from: [(65, ["convert", model, "--dtype", "fp16"])])
        }
    }

    @Test("a zstd file that is not an archive is told as that by convert, too")
    func zstdOfAPipe() throws {
        // A frame without a content size, as a pipe leaves it.
        let frame: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x58, 0x01, 0x00, 0x00]
        try folder.write("s/diffusion_pytorch_model.safetensors.zst", frame)
        try program.expect(
            "`zstd -d`",
            from: [
                (65, ["convert", "s", "--dtype", "fp16"]), (65, ["inspect", "s"]),
                (65, ["profile", "s"]),
            ])
        // Values in a block of a reserved kind: as damaged as without an unnamed dictionary.
        let damaged: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x24, 1, 7, 0, 0, 0, 0, 0, 0]
        for (content, words) in [
            (damaged, "`zstd -d -D DICTIONARY`"),
            ([0xFF, 0xFE, 0xFF, 0xFE, 0x7B, 0, 0x7D, 0], "UTF-16"),
        ] {
            try folder.write("x.safetensors.zst", content)
            try program.expect(
                words,
                from: [
                    (65, ["convert", "x.safetensors.zst", "--dtype", "fp16"]),
                    (65, ["inspect", "x.safetensors.zst"]), (65, ["profile", "x.safetensors.zst"]),
                    (65, ["unpack", "x.safetensors.zst", "--output", "x"]),
                ])
        }
    }
}
