import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// `nightly`: six steps, one verdict.
@Suite(.tags(.process)) struct NightlyCommandTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    init() throws { program = try BuiltProgram() }

    private func project(_ lines: String) throws {
        try folder.write(
            ProjectFile.name,
            Array("model: fixtures/tiny/plain\nresolution: 64\ndatabase: h.sqlite\n\(lines)\n".utf8)
        )
    }

    private static let golden = "references: fixtures/goldens/tiny-plain.safetensors"

    private func verdicts(_ outcome: BuiltProgram.Outcome) -> [String] {
        (outcome.json?["steps"]?.array ?? []).map {
            "\($0["name"]?.string ?? "") \($0["verdict"]?.string ?? "")"
        }
    }

    @Test("a good night passes in at most ten lines and leaves a report")
    func passes() throws {
        // Random weights lose more by rounding than trained ones.
        try project("dtype: [fp16, int8]\noutput: a\ntolerance: 0.5\n" + Self.golden)
        let night = try program.run("nightly", "--repeat", "2")
        #expect(night.code == 0, "\(night.output)\(night.talk)")
        #expect(night.output.split(separator: "\n").count <= 10)
        #expect(night.output.hasSuffix("\n"))
        #expect(night.output.split(separator: "\n").last?.hasPrefix("PASS: ") == true)
        for file in ["report.html", "verify.xml", "inspect.log", "profile.log", "gate.log"] {
            #expect(folder("reports/\(file)").pathExists, "\(file)")
        }
        #expect(folder("a/plain-int8.safetensors.zst").pathExists)
        let gate = try program.run("history", "gate")
        #expect(gate.output.split(separator: "\n").last == night.output.split(separator: "\n").last)
    }

    @Test("a step that fails does not keep later ones from running")
    func goesOn() throws {
        try folder.write("taken", [1])
        try project("dtype: fp16\noutput: taken/x\n" + Self.golden)
        let night = try program.run("nightly", "--repeat", "2", "--format", "json")
        #expect(night.code == 73, "\(night.output)")
        #expect(
            verdicts(night) == [
                "inspect pass", "convert error", "verify error", "profile pass", "gate fail",
                "report pass",
            ])
        #expect(night.json?["verdict"]?.string == "fail")
        #expect(night.json?["headline"]?.string?.contains("convert (exit 73)") == true)
    }

    @Test("a night without goldens is inconclusive, never a pass")
    func withoutGoldens() throws {
        try project("dtype: fp16\noutput: a")
        let night = try program.run("nightly", "--repeat", "2", "--format", "json")
        #expect(night.code == 3, "\(night.output)")
        #expect(verdicts(night).contains("verify not run"))
        #expect(night.json?["verdict"]?.string == "inconclusive")
        let text = try program.run("nightly", "--repeat", "2").output
        #expect(text.split(separator: "\n").last?.hasPrefix("INCONCLUSIVE: ") == true)
    }

    @Test("a night needs a project")
    func needsProject() throws {
        #expect(try program.run("nightly").code == 64)
        #expect(!folder("reports").pathExists)
    }
}
