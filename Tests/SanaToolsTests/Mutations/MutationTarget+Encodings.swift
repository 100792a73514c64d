import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Files of other programs.
extension MutationTarget {
    static let encodings:
        [(name: String, make: @Sendable (BuiltProgram) throws -> MutationTarget)] =
            [
                ("GGUF", gguf), ("GGUF of every type", ggufTypes),
                weight("bitsandbytes", "bitsandbytes-nf4-nested-bfloat16"),
                weight("bitsandbytes int8", "bitsandbytes-int8"),
                weight("SDNQ", "sdnq-int4-svd-hadamard"),
                weight("SDNQ code book", "sdnq-uint4-codebook"),
                weight("SDNQ scales", "sdnq-uint4-scales-mixed"),
                weight("SDNQ types", "sdnq-types"), weight("SVDQuant", "svdquant-int4"),
                ("SDNQ quantization_config", sdnqSettings),
                weight("torchao", "torchao-int8"), weight("fp8", "fp8-e5m2"),
                weight("scaled fp8", "comfyui-scaled-fp8"), ("training .pth", training),
            ]

    private static func gguf(_ program: BuiltProgram) throws -> MutationTarget {
        let made = try program.run(
            "convert", "fixtures/tiny/qknorm", "--dtype", "int8", "--container", "gguf", "--output",
            "m.gguf", "--names", "diffusers")
        try #require(made.code == 0, "\(made.talk)")
        return MutationTarget(
            name: "GGUF", file: "m.gguf",
            commands: [
                ["inspect", "m.gguf", "--stats"] + one,
                ["diff", "m.gguf", "fixtures/tiny/qknorm", "--tolerance", "1"] + one,
                [
                    "convert", "m.gguf", "--dtype", "fp16", "--output", "x.safetensors.zst",
                    "--allow-nonfinite",
                ] + one,
            ], leavings: ["x.safetensors.zst"])
    }

    private static func ggufTypes(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("encodings/gguf.gguf", to: "g.gguf", in: program)
        return MutationTarget(
            name: "GGUF of every type", file: "g.gguf",
            commands: [
                ["diff", "g.gguf", "fixtures/encodings/gguf.expected.safetensors"] + one
            ])
    }

    private static func weight(
        _ name: String, _ encoding: String
    ) -> (String, @Sendable (BuiltProgram) throws -> MutationTarget) {
        (name, { try comparing(name, encoding, $0) })
    }

    /// A weight with everything that describes it, compared with what the library makes of it.
    private static func comparing(
        _ name: String, _ encoding: String, _ program: BuiltProgram, file: String? = nil
    ) throws -> MutationTarget {
        let weights = "m/w.safetensors"
        try FileManager.default.createDirectory(
            atPath: program.folder("m"), withIntermediateDirectories: true)
        try copy("encodings/\(encoding).safetensors", to: weights, in: program)
        let settings = Fixtures.path + "/encodings/\(encoding).json"
        if settings.pathExists {
            let json = JSONValue.object([
                .init("quantization_config", try JSONFile.read(settings))
            ])
            try program.folder.write("m/config.json", Array(json.text().utf8))
        }
        return MutationTarget(
            name: name, file: file ?? weights, framing: file == nil ? .safetensors : .none,
            commands: [
                [
                    "diff", weights, "fixtures/encodings/\(encoding).expected.safetensors",
                    "--tolerance", "1e-6",
                ] + one, ["inspect", weights, "--stats"] + one,
            ], namesSeveral: file != nil)
    }

    private static func sdnqSettings(_ program: BuiltProgram) throws -> MutationTarget {
        try comparing(
            "SDNQ quantization_config", "sdnq-mixed", program, file: "m/config.json")
    }

    /// NumPy arrays and states of generators beside weights.
    private static func training(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("originals/training.pth", to: "t.pth", in: program)
        let config = ["--config", "fixtures/tiny/plain/config.json"]
        return MutationTarget(
            name: "training .pth", file: "t.pth", framing: .zip,
            commands: [
                ["inspect", "t.pth"] + config + one,
                ["inspect", "t.pth", "--weights", "ema"] + config + one,
                ["diff", "t.pth", "fixtures/tiny/plain"] + one,
            ])
    }
}
