import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// How errors reach people and programs.
@Suite(.tags(.process)) struct ErrorMessageTests {
    private let program: BuiltProgram

    init() throws {
        program = try BuiltProgram()
        try program.folder.write("page.safetensors", Array("<html>".utf8))
    }

    private static let golden = "fixtures/goldens/tiny-plain.safetensors"
    private static let verify = ["verify", "--reference", golden, "--no-record"]

    /// Failing commands with a part of what they say, and their exit code.
    static let failing: [(arguments: [String], part: String, code: Int32)] = [
        (verify + ["page.safetensors"], "web page", 65),
        (verify + ["page.safetensors", "fixtures/tiny/plain"], "web page", 65),
        (verify + ["page.safetensors", "--format", "markdown"], "web page", 65),
        (verify + ["page.safetensors", "--format", "github"], "web page", 65),
        (["inspect", "nowhere", "--format", "github"], "No such file", 66),
        (["inspect", "--frobnicate", "--format", "github"], "Unknown option", 64),
        (["inspekt"], "unknown command", 64),
        (["inspect", "page.safetensors"], "web page", 65),
        (["digest", "page.safetensors"], "web page", 1),
        (["convert", "page.safetensors", "--dtype", "fp16"], "web page", 65),
        (["profile", "fixtures/tiny/plain", "page.safetensors", "--no-record"], "web page", 65),
        (["tune", "page.safetensors", "--reference", golden], "web page", 65),
        (["history", "list", "--db", "page.safetensors"], "not a database", 65),
    ]

    @Test("no error is printed twice where both streams go to one place", arguments: failing)
    func once(arguments: [String], part: String, code: Int32) throws {
        let outcome = try program.run(limits: "exec 2>&1", arguments)
        #expect(outcome.code == code)
        #expect(outcome.output.components(separatedBy: part).count == 2, "\(outcome.output)")
    }

    @Test("an error among the results is on stderr, too, where stdout goes elsewhere")
    func separateStreams() throws {
        let outcome = try program.run(Self.verify + ["page.safetensors"])
        #expect(outcome.output.contains("web page"))
        #expect(outcome.talk.contains("web page"))
    }

    @Test("the hint of a model that could not be read is a field of its own")
    func hintOfAResult() throws {
        let outcome = try program.run(Self.verify + ["page.safetensors", "--format", "json"])
        let failure = try #require(outcome.json)
        #expect(failure["message"]?.string?.contains("hint") == false)
        #expect(failure["hint"]?.string?.contains("troubleshooting.md#file-foreign") == true)
    }

    @Test("an internal error has a hint, and exit code 70")
    func internalErrors() throws {
        let outcome = try program.run(
            "capture", "fixtures/sana-digits", "--output", "g.safetensors", "--python", "/bin/true")
        #expect(outcome.code == 70)
        #expect(outcome.talk.contains("internal error"))
        #expect(outcome.talk.contains("troubleshooting.md#internal-error"))
    }

    @Test("common errors end in a page")
    func pages() throws {
        for (arguments, page) in [
            (["verify", "fixtures/tiny/plain"], "guides/capture.md"),
            (["inspect"], "troubleshooting.md#no-model"),
            (["inspect", "org/name@main"], "troubleshooting.md#not-in-cache"),
            (["inspect", "page.safetensors"], "troubleshooting.md#file-foreign"),
            (["history", "list"], "guides/history.md"),
        ] {
            let outcome = try program.run(arguments)
            #expect(outcome.talk.hasSuffix("(see docs/\(page))\n"), "\(outcome.talk)")
        }
    }
}
