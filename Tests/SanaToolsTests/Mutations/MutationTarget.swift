import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// A kind of file that is broken, and the commands that read it.
struct MutationTarget: Sendable {
    let name: String
    /// The file in the folder of the run.
    let file: String
    var framing = Mutator.Framing.none
    /// Taken in turn, one a mutation; each must end well on the file as it is.
    var commands: [[String]]
    /// Exit codes beyond 0, 1, 3, 65 and 66 that are right: 64 where a file is part of the request.
    var codes: Set<Int32> = []
    /// Exit codes of commands on the file as it is.
    var wholeCodes: [Int32?] = [0, 1, 3]
    /// Files that commands leave, removed before each run.
    var leavings: [String] = []
    /// Private memory that these commands need whatever the file: OpenBLAS takes a buffer with its
    /// first large product, and tries for ever where it gets none.
    var fixedBytes = 0
    /// Whether a checksum covers every byte, so that a run that ends well must have found a file of
    /// the same content; the name of the output to compare.
    var mustRestore: String?
    /// Whether the file names several models, each of which may have a message of its own.
    var namesSeveral = false
    /// Whether the file stays whole and its folder is given odd names, `NAME` in commands.
    var isNamed = false
    /// Whether the file is a database whose values change, and not its bytes.
    var hasValues = false
    /// Files that were found to be taken wrongly once; each is read by every command.
    var known: [[UInt8]] = []

    static let all: [(name: String, make: @Sendable (BuiltProgram) throws -> MutationTarget)] =
        [
            ("safetensors", safetensors), ("shard index", shardIndex), ("config.json", config),
            ("ControlNet", controlNet), ("model_index.json", modelIndex), ("NVlabs .pth", original),
            ("NVlabs .pth of parameters", parameters), (".dduf", dduf), ("archive", archive),
            ("archive of planes", planes), ("golden", golden),
            ("ControlNet golden", controlNetGolden),
            ("trajectory", trajectory), ("SCM trajectory", sprintTrajectory), ("LoRA", lora),
            ("adapter_config.json", adapterConfig), ("sana-tools.yaml", projectFile),
            ("rules", rules),
            ("tolerances", tolerances), ("history", history),
            ("history values", historyValues), ("file names", fileNames),
        ] + encodings + networks

    static let json = ["--format", "json"]
    static let one = ["--threads", "1"] + json

    private static func safetensors(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("tiny/qknorm", to: "m", in: program)
        let file = "m/diffusion_pytorch_model.safetensors"
        return MutationTarget(
            name: "safetensors", file: file, framing: .safetensors,
            commands: [
                ["inspect", "m", "--stats"] + one, ["inspect", file, "--digest"] + one,
                ["diff", file, "fixtures/tiny/qknorm"] + one, ["digest", file] + one,
                ["convert", "m", "--dtype", "int8", "--output", "x.safetensors.zst"] + one,
            ], leavings: ["x.safetensors.zst"])
    }

    private static func shardIndex(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("tiny/sharded", to: "m", in: program)
        return MutationTarget(
            name: "shard index", file: "m/diffusion_pytorch_model.safetensors.index.json",
            commands: [
                ["inspect", "m"] + one, ["digest", "m"] + one,
                ["convert", "m", "--dtype", "int8", "--dry-run"] + one,
            ])
    }

    private static func config(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("tiny/qknorm", to: "m", in: program)
        return MutationTarget(
            name: "config.json", file: "m/config.json",
            commands: [
                ["inspect", "m"] + one,
                [
                    "verify", "m", "--reference", "fixtures/goldens/tiny-qknorm.safetensors",
                    "--no-record",
                ]
                    + one,
                ["convert", "m", "--dtype", "fp16", "--output", "x.safetensors.zst"] + one,
            ], leavings: ["x.safetensors.zst"])
    }

    private static func modelIndex(_ program: BuiltProgram) throws -> MutationTarget {
        try program.folder.makeFolder("m")
        for name in ["model_index.json", "scheduler"] {
            try copy("sana-digits/\(name)", to: "m/\(name)", in: program)
        }
        try copy("tiny/qknorm", to: "m/transformer", in: program)
        return MutationTarget(
            name: "model_index.json", file: "m/model_index.json",
            commands: [
                ["inspect", "m"] + one,
                ["convert", "m", "--dtype", "int8", "--output", "x", "--other-components", "copy"]
                    + one,
                ["digest", "m"] + one,
            ], leavings: ["x"])
    }

    private static func original(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("originals/bias-qknorm.pth", to: "o.pth", in: program)
        let config = "fixtures/tiny/bias-qknorm/config.json"
        return MutationTarget(
            name: "NVlabs .pth", file: "o.pth", framing: .zip,
            commands: [
                ["inspect", "o.pth", "--stats", "--config", config] + one,
                ["digest", "o.pth"] + one,
                ["diff", "o.pth", "fixtures/tiny/bias-qknorm"] + one,
                [
                    "convert", "o.pth", "--config", config, "--dtype", "bf16", "--output",
                    "x.safetensors.zst",
                    "--allow-nonfinite",
                ]
                    + one,
            ], leavings: ["x.safetensors.zst"])
    }

    /// A checkpoint of a training: `torch.nn.Parameter`s beside other values.
    private static func parameters(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("originals/sprint.pth", to: "s.pth", in: program)
        let config = "fixtures/tiny/sprint/config.json"
        return MutationTarget(
            name: "NVlabs .pth of parameters", file: "s.pth", framing: .zip,
            commands: [
                ["digest", "s.pth"] + one, ["inspect", "s.pth", "--config", config] + one,
                [
                    "verify", "s.pth", "--config", config, "--reference",
                    "fixtures/goldens/tiny-sprint.safetensors", "--no-record",
                ] + one,
            ])
    }

    private static func controlNet(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("controlnet/repository/controlnet", to: "m", in: program)
        let file = "m/diffusion_pytorch_model.safetensors"
        return MutationTarget(
            name: "ControlNet", file: file, framing: .safetensors,
            commands: [
                ["inspect", "m", "--stats"] + one,
                [
                    "verify", "m", "--reference",
                    "fixtures/controlnet/golden-controlnet.safetensors",
                    "--no-record",
                ] + one,
                ["convert", "m", "--dtype", "int8", "--output", "x.safetensors.zst"] + one,
            ], leavings: ["x.safetensors.zst"])
    }

    private static func dduf(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("originals/pipeline.dduf", to: "p.dduf", in: program)
        return MutationTarget(
            name: ".dduf", file: "p.dduf", framing: .zip,
            commands: [
                ["inspect", "p.dduf", "--digest"] + one,
                ["convert", "p.dduf", "--dtype", "int8", "--dry-run"] + one,
                ["digest", "p.dduf"] + one,
            ])
    }

    private static func archive(_ program: BuiltProgram) throws -> MutationTarget {
        let file = "a.safetensors.zst"
        let made = try program.run(
            "convert", "fixtures/tiny/qknorm", "--dtype", "int8", "--output", file)
        try #require(made.code == 0, "\(made.talk)")
        return MutationTarget(
            name: "archive", file: file,
            commands: [
                ["unpack", file, "--output", "x.safetensors"] + one, ["digest", file] + one,
                ["inspect", file, "--stats"] + one,
                ["diff", file, "fixtures/tiny/qknorm", "--tolerance", "1"] + one,
                [
                    "verify", file, "--reference", "fixtures/goldens/tiny-qknorm.safetensors",
                    "--no-record",
                ]
                    + one,
            ], leavings: ["x.safetensors"], mustRestore: "x.safetensors")
    }

    /// 16-bit values in planes of their low and high bytes.
    private static func planes(_ program: BuiltProgram) throws -> MutationTarget {
        let file = "p.safetensors.zst"
        let made = try program.run(
            "convert", "fixtures/tiny/sharded-bf16", "--dtype", "bf16", "--planes16", "--output",
            file)
        try #require(made.code == 0, "\(made.talk)")
        return MutationTarget(
            name: "archive of planes", file: file,
            commands: [
                ["unpack", file, "--output", "x.safetensors"] + one, ["digest", file] + one,
                [
                    "verify", file, "--reference",
                    "fixtures/goldens/tiny-sharded-bf16.safetensors", "--no-record",
                ] + one,
            ], leavings: ["x.safetensors"], mustRestore: "x.safetensors")
    }

    private static func golden(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("goldens/tiny-variant.safetensors", to: "g.safetensors", in: program)
        return MutationTarget(
            name: "golden", file: "g.safetensors", framing: .safetensors,
            commands: [
                ["verify", "fixtures/tiny/variant", "--reference", "g.safetensors", "--no-record"]
                    + one
            ])
    }

    private static func controlNetGolden(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("controlnet/golden-controlnet.safetensors", to: "g.safetensors", in: program)
        return MutationTarget(
            name: "ControlNet golden", file: "g.safetensors", framing: .safetensors,
            commands: [
                [
                    "verify", "fixtures/controlnet/repository", "--subfolder", "controlnet",
                    "--reference", "g.safetensors", "--no-record",
                ] + one
            ])
    }

    private static func sprintTrajectory(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("trajectories/tiny-sprint-scm-2.safetensors", to: "t.safetensors", in: program)
        return MutationTarget(
            name: "SCM trajectory", file: "t.safetensors", framing: .safetensors,
            commands: [
                [
                    "verify", "fixtures/tiny/sprint", "--trajectory", "t.safetensors",
                    "--no-record",
                ] + one
            ])
    }

    private static func trajectory(_ program: BuiltProgram) throws -> MutationTarget {
        try copy(
            "trajectories/sana-digits-dpm-order1-7.safetensors", to: "t.safetensors", in: program)
        return MutationTarget(
            name: "trajectory", file: "t.safetensors", framing: .safetensors,
            commands: [
                [
                    "verify", "fixtures/sana-digits", "--trajectory", "t.safetensors",
                    "--no-record",
                    "--pictures", "x.png",
                ] + one
            ], leavings: ["x.png"])
    }

    private static func lora(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("lora/style.safetensors", to: "l.safetensors", in: program)
        return MutationTarget(
            name: "LoRA", file: "l.safetensors", framing: .safetensors,
            commands: [fusing("l.safetensors")], leavings: ["x.safetensors.zst"],
            fixedBytes: 512 << 20)
    }

    private static func adapterConfig(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("lora/detail", to: "l", in: program)
        return MutationTarget(
            name: "adapter_config.json", file: "l/adapter_config.json",
            commands: [fusing("l/adapter_model.safetensors")], leavings: ["x.safetensors.zst"],
            fixedBytes: 512 << 20)
    }

    private static func fusing(_ lora: String) -> [String] {
        [
            "convert", "fixtures/tiny/plain", "--dtype", "fp32", "--lora", lora, "--output",
            "x.safetensors.zst",
        ] + one
    }

    private static func projectFile(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("tiny/qknorm", to: "m", in: program)
        try program.folder.write(
            "sana-tools.yaml",
            Array(
                """
                # The nightly job.
                model: m
                dtype: [fp16, int8]
                output: archives
                references: fixtures/goldens/tiny-qknorm.safetensors
                trajectories: []
                tolerance: 1e-3
                layer_tolerances: ["*.attn1=2e-3"]
                database: h.sqlite
                resolution: 64
                rules: &rules
                  - transformer_blocks\\.0\\..*=keep
                  - "proj_out.weight=fp32"

                """.utf8))
        // The archives that it promises.
        let made = try program.run("convert", "--quiet")
        try #require(made.code == 0, "\(made.talk)")
        return MutationTarget(
            name: "sana-tools.yaml", file: "sana-tools.yaml",
            commands: [
                ["convert", "--dry-run"] + one, ["verify", "--no-record"] + one,
            ], codes: [64], leavings: ["h.sqlite"], namesSeveral: true,
            known: [
                ("references", "fixtures/"), ("references", "."), ("references", "none"),
                ("trajectories", "[fixtures/tiny, '*']"), ("model", "''"), ("model", "fixtures"),
                ("tolerances", "m/config.json"), ("layer_tolerances", "[none=1]"),
                ("rules", "'(=keep'"), ("dtype", "int4"),
            ].map { key, value in
                let others = [
                    "model: m", "dtype: fp16",
                    "references: fixtures/goldens/tiny-qknorm.safetensors",
                ].filter { !$0.hasPrefix(key + ":") }
                return Array((others + ["\(key): \(value)", ""]).joined(separator: "\n").utf8)
            })
    }

    private static func rules(_ program: BuiltProgram) throws -> MutationTarget {
        try program.folder.write(
            "rules.txt",
            Array(
                """
                # What 'tune' wrote, and by hand.
                transformer_blocks\\.[0-9]+\\.attn2\\.to_(q|k|v)\\.weight=keep
                (time|caption)_.*\\.bias=fp32
                .*ff\\.conv_(inverted|point)\\.weight=int8
                proj_out\\.weight=fp16

                """.utf8))
        return MutationTarget(
            name: "rules", file: "rules.txt",
            commands: [
                [
                    "convert", "fixtures/tiny/qknorm", "--dtype", "int8", "--rule-file",
                    "rules.txt",
                    "--dry-run",
                ] + one
            ], codes: [64])
    }

    private static func tolerances(_ program: BuiltProgram) throws -> MutationTarget {
        let verify = [
            "verify", "fixtures/tiny/qknorm", "--reference",
            "fixtures/goldens/tiny-qknorm.safetensors", "--no-record",
        ]
        let made = try program.run(verify + ["--calibrate", "t.json"])
        try #require(made.code == 0, "\(made.talk)")
        return MutationTarget(
            name: "tolerances", file: "t.json",
            commands: [verify + ["--tolerance-file", "t.json"] + one])
    }

    static func copy(_ fixture: String, to name: String, in program: BuiltProgram) throws {
        try FileManager.default.copyItem(
            atPath: Fixtures.path + "/" + fixture, toPath: program.folder(name))
    }
}

extension TemporaryFolder {
    fileprivate func makeFolder(_ name: String) throws {
        try FileManager.default.createDirectory(
            atPath: self(name), withIntermediateDirectories: true)
    }
}
