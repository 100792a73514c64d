import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools

/// What a stranger meets: help, mistakes, quiet, colours.
@Suite struct UsageTests {
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

    @Test(arguments: ["bash", "zsh", "fish"])
    func completionsKnowEveryCommand(_ shell: String) throws {
        let script = try program.run("--generate-completion-script", shell)
        #expect(script.code == 0 && script.talk.isEmpty)
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
        let cases: [(arguments: [String], code: Int32, words: [String])] = [
            (["inspct", model], 64, ["'inspct'", "did you mean 'inspect'?"]),
            (["frobnicate"], 64, ["'frobnicate'", "--help"]),
            (["history", "list", "--db", "pipe"], 65, ["pipe", "is a pipe"]),
            (["history", "list", "--db", "empty"], 65, ["empty", "is a folder"]),
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
                ["tune", model, "--reference", "fixtures/goldens/tiny-patch2.safetensors"], 65,
                ["tiny-patch2.safetensors"]
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
        #expect(given.code == 66 && !given.talk.contains("sana-tools.yaml"))
    }

    @Test func outputOfTheProjectThatCannotBeIsBlamedOnIt() throws {
        let text = "model: fixtures/tiny/plain\ndtype: fp16\noutput: fixtures/README.md/x"
        try folder.write(ProjectFile.name, Array(text.utf8))
        let outcome = try program.run("convert")
        #expect(outcome.code == 73, "\(outcome.talk)")
        #expect(outcome.talk.contains("('output' in sana-tools.yaml)"), "\(outcome.talk)")
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
            outcome.talk.contains("error: theirs.sqlite") && !outcome.talk.contains("ours.sqlite"),
            "\(outcome.talk)")
    }

    @Test func quietLeavesOutRemarksAndNothingElse() throws {
        let golden = "fixtures/goldens/tiny-qknorm.safetensors"
        let arguments = [
            "verify", "fixtures/tiny/qknorm", "--reference", golden, "--no-record", "--calibrate",
            "t.json",
        ]
        let loud = try program.run(arguments)
        #expect(loud.code == 0 && loud.talk.contains("wrote tolerances"))
        for flag in ["--quiet", "-q"] {
            let quiet = try program.run(arguments + [flag])
            #expect(quiet.code == 0 && quiet.talk.isEmpty && !quiet.output.isEmpty, "\(quiet.talk)")
        }
        let refused = try program.run("inspect", "absent", "--quiet")
        #expect(refused.code == 66 && refused.talk.contains("absent"))
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
        #expect(shown.contains(green) && shown.contains("\r\u{1B}[K"))
        let quiet = try runOnTerminal(verify + " --quiet")
        #expect(quiet.contains(green) && !quiet.contains("\u{1B}[K"))
        #expect(try !runOnTerminal(verify + " --quiet --format json").contains("\u{1B}"))
        #expect(try !runOnTerminal(verify + " --quiet --format markdown").contains("\u{1B}"))
        #expect(try !program.run(verify.components(separatedBy: " ")).output.contains("\u{1B}"))
        #expect(try runOnTerminal("inspect absent").contains("\u{1B}[31merror:"))
    }

    @Test func environmentDecidesAboutColours() {
        func isWanted(_ isTerminal: Bool, _ environment: [String: String]) -> Bool {
            Colour.isWanted(isTerminal: isTerminal, environment: environment)
        }
        #expect(isWanted(true, [:]) && !isWanted(false, [:]))
        #expect(isWanted(true, ["NO_COLOR": ""]) && !isWanted(true, ["NO_COLOR": "1"]))
        #expect(!isWanted(true, ["TERM": "dumb"]))
        #expect(
            isWanted(false, ["CLICOLOR_FORCE": "1"]) && !isWanted(false, ["CLICOLOR_FORCE": "0"]))
        #expect(!isWanted(true, ["CLICOLOR_FORCE": "1", "NO_COLOR": "1"]))
    }

    @Test func onlyVerdictsArePainted() {
        let report =
            "FAIL  pass/model  against  fail.safetensors\n  error  layer  x  fail\npass rate 3"
        #expect(
            Colour.paintVerdicts(report)
                == "\u{1B}[31mFAIL\u{1B}[0m  pass/model  against  fail.safetensors\n"
                + "  error  layer  x  \u{1B}[31mfail\u{1B}[0m\n\u{1B}[32mpass\u{1B}[0m rate 3")
    }
}
