import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Files of the autoencoder and of the text encoder.
extension MutationTarget {
    static let networks: [(name: String, make: @Sendable (BuiltProgram) throws -> MutationTarget)] =
        [
            ("autoencoder", autoencoder), ("autoencoder config.json", autoencoderConfig),
            ("autoencoder golden", autoencoderGolden), ("text encoder", textEncoder),
            ("text encoder config.json", textEncoderConfig), ("tokenizer.json", tokenizer),
            ("kept instruction", keptInstruction),
        ]

    private static func autoencoder(_ program: BuiltProgram) throws -> MutationTarget {
        try network("autoencoder", "dcae/sana", "decode", program)
    }

    private static func autoencoderConfig(_ program: BuiltProgram) throws -> MutationTarget {
        try network(
            "autoencoder config.json", "dcae/sana", "encode", file: "config.json", program)
    }

    private static func textEncoder(_ program: BuiltProgram) throws -> MutationTarget {
        try network("text encoder", "gemma/plain", "golden", program)
    }

    private static func textEncoderConfig(_ program: BuiltProgram) throws -> MutationTarget {
        try network(
            "text encoder config.json", "gemma/plain", "golden", file: "config.json", program)
    }

    private static func autoencoderGolden(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("dcae/tiled/decode.safetensors", to: "g.safetensors", in: program)
        return MutationTarget(
            name: "autoencoder golden", file: "g.safetensors", framing: .safetensors,
            commands: [
                ["verify", "fixtures/dcae/tiled", "--reference", "g.safetensors", "--no-record"]
                    + one
            ])
    }

    /// The folder of a network, of which the weights or another file are broken.
    private static func network(
        _ name: String, _ fixture: String, _ golden: String, file: String? = nil,
        _ program: BuiltProgram
    ) throws -> MutationTarget {
        try FileManager.default.createDirectory(
            atPath: program.folder("m"), withIntermediateDirectories: true)
        let stem = fixture.hasPrefix("gemma") ? "model" : "diffusion_pytorch_model"
        let weights = stem + ".safetensors"
        for name in ["config.json", weights] {
            try copy(fixture + "/" + name, to: "m/" + name, in: program)
        }
        return MutationTarget(
            name: name, file: "m/" + (file ?? weights), framing: file == nil ? .safetensors : .none,
            commands: [
                [
                    "verify", "m", "--reference", "fixtures/\(fixture)/\(golden).safetensors",
                    "--no-record",
                ] + one,
                ["inspect", "m"] + one,
                ["convert", "m", "--dtype", "int8", "--output", "x.safetensors.zst"] + one,
            ], leavings: ["x.safetensors.zst"])
    }

    private static func tokenizer(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("sana-pictures/tokenizer", to: "t", in: program)
        return MutationTarget(
            name: "tokenizer.json", file: "t/tokenizer.json",
            commands: [["tokenize", "t", "--prompt", "a red seven on <bos> blue\u{1F600}"] + json])
    }

    private static func keptInstruction(_ program: BuiltProgram) throws -> MutationTarget {
        let command = [
            "sample", "fixtures/sana-pictures", "--prompt", "a red seven", "--steps", "1",
            "--guidance-scale", "1", "--size", "32x32", "--no-resolution-binning", "--output",
            "x.png", "--instruction-cache", "kept",
        ]
        let made = try program.run(command)
        try #require(made.code == 0, "\(made.talk)")
        let file = try #require(program.folder("kept").folderEntries().first)
        return MutationTarget(
            name: "kept instruction", file: "kept/" + file, framing: .safetensors,
            commands: [command + one], leavings: ["x.png"])
    }
}
