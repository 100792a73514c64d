import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// `--format github`: annotations on stdout, folded results in the summary of the step.
@Suite(.tags(.process)) struct GitHubReportTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    init() throws { program = try BuiltProgram() }

    private func run(_ arguments: String...) throws -> BuiltProgram.Outcome {
        try run(arguments)
    }

    private func run(_ arguments: [String]) throws -> BuiltProgram.Outcome {
        try program.finish(
            program.launch(
                arguments + ["--format", "github"],
                environment: [
                    "GITHUB_STEP_SUMMARY": folder("summary.md"), "GITHUB_WORKSPACE": folder.path,
                ]))
    }

    private func summary() throws -> String {
        String(decoding: try fileBytes(folder("summary.md")), as: UTF8.self)
    }

    @Test("text stays in its annotation")
    func escaping() {
        let command = WorkflowCommand(
            .error, "a:b,c%", "100 %\nsecond\r\n::error::third\u{1B}[0m")
        #expect(
            command.text
                == "::error title=a%3Ab%2Cc%25::100 %25%0Asecond\\u{d}%0A::error::third\\u{1b}[0m")
        #expect(!command.text.contains("\n"))
    }

    @Test("a name is no command of the runner's")
    func namesThatLookLikeCommands() {
        for name in ["::error::x", "  ::set-output::x", "\u{3000}::error::x", "::\u{301}error::x"] {
            let text = GitHubReport(name, [], []).text
            #expect(text == "sana-tools: " + name)
        }
        #expect(GitHubReport("a ##[add-mask]b", [], []).text == "a ##\\[add-mask]b")
        #expect(GitHubReport("PASS: 1 of 1", [], []).text == "PASS: 1 of 1")
    }

    @Test("what GitHub would leave out is counted")
    func limit() {
        let commands = (1...12).map { WorkflowCommand(.error, "t", "\($0)") }
        let lines = WorkflowCommand.lines(commands + [WorkflowCommand(.warning, "t", "w")])
        #expect(lines.count == 11)
        #expect(lines[8] == "::error title=t::9")
        #expect(lines[9].contains("… and 3 more"))
        #expect(lines[10] == "::warning title=t::w")
        #expect(WorkflowCommand.lines(Array(commands.prefix(10))).count == 10)
    }

    @Test("a summary stays under 1 MiB and says what it leaves out")
    func summaryLimit() {
        let row = "| " + String(repeating: "x", count: 98) + " |\n"
        let block = StepSummary.Block(
            title: "<b>", isOpen: true, markdown: String(repeating: row, count: 8000))
        let text = StepSummary(conclusion: "FAIL", blocks: [block, block, block]).text()
        #expect(text.utf8.count <= 1 << 20)
        #expect(text.utf8.count > 900_000)
        #expect(text.contains("<summary>&lt;b&gt;</summary>"))
        #expect(text.contains(/… and \d+ more lines\n\n<\/details>/))
        #expect(text.hasSuffix("… and 1 more result\n"))
        let whole = StepSummary(conclusion: "PASS", blocks: [block]).text()
        #expect(!whole.contains("… and"))
        #expect(whole.hasSuffix("</details>\n"))
    }

    @Test("inspect annotates problems and folds what it shows")
    func inspection() throws {
        try FileManager.default.copyItem(
            atPath: Fixtures.path + "/tiny/plain", toPath: folder("m"))
        try folder.write("m/pytorch_model.bin", [1])
        let outcome = try run("inspect", "m", "--strict")
        #expect(outcome.code == 1)
        #expect(
            outcome.output.hasPrefix("::warning file=m/pytorch_model.bin,title=pickle-beside::"))
        #expect(try summary().contains("<details open><summary>"))
        let clean = try run("inspect", "fixtures/tiny/plain")
        #expect(clean.output == "fixtures/tiny/plain: no problems found\n")
        #expect(try summary().contains("<details><summary>fixtures/tiny/plain"))
    }

    @Test("verify annotates the cause, and what could not be read")
    func verification() throws {
        let golden = "fixtures/goldens/tiny-plain.safetensors"
        let outcome = try run(
            "verify", "fixtures/tiny/plain", "nowhere", "--reference", golden, "--tolerance", "0",
            "--no-record")
        #expect(outcome.code == 66)
        let lines = outcome.output.split(separator: "\n")
        #expect(lines.count == 3)
        #expect(lines[0].hasPrefix("::error title=verify%3A fail::FAIL  fixtures/tiny/plain"))
        #expect(lines[1].contains("nowhere"))
        #expect(lines[2].hasPrefix("ERROR: "))
        #expect(try summary().contains("<details open><summary>FAIL  fixtures/tiny/plain"))
    }

    @Test("an error of sana-tools.yaml is annotated at its line")
    func projectError() throws {
        try folder.write(ProjectFile.name, Array("model: m\nresolution: 500\n".utf8))
        let outcome = try run("profile")
        #expect(outcome.code == 65)
        #expect(
            outcome.output.hasPrefix(
                "::error file=sana-tools.yaml,line=2,col=13,title=sana-tools::"))
    }

    @Test("gate, profile and nightly end with the same conclusion as their text")
    func conclusions() throws {
        let arguments = ["profile", "fixtures/tiny/plain", "--latent", "2x2", "--repeat", "2"]
        #expect(try program.run(arguments).code == 0)
        let profile = try run(arguments + ["--gate"])
        #expect(profile.code == 3)
        #expect(profile.output.contains("::warning title=gate%3A inconclusive::"))
        let gate = try run("history", "gate")
        let text = try program.run("history", "gate")
        #expect(gate.code == text.code)
        #expect(gate.output.split(separator: "\n").last == text.output.split(separator: "\n").last)
        try folder.write(
            ProjectFile.name, Array("model: fixtures/tiny/plain\nresolution: 64\n".utf8))
        let night = try run("nightly", "--repeat", "2")
        #expect(night.code == 3)
        #expect(night.output.contains("::warning title=verify%3A not run::"))
    }
}
