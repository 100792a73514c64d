import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// Models from real life that cannot be trusted, and what every command says of them.
@Suite(.tags(.process)) struct BrokenModelTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    init() throws { program = try BuiltProgram() }

    /// The component folder as the case has it.
    private func prepare(_ item: Case) throws {
        if item.isInt8 {
            let made = try program.run(
                "convert", "fixtures/sana-digits/transformer", "--dtype", "int8", "--container",
                "safetensors", "--output", "model")
            #expect(made.code == 0, "\(made.talk)")
        } else {
            try FileManager.default.copyItem(
                atPath: Fixtures.digits + "/transformer", toPath: folder("model"))
        }
        try item.damage(folder)
    }

    @Test(arguments: cases)
    func everyCommandSaysTheSame(_ item: Case) throws {
        try prepare(item)
        let golden = "fixtures/goldens/sana-digits-b1-t1.safetensors"
        for command in [
            ["verify", "model", "--reference", golden, "--no-record"],
            ["convert", "model", "--dtype", "int8", "--output", "out.safetensors.zst"],
            ["profile", "model", "--latent", "8x8", "--no-record"],
            ["diff", "model", "fixtures/sana-digits"],
            ["tune", "model", "--reference", golden],
        ] {
            let outcome = try program.run(command)
            #expect(outcome.code == 65, "\(command): \(outcome.output) \(outcome.talk)")
            #expect(outcome.talk.contains(item.words), "\(command): \(outcome.talk)")
            #expect(outcome.talk.contains("run 'sana-tools inspect model'"), "\(outcome.talk)")
        }
        let inspection = try program.run("inspect", "model")
        #expect(inspection.code == 1, "\(inspection.output)")
        #expect(inspection.output.contains(item.words), "\(inspection.output)")
        #expect(!inspection.output.contains("run 'sana-tools inspect"))
        #expect(!FileManager.default.fileExists(atPath: folder("out.safetensors.zst")))
    }

    /// Files that no program can read; the script of `capture` would say it in words of its own.
    @Test(arguments: cases.filter(\.isUnreadable))
    func captureSaysItBeforePython(_ item: Case) throws {
        try prepare(item)
        let outcome = try program.run(
            "capture", "model", "--output", "g.safetensors", "--python", "/bin/false")
        #expect(outcome.code == 65, "\(outcome.talk)")
        #expect(outcome.talk.contains(item.words), "\(outcome.talk)")
        #expect(outcome.talk.contains("run 'sana-tools inspect model'"), "\(outcome.talk)")
    }

    private static let pointer = Array(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n".utf8)

    /// Commands that take a whole pipeline.
    private static let pipelineCommands = [
        ["sample", "pipeline", "--prompt", "1", "--steps", "1", "--output", "x.png"],
        ["profile", "pipeline", "--pipeline", "--steps", "1", "--repeat", "1", "--no-record"],
    ]

    @Test(
        "a pointer in place of a pipeline's file is told by every command",
        arguments: [
            "vae/config.json", "text_encoder/config.json", "transformer/config.json",
            "tokenizer/tokenizer.json", "scheduler/scheduler_config.json", "model_index.json",
            "text_encoder/model.safetensors",
        ])
    func pointerInAPipeline(_ file: String) throws {
        try FileManager.default.copyItem(
            atPath: Fixtures.path + "/sana-pictures", toPath: folder("pipeline"))
        try folder.write("pipeline/" + file, Self.pointer)
        let convert = ["convert", "pipeline", "--dtype", "int8", "--output", "new"]
        let isLinked = file.hasPrefix("tokenizer") || file.hasPrefix("scheduler")
        for command in Self.pipelineCommands + (isLinked ? [] : [convert]) {
            let outcome = try program.run(command)
            #expect(outcome.code == 65, "\(command): \(outcome.output) \(outcome.talk)")
            #expect(outcome.talk.contains(file), "\(command): \(outcome.talk)")
            #expect(outcome.talk.contains("a Git LFS pointer"), "\(command): \(outcome.talk)")
            #expect(outcome.talk.contains("run 'sana-tools inspect pipeline"), "\(outcome.talk)")
        }
        #expect(!folder("new").pathExists)
        let inspection = try program.run("inspect", "pipeline")
        #expect(inspection.code == 1)
        #expect(inspection.output.contains(file), "\(inspection.output)")
        // What is left out need not be there.
        if file == "vae/config.json" {
            let outcome = try program.run(convert + ["--component", "vae=skip"])
            #expect(outcome.code == 0, "\(outcome.talk)")
        }
    }

    @Test("files that the operating system leaves are ignored")
    func systemFilesAreIgnored() throws {
        let source = Fixtures.digits
        try FileManager.default.copyItem(atPath: source, toPath: folder("repo"))
        for name in ["._diffusion_pytorch_model.safetensors", "._config.json", ".DS_Store"] {
            try folder.write("repo/transformer/" + name, [0, 5, 22, 7])
            try folder.write("repo/scheduler/" + name, [0, 5, 22, 7])
        }
        #expect(try program.run("inspect", "repo", "--strict").code == 0)
        #expect(
            try program.run(
                "verify", "repo", "--reference", "fixtures/goldens/sana-digits-b1-t1.safetensors",
                "--no-record"
            ).code == 0)
        let made = try program.run(
            "convert", "repo", "--dtype", "fp16", "--output", "new", "--other-components", "copy")
        #expect(made.code == 0, "\(made.talk)")
        #expect(folder.entries("new/scheduler") == ["scheduler_config.json"])
        let file = try program.run(
            "inspect", "repo/transformer/._diffusion_pytorch_model.safetensors")
        #expect(file.code == 65)
        #expect(file.talk.contains("AppleDouble"))
    }

    @Test("what convert and unpack write is clean under --strict")
    func ownOutputsAreClean() throws {
        let digits = "fixtures/sana-digits"
        for (arguments, output) in [
            (["--dtype", "fp16", "--container", "safetensors", "--output", "half"], "half"),
            (
                ["--dtype", "fp16", "--exact", "--container", "safetensors", "--output", "kept"],
                "kept"
            ),
            (["--dtype", "fp16", "--exact", "--output", "a.safetensors.zst"], "a.safetensors.zst"),
            (["--dtype", "int8", "--container", "safetensors", "--output", "byte"], "byte"),
            (
                [
                    "--dtype", "int8", "--container", "safetensors", "--max-shard-size", "400KB",
                    "--output", "shards",
                ], "shards"
            ),
            (["--dtype", "int8", "--output", "i8.safetensors.zst"], "i8.safetensors.zst"),
            (["--dtype", "int8", "--output", "repository"], "repository"),
        ] {
            let made = try program.run(["convert", digits] + arguments)
            #expect(made.code == 0, "\(made.talk)")
            let inspection = try program.run("inspect", output, "--strict")
            #expect(inspection.code == 0, "\(arguments): \(inspection.output)")
        }
        for name in ["a", "i8"] {
            #expect(
                try program.run("unpack", name + ".safetensors.zst", "--output", name).code == 0)
            let inspection = try program.run("inspect", name, "--strict")
            #expect(inspection.code == 0, "\(name): \(inspection.output)")
        }
        // No file is larger than asked for, its header included.
        for name in folder.entries("shards/transformer") where name.hasSuffix(".safetensors") {
            #expect(try fileBytes(folder("shards/transformer/" + name)).count <= 400_000)
        }
    }

    @Test("a whole pipeline in archives is clean under --strict, and a cut archive is not")
    func archivesOfAPipelineAreClean() throws {
        let made = try program.run(
            "convert", "fixtures/sana-pictures", "--dtype", "fp16", "--output", "pipeline")
        #expect(made.code == 0, "\(made.talk)")
        let archive = "pipeline/vae/diffusion_pytorch_model.safetensors.zst"
        #expect(folder(archive).pathExists)
        let whole = try program.run("inspect", "pipeline", "--strict")
        #expect(whole.code == 0, "\(whole.output)")
        try folder.write(archive, Array(try fileBytes(folder(archive)).dropLast(20)))
        let cut = try program.run("inspect", "pipeline")
        #expect(cut.code == 1, "\(cut.output)")
        #expect(cut.output.contains(archive.replacing("pipeline/", with: "")), "\(cut.output)")
    }

    @Test("a broken file is one row of the digest's table")
    func digestShowsTheTableWhateverIsBroken() throws {
        try FileManager.default.copyItem(atPath: Fixtures.digits, toPath: folder("repo"))
        let weights = "repo/transformer/diffusion_pytorch_model.safetensors"
        let content = try fileBytes(folder(weights))
        let zeros = [UInt8](repeating: 0, count: content.count / 2)
        try folder.write(weights, content.dropLast(zeros.count) + zeros)
        let unwritten = try program.run("digest", "repo")
        #expect(unwritten.code == 1)
        #expect(unwritten.talk.contains("zero bytes"), "\(unwritten.talk)")
        #expect(unwritten.talk.contains("run 'sana-tools inspect repo'"), "\(unwritten.talk)")
        try folder.write(weights, Array(content.dropLast(5000)))
        let text = try program.run("digest", "repo")
        #expect(text.code == 1)
        #expect(text.output.contains("scheduler_config.json"))
        #expect(text.output.contains("WRONG"))
        #expect(text.talk.contains("file is truncated"))
        let json = try program.run("digest", "repo", "--format", "json")
        #expect(json.code == 1)
        let files = json.json?["files"]?.array ?? []
        let wrong = files.filter { $0["status"]?.string == "WRONG" }
        #expect(wrong.map { $0["name"]?.string } == [weights.replacing("repo/", with: "")])
        #expect(wrong.first?["problem"]?.string?.contains("truncated") == true)
        #expect(files.count > 2)
        #expect(json.json?["verdict"]?.string == "fail")
        for (content, words) in [
            (Array("<html></html>".utf8), "a web page"), ([], "empty"),
            ([UInt8](repeating: 0, count: 99), "all zeros"),
        ] {
            try folder.write("repo/transformer/config.json", content)
            let outcome = try program.run("digest", "repo")
            #expect(outcome.code == 1)
            #expect(outcome.talk.contains(words), "\(outcome.talk)")
        }
    }

    @Test("what is not a file, or cannot be looked into, is one row of the digest's table")
    func digestShowsTheTableWhateverIsThere() throws {
        try FileManager.default.copyItem(atPath: Fixtures.digits, toPath: folder("repo"))
        func link(_ name: String, to target: String) throws {
            try FileManager.default.createSymbolicLink(
                atPath: folder("repo/" + name), withDestinationPath: target)
        }
        let whole = try program.run("digest", "repo", "--format", "json").json
        let present = (whole?["files"]?.array ?? []).compactMap { $0["name"]?.string }
        let deep = [String](repeating: "d", count: 7).joined(separator: "/")
        let damages: [(String, String, () throws -> Void)] = [
            (
                "transformer/pipe", "is a pipe or device",
                {
                    #expect(mkfifo(folder("repo/transformer/pipe"), 0o600) == 0)
                }
            ),
            ("self", "a directory that contains it", { try link("self", to: ".") }),
            (
                "transformer/up", "a directory that contains it",
                {
                    try link("transformer/up", to: "..")
                }
            ),
            (
                "one", "symbolic links",
                {
                    try link("one", to: "two")
                    try link("two", to: "one")
                }
            ),
            (
                deep, "nested too deeply",
                {
                    try FileManager.default.createDirectory(
                        atPath: folder("repo/" + deep), withIntermediateDirectories: true)
                }
            ),
            ("nothing.json", "No such file", { try link("nothing.json", to: "none") }),
            (
                "device.safetensors", "is a pipe or device",
                {
                    try link("device.safetensors", to: "/dev/null")
                }
            ),
        ]
        for (name, words, damage) in damages {
            try damage()
            let text = try program.run("digest", "repo")
            #expect(text.code == 1, "\(text.talk)")
            #expect(text.output.contains("scheduler_config.json"))
            #expect(text.output.contains("UNREADABLE"))
            #expect(text.output.contains(name), "\(text.output)")
            let json = try program.run("digest", "repo", "--format", "json")
            #expect(json.code == 1)
            #expect(json.json?["verdict"]?.string == "fail")
            let files = json.json?["files"]?.array ?? []
            let row = files.first { $0["name"]?.string == name }
            #expect(row?["status"]?.string == "UNREADABLE", "\(name)")
            #expect(row?["problem"]?.string?.contains(words) == true, "\(json.output)")
            for file in present {
                let row = files.first { $0["name"]?.string == file }
                #expect(row?["hash"]?.string?.isEmpty == false, "\(file)")
            }
        }
    }

    @Test("the same LoRA given twice is a warning")
    func sameLoraTwice() throws {
        let lora = "fixtures/lora/style.safetensors"
        let arguments = ["convert", "fixtures/tiny/plain", "--dtype", "bf16", "--dry-run"]
        let once = try program.run(arguments + ["--lora", lora])
        #expect(once.code == 0, "\(once.talk)")
        #expect(!once.talk.contains("warning"))
        let twice = try program.run(arguments + ["--lora", lora, "--lora", lora + "=0.5"])
        #expect(twice.code == 0)
        #expect(twice.talk.contains("warning: --lora \(lora) is given twice"))
    }

    @Test("a checkpoint in ComfyUI's scaled fp8 is read by every command")
    func scaledFP8IsRead() throws {
        let model = "fixtures/cases/comfy-fp8-scaled/comfy-fp8-scaled.safetensors"
        for command in [
            ["inspect", model, "--strict"], ["digest", model], ["diff", model, model],
            ["profile", model, "--latent", "8x8", "--repeat", "1", "--no-record"],
            ["convert", model, "--dtype", "fp16", "--output", "out.safetensors.zst"],
            ["diff", model, "out.safetensors.zst", "--tolerance", "1e-3"],
        ] {
            let outcome = try program.run(command)
            #expect(outcome.code == 0, "\(command): \(outcome.talk)")
        }
    }

    @Test("every component of a pipeline is looked into")
    func componentsAreChecked() throws {
        func strict() throws -> BuiltProgram.Outcome {
            try program.run("inspect", "pipeline", "--strict")
        }
        func reset() throws {
            try? FileManager.default.removeItem(atPath: folder("pipeline"))
            try FileManager.default.copyItem(
                atPath: Fixtures.path + "/cases/gemma-causal", toPath: folder("pipeline"))
        }
        try reset()
        let causal = try strict()
        #expect(causal.code == 1)
        #expect(causal.output.contains("component-class"), "\(causal.output)")
        #expect(causal.output.contains("Gemma2ForCausalLM"))
        #expect(try program.run("inspect", "pipeline").code == 0)
        let index = String(
            decoding: try fileBytes(folder("pipeline/model_index.json")), as: UTF8.self
        ).replacingOccurrences(of: "Gemma2ForCausalLM", with: "Gemma2Model")
        for file in [
            "vae/diffusion_pytorch_model.safetensors", "vae/config.json",
            "text_encoder/model.safetensors", "text_encoder/config.json",
            "tokenizer/tokenizer.json", "scheduler/scheduler_config.json",
        ] {
            let path = "pipeline/" + file
            try reset()
            try folder.write("pipeline/model_index.json", Array(index.utf8))
            #expect(try strict().code == 0)
            try folder.write(path, Array(try fileBytes(folder(path)).dropLast(20)))
            let cut = try strict()
            #expect(cut.code == 1, "\(file): \(cut.output)")
            #expect(cut.output.contains(file), "\(cut.output)")
            try FileManager.default.removeItem(atPath: folder(path))
            let absent = try strict()
            #expect(absent.code == 1, "\(file): \(absent.output)")
            #expect(absent.output.contains(file.parentFolder), "\(absent.output)")
        }
    }
}
