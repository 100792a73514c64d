import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// What a stranger meets: help, mistakes, quiet, colours.
@Suite(.tags(.process)) struct UsageTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    init() throws { program = try BuiltProgram() }

    private struct Command {
        let name: String
        let discussion: String
        let hasSubcommands: Bool
    }

    /// Every command that the parser knows, as it tells of itself: what the manual is made of.
    private func commands() throws -> [Command] {
        let dump = try program.run("--experimental-dump-help")
        let root = try #require(dump.json?["command"])
        func list(_ node: JSONValue, _ path: String) -> [Command] {
            let name = path + (node["commandName"]?.string ?? "?")
            let children = (node["subcommands"]?.array ?? []).filter {
                $0["commandName"]?.string != "help"
            }
            return [
                Command(
                    name: name, discussion: node["discussion"]?.string ?? "",
                    hasSubcommands: !children.isEmpty)
            ] + children.flatMap { list($0, name + " ") }
        }
        return list(root, "")
    }

    @Test func everyCommandHasExamplesOfItself() throws {
        let commands = try commands()
        #expect(commands.count >= 24)
        for command in commands {
            let examples = command.discussion.components(separatedBy: "EXAMPLES\n").dropFirst()
                .joined()
            #expect(examples.contains("  \(command.name)"), "\(command.name)")
        }
    }

    @Test("an error is JSON on stdout, too, where JSON was asked for and there is no result")
    func errorsAsJSON() throws {
        let absent = try program.run("inspect", "nowhere", "--format", "json")
        #expect(absent.code == 66)
        let error = try #require(absent.json?["error"])
        #expect(error["exit_code"]?.int == 66)
        #expect(error["category"]?.string == "noInput")
        #expect(error["hint"]?.string?.isEmpty == false)
        #expect(absent.talk.contains("error:"))
        let usage = try program.run("inspect", "--frobnicate", "--format=json")
        #expect(usage.code == 64)
        #expect(usage.talk.hasPrefix("sana-tools: error: Unknown option"), "\(usage.talk)")
        #expect(usage.json?["error"]?["category"]?.string == "usage")
        #expect(try program.run("inspect", "nowhere").output.isEmpty)
        let both = try program.run(
            "verify", "fixtures/tiny/plain", "nowhere", "--reference",
            "fixtures/goldens/tiny-plain.safetensors", "--no-record", "--format", "json")
        #expect(both.code == 66)
        #expect(both.json?.array?.count == 2)
    }

    @Test("--version begins with the version")
    func version() throws {
        let text = try program.run("--version").output
        #expect(text.hasPrefix(ToolVersion.number))
    }

    @Test(arguments: ["bash", "zsh", "fish"])
    func completionsKnowEveryCommand(_ shell: String) throws {
        let script = try program.run("--generate-completion-script", shell)
        #expect(script.code == 0)
        #expect(script.talk.isEmpty)
        for name in ["inspect", "digest", "tune", "baseline", "--max-shard-size", "--quiet"] {
            let written = shell == "fish" ? name.replacing("--", with: "") : name
            #expect(script.output.contains(written), "\(shell): \(name)")
        }
    }

    @Test func mistakesAreToldWithWhatToDo() throws {
        #expect(mkfifo(folder("pipe"), 0o600) == 0)
        try FileManager.default.createDirectory(
            atPath: folder("empty"), withIntermediateDirectories: true)
        try folder.write("taken", [1])
        let model = "fixtures/tiny/qknorm"
        let (golden, sampling) = (
            "fixtures/goldens/tiny-plain.safetensors",
            "fixtures/trajectories/sana-digits-dpm-short-3.safetensors"
        )
        let cases: [(arguments: [String], code: Int32, words: [String])] = [
            (["inspct", model], 64, ["'inspct'", "did you mean 'inspect'?"]),
            (["frobnicate"], 64, ["'frobnicate'", "--help"]),
            (
                ["history", "bogus"], 64,
                ["unknown command 'bogus' of 'sana-tools history'", "'bogus'"]
            ),
            (["history", "shwo"], 64, ["'shwo'", "did you mean 'show'?"]),
            (
                ["history", "baseline", "bogus"], 64,
                ["'sana-tools history baseline'", "'bogus'", "--help"]
            ),
            (["inspect", golden], 65, [golden, "is a golden", "--reference"]),
            (["verify", sampling, "--no-record"], 65, [sampling, "a trajectory", "--trajectory"]),
            (["convert", golden, "--dtype", "fp16"], 65, [golden, "is a golden", "--reference"]),
            (["inspect", "fixtures/lora/style.safetensors"], 65, ["is a LoRA", "--lora"]),
            (["convert", "fixtures/lora/detail", "--dtype", "fp16"], 65, ["is a LoRA", "--lora"]),
            (
                ["convert", model, "--dtype", "fp16", "--lora", "empty"], 65,
                ["empty", "adapter_model.safetensors", "pytorch_lora_weights.safetensors"]
            ),
            (
                ["unpack", model], 65,
                [model, "no diffusion_pytorch_model.safetensors.zst in this"]
            ),
            (["verify", model, "--tolerance", "-1"], 64, ["--tolerance", "non-negative"]),
            (["tune", model, "--tolerance", "-1"], 64, ["--tolerance", "positive"]),
            (["history", "list", "--limit", "-1"], 64, ["--limit must be at least 1"]),
            (["profile", model, "--latent", "0x4"], 64, ["'0x4'", "1...4096, such as 16x24"]),
            (["profile", model, "--batch", "-2"], 64, ["--batch must be in 1...4096"]),
            (["profile", model, "--tokens", "0"], 64, ["--tokens in 1...65536"]),
            (
                ["digest", "fixtures/originals/plain.pth", "--variant", "fp16"], 64,
                ["plain.pth", "is a file"]
            ),
            (["history", "list", "--db", "pipe"], 65, ["pipe", "is a pipe"]),
            (["history", "list", "--db", "empty"], 65, ["empty", "is a directory"]),
            (
                ["history", "list", "--db", "absent.sqlite"], 66,
                ["absent.sqlite", "verify", "--db"]
            ),
            (["digest", "empty"], 65, ["empty", "no files"]),
            (
                ["verify", model, "--reference", "empty", "--no-record"], 65,
                ["empty", "no .safetensors file"]
            ),
            (
                ["tune", model, "--reference", "fixtures/goldens/tiny-patch2.safetensors"], 1,
                ["tiny-patch2.safetensors", "golden is stale", "--allow-stale"]
            ),
            (
                ["convert", model, "--dtype", "int8", "--output", "taken"], 73,
                ["taken", "File exists", "choose another"]
            ),
        ]
        for (arguments, code, words) in cases {
            // A command that waits for a pipe would wait for ever.
            let outcome = try program.run(limits: "ulimit -t 20", arguments)
            #expect(outcome.code == code, "\(arguments): \(outcome.talk)")
            for word in words { #expect(outcome.talk.contains(word), "\(outcome.talk)") }
            #expect(outcome.output.isEmpty)
        }
    }

    @Test(arguments: [
        ("references: fixtures/tiny", "references", 65),
        ("references: absent", "references", 66),
        ("references: 'absent/*'", "references", 66),
        ("trajectories: fixtures/tiny", "trajectories", 65),
        ("tolerances: fixtures/tiny/plain/config.json", "tolerances", 65),
        ("layer_tolerances: none.such=1", "layer_tolerances", 64),
        ("database: fixtures/tiny", "database", 65),
        ("model: absent", "model", 66),
        ("model: fixtures", "model", 65),
    ])
    func errorsOfTheProjectsValuesNameTheFileAndTheKey(
        _ line: String, _ key: String, _ code: Int
    ) throws {
        let others = [
            "model: fixtures/tiny/plain", "references: fixtures/goldens/tiny-plain.safetensors",
            "database: h.sqlite",
        ].filter { !$0.hasPrefix(key) }
        let text = (others + [line]).joined(separator: "\n")
        try folder.write(ProjectFile.name, Array(text.utf8))
        let outcome = try program.run("verify")
        #expect(outcome.code == code, "\(outcome.talk)")
        #expect(outcome.talk.contains("('\(key)' in sana-tools.yaml)"), "\(outcome.talk)")
        guard key == "model" || key == "references" else { return }
        for command in key == "model" ? ["inspect", "profile", "convert"] : ["tune"] {
            let flags = command == "convert" ? ["--dtype", "fp16"] : []
            let other = try program.run([command] + flags)
            #expect(
                other.talk.contains("('\(key)' in sana-tools.yaml)"), "\(command): \(other.talk)")
        }
        // A value from the command line is not the file's.
        let given = try program.run("verify", "fixtures/tiny/plain", "--reference", "none")
        #expect(given.code == 66)
        #expect(!given.talk.contains("sana-tools.yaml"))
    }

    @Test func outputOfTheProjectThatCannotBeIsBlamedOnIt() throws {
        let text = "model: fixtures/tiny/plain\ndtype: fp16\noutput: fixtures/README.md/x"
        try folder.write(ProjectFile.name, Array(text.utf8))
        let outcome = try program.run("convert")
        #expect(outcome.code == 73, "\(outcome.talk)")
        #expect(outcome.talk.contains("('output' in sana-tools.yaml)"), "\(outcome.talk)")
    }

    /// The digest of a folder with several variants is that of its files alone.
    @Test func digestOfSeveralVariantsSaysHowToChoose() throws {
        let path = "fixtures/tiny/variants-two"
        let several = try program.run("digest", path, "--format", "json")
        #expect(several.code == 0)
        #expect(several.json?["weights_digest"] == .null)
        #expect(several.talk.contains("(none), fp16"))
        #expect(several.talk.contains("--variant"))
        #expect((several.json?["files"]?.array?.count ?? 0) == 3)
        let chosen = try program.run("digest", path, "--variant", "fp16", "--format", "json")
        #expect(chosen.code == 0)
        #expect(chosen.json?["weights_digest"]?.string?.count == 64)
    }

    @Test func problemsAreCountedAsPeopleDo() throws {
        let one = try program.run("inspect", "fixtures/tiny/variant")
        #expect(one.output.contains("\n0 errors, 1 warning\n"), "\(one.output)")
        let two = try program.run("inspect", "fixtures/tiny/variant-sharded-legacy")
        #expect(two.output.contains(" errors, "))
        #expect(two.output.hasSuffix(" warnings\n"))
    }

    @Test func negativeNumbersBelongToTheOptionBeforeThem() {
        let cases: [([String], [String])] = [
            (["verify", "--tolerance", "-1"], ["verify", "--tolerance=-1"]),
            (["a", "--x", "-1e-3", "-q"], ["a", "--x=-1e-3", "-q"]),
            (["a", "-1"], ["a", "-1"]), (["a", "--x=2", "-1"], ["a", "--x=2", "-1"]),
            (["a", "--", "--x", "-1"], ["a", "--", "--x", "-1"]),
            (["a", "--x", "-inf"], ["a", "--x=-inf"]), (["a", "--x", "-v"], ["a", "--x", "-v"]),
        ]
        for (given, expected) in cases {
            #expect(SanaToolsCommand.joiningNumbers(given) == expected)
        }
    }

    @Test func helpNamesEveryKindOfModel() throws {
        let help = try program.run("--help").output
        for kind in [".safetensors", ".safetensors.zst", ".pth", ".dduf", "org/name"] {
            #expect(help.contains(kind), "\(kind)")
        }
    }

    @Test func errorsOfAMergeNameTheFileThatHasThem() throws {
        let golden = "fixtures/goldens/tiny-qknorm.safetensors"
        let verify = ["verify", "fixtures/tiny/qknorm", "--reference", golden, "--quiet", "--db"]
        for name in ["theirs.sqlite", "ours.sqlite"] {
            #expect(try program.run(verify + [name]).code == 0)
        }
        let broken = try HistoryStore(path: folder("theirs.sqlite"), creating: true)
        try broken.queue.writeWithoutTransaction { db in
            try db.execute(sql: "PRAGMA foreign_keys = OFF")
            try db.execute(sql: "DELETE FROM model")
        }
        let outcome = try program.run("history", "merge", "theirs.sqlite", "--db", "ours.sqlite")
        #expect(outcome.code == 65)
        #expect(
            outcome.talk.contains("error: theirs.sqlite"),
            "\(outcome.talk)")
        #expect(
            !outcome.talk.contains("ours.sqlite"),
            "\(outcome.talk)")
    }

    @Test func quietLeavesOutRemarksAndNothingElse() throws {
        let golden = "fixtures/goldens/tiny-qknorm.safetensors"
        let arguments = [
            "verify", "fixtures/tiny/qknorm", "--reference", golden, "--no-record", "--calibrate",
            "t.json",
        ]
        let loud = try program.run(arguments)
        #expect(loud.code == 0)
        #expect(loud.talk.contains("wrote tolerances"))
        for flag in ["--quiet", "-q"] {
            let quiet = try program.run(arguments + [flag])
            #expect(quiet.code == 0, "\(quiet.talk)")
            #expect(quiet.talk.isEmpty, "\(quiet.talk)")
            #expect(!quiet.output.isEmpty, "\(quiet.talk)")
        }
        let refused = try program.run("inspect", "absent", "--quiet")
        #expect(refused.code == 66)
        #expect(refused.talk.contains("absent"))
    }

    /// Runs a command on a terminal of its own, with `script` of util-linux.
    private func runOnTerminal(_ command: String) throws -> String {
        let process = try program.launch(
            [
                "-q", "-e", "-c", "env -u NO_COLOR TERM=xterm \(program.binary.path) \(command)",
                "typescript",
            ],
            program: "/usr/bin/script")
        return try program.finish(process).output
    }

    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/script")))
    func coloursAndProgressAreForTerminalsAlone() throws {
        let verify =
            "verify fixtures/sana-digits --reference fixtures/goldens/sana-digits-b2-t999.safetensors --no-record"
        let green = "\u{1B}[32mPASS\u{1B}[0m"
        let shown = try runOnTerminal(verify)
        #expect(shown.contains(green))
        #expect(shown.contains("\r\u{1B}[K"))
        let quiet = try runOnTerminal(verify + " --quiet")
        #expect(quiet.contains(green))
        #expect(!quiet.contains("\u{1B}[K"))
        #expect(try !runOnTerminal(verify + " --quiet --format json").contains("\u{1B}"))
        #expect(try !runOnTerminal(verify + " --quiet --format markdown").contains("\u{1B}"))
        #expect(try !program.run(verify.components(separatedBy: " ")).output.contains("\u{1B}"))
        #expect(try runOnTerminal("inspect absent").contains("\u{1B}[31merror:"))
    }

    @Test func environmentDecidesAboutColours() {
        func isWanted(_ isTerminal: Bool, _ environment: [String: String]) -> Bool {
            Colour.isWanted(isTerminal: isTerminal, environment: environment)
        }
        #expect(isWanted(true, [:]))
        #expect(!isWanted(false, [:]))
        #expect(isWanted(true, ["NO_COLOR": ""]))
        #expect(!isWanted(true, ["NO_COLOR": "1"]))
        #expect(!isWanted(true, ["TERM": "dumb"]))
        #expect(isWanted(false, ["CLICOLOR_FORCE": "1"]))
        #expect(!isWanted(false, ["CLICOLOR_FORCE": "0"]))
        #expect(!isWanted(true, ["CLICOLOR_FORCE": "1", "NO_COLOR": "1"]))
    }

    @Test("a name of a file that is not UTF-8 is told as that")
    func argumentsThatAreNotUTF8() throws {
        for command in ["inspect", "verify", "convert", "profile", "digest"] {
            let process = try program.launch(
                ["-c", "exec \"$0\" \(command) \"$(printf 'm\\377del')\"", program.binary.path],
                program: "/bin/bash")
            let outcome = try program.finish(process)
            #expect(outcome.code == 64, "\(outcome.talk)")
            #expect(outcome.talk.contains("is not valid UTF-8"), "\(outcome.talk)")
            #expect(outcome.talk.contains("ln -s"), "\(outcome.talk)")
        }
    }

    @Test func onlyVerdictsArePainted() {
        let report =
            "FAIL  pass/model  against  fail.safetensors\n  error  layer  x  fail\npass rate 3"
        #expect(
            Colour.paintVerdicts(report)
                == "\u{1B}[31mFAIL\u{1B}[0m  pass/model  against  fail.safetensors\n"
                + "  error  layer  x  \u{1B}[31mfail\u{1B}[0m\n\u{1B}[32mpass\u{1B}[0m rate 3")
        // A cell's text that goes on in the next line.
        let wrapped = "norm  its error is the output's\n            error"
        #expect(Colour.paintVerdicts(wrapped) == wrapped)
    }
}
