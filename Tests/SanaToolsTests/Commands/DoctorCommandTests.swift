import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// `doctor`: what this machine and a project offer.
@Suite(.tags(.process)) struct DoctorCommandTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    init() throws { program = try BuiltProgram() }

    private func project(_ text: String) throws {
        try folder.write(ProjectFile.name, Array(text.utf8))
    }

    private func statuses(_ outcome: BuiltProgram.Outcome) throws -> [String: [String]] {
        let checks = try #require(outcome.json?["checks"]?.array)
        return Dictionary(grouping: checks) { $0["name"]?.string ?? "" }
            .mapValues { $0.map { $0["status"]?.string ?? "" } }
    }

    @Test("outside a project the machine is checked, and nothing fails")
    func machine() throws {
        let outcome = try program.run("doctor", "--format", "json")
        #expect(outcome.code == 0, "\(outcome.talk)")
        let statuses = try statuses(outcome)
        for name in ["CPU", "kernels", "threads", "memory", "zstd", "SQLite", "OpenBLAS"] {
            #expect(statuses[name] == ["ok"], "\(name)")
        }
        #expect(statuses["project file"] == ["warning"])
        #expect(outcome.json?["verdict"]?.string == "pass")
        let details = (outcome.json?["checks"]?.array ?? []).reduce(into: [:]) {
            $0[$1["name"]?.string ?? ""] = $1["detail"]?.string ?? ""
        }
        for library in ["zstd", "SQLite", "libpng", "OpenBLAS"] {
            #expect(details[library]?.contains(/^\d+\.\d+/) == true, "\(details)")
        }
        #expect(details["threads"]?.contains("quota") == true, "\(details)")
        #expect(try program.run("doctor").output.contains("sana-tools init"))
    }

    @Test("a whole project passes, and nothing is written")
    func wholeProject() throws {
        try project(
            """
            model: fixtures/tiny/plain
            dtype: fp16
            output: a
            references: fixtures/goldens/tiny-plain.safetensors
            tolerance: 0.5
            database: h.sqlite
            """)
        let before = try program.run("doctor", "--format", "json")
        #expect(before.code == 0, "\(before.output)")
        #expect(try statuses(before)["archive"] == ["warning"])
        #expect(!folder("h.sqlite").pathExists)
        #expect(!folder("a").pathExists)
        #expect(try program.run("convert").code == 0)
        #expect(try program.run("verify").code == 0)
        let after = try statuses(program.run("doctor", "--format", "json"))
        for name in ["model", "golden", "archive", "database"] {
            #expect(after[name] == ["ok"], "\(name)")
        }
    }

    @Test("stale and absent goldens and a database that cannot be made are errors")
    func brokenProject() throws {
        try folder.write("file", [1])
        try project(
            """
            model: fixtures/tiny/plain
            references: [fixtures/goldens/tiny-qknorm.safetensors, absent.safetensors]
            database: file/h.sqlite
            """)
        let outcome = try program.run("doctor", "--format", "json")
        #expect(outcome.code == 1)
        let statuses = try statuses(outcome)
        #expect(statuses["golden"] == ["error", "error"])
        #expect(statuses["database"] == ["error"])
        #expect(statuses["model"] == ["ok"])
        let text = try program.run("doctor").output
        #expect(text.contains("is stale"))
        #expect(text.contains("golden: record one with 'sana-tools capture'"), "\(text)")
        #expect(text.contains("FAIL: 3 errors"))
    }

    @Test("a project file that cannot be read is an error, and the machine is still shown")
    func brokenFile() throws {
        try project("modle: x\n")
        let outcome = try program.run("doctor", "--format", "json")
        #expect(outcome.code == 1)
        #expect(try statuses(outcome)["project file"] == ["error"])
        #expect(try statuses(outcome)["CPU"] == ["ok"])
    }
}
