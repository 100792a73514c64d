import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// What another program has quantized and nothing here can read: each is one sentence with method
/// and recipe, from every command.
@Suite(.tags(.process)) struct UnsupportedEncodingTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    init() throws { program = try BuiltProgram() }

    private static let module = "transformer_blocks.0.attn1.to_q"
    private static let golden = "fixtures/goldens/tiny-plain.safetensors"

    /// One linear layer of the tiny model as a program stores it, and what config.json says of it.
    struct Case: Sendable, CustomTestStringConvertible {
        /// Method and recipe, as they are told.
        let words: String
        /// `quantization_config`; `nil` for none.
        var settings: String?
        /// Stored tensors of the layer: what comes after its name, type, shape.
        let tensors: [(suffix: String, dtype: DType, shape: [Int])]
        /// The content of those whose bytes matter.
        var content: [String: [UInt8]] = [:]
        var metadata: [String: String] = [:]

        var testDescription: String { words }
    }

    private static let int8: [(suffix: String, dtype: DType, shape: [Int])] = [
        (".weight", .i8, [24, 24]), (".scale", .f32, [24, 1]),
    ]
    private static let packed: [(suffix: String, dtype: DType, shape: [Int])] = [
        (".qweight", .i32, [3, 24]), (".qzeros", .i32, [1, 3]), (".scales", .f16, [1, 24]),
    ]

    private static let cases: [Case] = [
        .init(
            words: "SDNQ (int8, with quantized scales (uint4))",
            settings: #"{"quant_method": "sdnq", "weights_dtype": "int8", "scale_dtype": "uint4"}"#,
            tensors: int8),
        .init(
            words: "SDNQ (int8, with quantized scales (float8_e8m0fnu))",
            settings: """
                {"quant_method": "sdnq", "weights_dtype": "int8", "scale_dtype": "float8_e8m0fnu"}
                """,
            tensors: [(".weight", .i8, [24, 24]), (".scale", .f8e8m0, [24, 1])]),
        .init(
            words: "SDNQ (float8_e8m0fnu)",
            settings: #"{"quant_method": "sdnq", "weights_dtype": "float8_e8m0fnu"}"#,
            tensors: [(".weight", .f8e8m0, [24, 24]), (".scale", .f32, [24, 1])]),
        .init(
            words: "SDNQ (int8, for training)",
            settings: #"{"quant_method": "sdnq_training", "weights_dtype": "int8"}"#,
            tensors: int8),
        .init(
            words: "bitsandbytes (int8 in the layout col_turing)",
            settings: #"{"quant_method": "bitsandbytes", "load_in_8bit": true}"#,
            tensors: [
                (".weight", .i8, [24, 24]), (".SCB", .f32, [24]), (".weight_format", .u8, []),
            ], content: [".weight_format": [2]]),
        .init(
            words: "fp8 (in blocks)",
            tensors: [(".weight", .f8e4m3, [24, 24]), (".weight_scale_inv", .f32, [1, 1])]),
        .init(
            words: "ComfyUI (nvfp4)",
            tensors: [
                (".weight", .u8, [24, 12]), (".weight_scale", .f8e4m3, [24, 2]),
                (".weight_scale_2", .f32, []), (".comfy_quant", .u8, [19]),
            ], content: [".comfy_quant": Array(#"{"format": "nvfp4"}"#.utf8)]),
        .init(
            words: "ComfyUI (mxfp8)",
            tensors: [
                (".weight", .f8e4m3, [24, 24]), (".weight_scale", .f8e8m0, [24, 1]),
                (".comfy_quant", .u8, [19]),
            ], content: [".comfy_quant": Array(#"{"format": "mxfp8"}"#.utf8)]),
        .init(
            words: "gptq (4 bits)", settings: #"{"quant_method": "gptq", "bits": 4}"#,
            tensors: packed),
        .init(
            words: "awq (4 bits)", settings: #"{"quant_method": "awq", "bits": 4}"#,
            tensors: packed),
        .init(
            words: "quanto (int8)",
            settings: #"{"quant_method": "quanto", "weights_dtype": "int8"}"#,
            tensors: [(".weight._data", .i8, [24, 24]), (".weight._scale", .f32, [24, 1])]),
        .init(
            words: "compressed-tensors (pack-quantized)",
            settings: #"{"quant_method": "compressed-tensors", "format": "pack-quantized"}"#,
            tensors: [
                (".weight_packed", .i32, [24, 3]), (".weight_scale", .bf16, [24, 1]),
                (".weight_shape", .i64, [2]),
            ]),
        .init(
            words: "torchao (packed U8)", settings: #"{"quant_method": "torchao"}"#,
            tensors: [("._weight_qdata", .u8, [24, 12]), ("._weight_scale", .f32, [24, 1])]),
        .init(
            words: "torchao (Int4Tensor)", settings: #"{"quant_method": "torchao"}"#,
            tensors: [("._weight_qdata", .i8, [24, 12]), ("._weight_scale", .f32, [24, 1])],
            metadata: [module + ".weight": #"{"_type": "Int4Tensor"}"#]),
    ]

    private func prepare(_ item: Case) throws {
        let source = Fixtures.path + "/tiny/plain"
        var builder = try SafetensorsBuilder(
            copying: source + "/diffusion_pytorch_model.safetensors",
            without: Self.module + ".weight")
        for (suffix, dtype, shape) in item.tensors {
            let count = shape.reduce(1, *) * dtype.bitWidth / 8
            builder.add(
                Self.module + suffix, dtype, shape,
                bytes: item.content[suffix] ?? [UInt8](repeating: 0x38, count: count))
        }
        builder.metadata.merge(item.metadata) { $1 }
        try folder.write("m/diffusion_pytorch_model.safetensors", builder.file)
        let settings = try item.settings.map { try JSONScanner.parse($0) } ?? .null
        let config = try JSONFile.read(source + "/config.json")
            .setting("quantization_config", to: settings)
        try folder.write("m/config.json", Array(config.text().utf8))
    }

    /// Commands that read the weights of `model`.
    private func readers(of model: String) -> [[String]] {
        [
            ["verify", model, "--reference", Self.golden, "--no-record"],
            ["convert", model, "--dtype", "bf16", "--output", "x.safetensors.zst"],
            ["profile", model, "--latent", "4x4", "--repeat", "1", "--no-record"],
            ["diff", model, "fixtures/tiny/plain"],
        ]
    }

    /// Checks that `outcome` is an error of one sentence.
    private func expectOneSentence(_ outcome: BuiltProgram.Outcome, _ words: String) {
        #expect(outcome.code == 65, "\(outcome.output) \(outcome.talk)")
        #expect(outcome.talk.components(separatedBy: "error: ").count == 2, "\(outcome.talk)")
        #expect(outcome.talk.contains("quantized by " + words), "\(outcome.talk)")
        #expect(outcome.talk.contains("not supported"), "\(outcome.talk)")
    }

    @Test("a method or recipe that cannot be read is named", arguments: cases)
    func isNamed(_ item: Case) throws {
        try prepare(item)
        for command in readers(of: "m") { try expectOneSentence(program.run(command), item.words) }
        for model in ["m", "m/diffusion_pytorch_model.safetensors"] {
            let inspected = try program.run("inspect", model, "--format", "json")
            #expect(inspected.code == 1, "\(inspected.output) \(inspected.talk)")
            let problems = inspected.json?["problems"]?.array ?? []
            #expect(
                problems.compactMap { $0["id"]?.string } == ["quantization-unsupported"],
                "\(inspected.output)")
            let message = problems.first?["message"]?.string ?? ""
            #expect(message.contains("quantized by " + item.words), "\(message)")
        }
        #expect(!folder("x.safetensors.zst").pathExists)
    }

    @Test(
        "a type of GGUF that cannot be read is named",
        arguments: [
            (16, "IQ2_XXS"), (18, "IQ3_XXS"), (19, "IQ1_S"), (34, "TQ1_0"), (39, "MXFP4"),
            (40, "NVFP4"), (99, "type 99"),
        ])
    func ggufTypeIsNamed(_ type: Int, _ name: String) throws {
        let tensor = Self.module + ".weight"
        var bytes = Array("GGUF".utf8) + littleEndianBytes(UInt32(3))
        bytes += littleEndianBytes(UInt64(1)) + littleEndianBytes(UInt64(0))
        bytes += littleEndianBytes(UInt64(tensor.utf8.count)) + Array(tensor.utf8)
        bytes += littleEndianBytes(UInt32(2))
        bytes += littleEndianBytes(UInt64(256)) + littleEndianBytes(UInt64(4))
        bytes += littleEndianBytes(UInt32(type)) + littleEndianBytes(UInt64(0))
        bytes += [UInt8](repeating: 0, count: 4096)
        try folder.write("m.gguf", bytes)
        let config = ["--config", "fixtures/tiny/plain/config.json"]
        for command in readers(of: "m.gguf") + [["inspect", "m.gguf"]] {
            let options = command[0] == "diff" ? [] : config
            try expectOneSentence(program.run(command + options), "GGUF (\(name))")
        }
    }

    @Test("SVDQuant of a model with QK norms is named")
    func svdQuantWithNorms() throws {
        let file = Fixtures.path + "/encodings/svdquant-int4.safetensors"
        var builder = try SafetensorsBuilder(copying: file)
        let config = try #require(builder.metadata["config"])
        let json = try JSONScanner.parse(config)
            .setting("qk_norm", to: .string("rms_norm_across_heads"))
        builder.metadata["config"] = json.text()
        try folder.write("q.safetensors", builder.file)
        for command in readers(of: "q.safetensors") + [["inspect", "q.safetensors"]] {
            try expectOneSentence(program.run(command), "nunchaku (SVDQuant, with QK norms)")
        }
    }
}
