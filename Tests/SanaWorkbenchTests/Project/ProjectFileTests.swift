import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

struct ProjectFileTests {
    private func project(_ text: String) throws -> (TemporaryFolder, ProjectFile) {
        let folder = try TemporaryFolder()
        let path = try folder.write(ProjectFile.name, Array(text.utf8))
        return (folder, try ProjectFile(path: path))
    }

    @Test func readsEveryKeyAndResolvesPathsFromItsFolder() throws {
        let (folder, project) = try project(
            """
            model: models/a
            dtype: [fp16, int8]
            rules: [".*attn2.*=fp16", proj_out.weight=keep]
            output: out
            references: [goldens/*.safetensors, /abs/g.safetensors]
            tolerance: 1e-3
            database: db.sqlite
            resolution: 512
            """)
        #expect(project.model == folder("models/a"))
        #expect(project.dtypes == ["fp16", "int8"])
        #expect(project.rules.map(\.text) == [".*attn2.*=fp16", "proj_out.weight=keep"])
        #expect(project.output == folder("out"))
        #expect(project.references == [folder("goldens/*.safetensors"), "/abs/g.safetensors"])
        #expect(project.tolerance == 1e-3)
        #expect(project.database == folder("db.sqlite"))
        #expect(project.resolution == 512)
    }

    @Test func aliasesOfAliasesAreRefused() throws {
        let levels = (1...9).map { level in
            let list = [String](repeating: "*a\(level - 1)", count: 9).joined(separator: ", ")
            return "a\(level): &a\(level) [\(list)]"
        }
        #expect(throws: BadDataError.self) {
            try project("a0: &a0 x\n" + levels.joined(separator: "\n") + "\n? *a9\n: x\n")
        }
        let (folder, some) = try project("model: &m a\noutput: *m\n")
        #expect(some.model == folder("a"))
        #expect(some.output == folder("a"))
    }

    /// Comparing such texts takes time that grows with the square of their length.
    @Test func textsThatTakeLongToCompareAreRefused() throws {
        let marks = String(repeating: "\u{315}\u{300}", count: 16)
        for text in ["model: a\(marks)\n", "a\(marks): b\n", "model: a # \(marks)\n"] {
            #expect(try error(text).description.contains("combining marks"))
        }
        let ordered = String(repeating: "\u{300}", count: 32)
        #expect(try project("model: a\(ordered)\n").1.model?.hasSuffix("a\(ordered)") == true)
    }

    @Test func isFoundInAParent() throws {
        let (folder, _) = try project("model: m")
        let found = try ProjectFile.find(from: folder("deep/er"))
        #expect(found?.model == folder("m"))
    }

    @Test func emptyFileSaysNothing() throws {
        #expect(try project("").1.model == nil)
        #expect(try project("# nothing\n").1.references == [])
    }

    @Test(arguments: [
        "modle: x", "model: [a]", "tolerance: much", "tolerance: -1", "tolerance: .nan",
        "resolution: 0", "rules: [a=int4]", "rules: '(=keep'", "dtype: int9",
        "resolution: 1e9", "- a", "model: a\nmodel: b", "model: {", "&a [*a]", "dtype: {a: b}",
        "\u{0}",
    ])
    func anythingElseIsBadData(_ text: String) {
        #expect { try project(text) } throws: {
            ($0 as? any DiagnosticError)?.category == .badData
        }
    }

    /// What is said of a text that is wrong.
    private func error(_ text: String) throws -> BadDataError {
        try #require(throws: BadDataError.self) { try project(text) }
    }

    @Test("errors show line, column and a caret below it")
    func pointsAtTheValue() throws {
        let wrong = try error("model: a\nresolution: 500\n")
        #expect(wrong.description.contains("sana-tools.yaml:2:13: resolution must be"))
        #expect(wrong.description.hasSuffix("\n  2 | resolution: 500\n    |             ^"))
        let second = try error("rules:\n  - a=keep\n  - a=int4\n")
        #expect(second.description.contains(":3:5: rules: "))
        let syntax = try error("model: {\n")
        #expect(syntax.description.contains("invalid YAML"))
        #expect(!syntax.description.contains("\\n"))
        let twice = try error("model: a\ndtype: fp16\nmodel : b\n").description
        #expect(twice.contains("sana-tools.yaml:3:1: key 'model' is given twice"), "\(twice)")
        #expect(twice.hasSuffix("\n  3 | model : b\n    | ^"), "\(twice)")
        let escape = try error("model: a\noutput: \u{1B}[31mred\n")
        #expect(escape.description.contains("sana-tools.yaml:2:9: invalid YAML: control"))
        #expect(!escape.description.unicodeScalars.contains("\u{1B}"))
        let tab = try error("model: a\n\tdtype: {\n")
        #expect(tab.description.contains("sana-tools.yaml:2:1: invalid YAML"))
    }

    @Test("a name that is nearly right is answered with the right one")
    func suggests() throws {
        #expect(try error("refrences: g").remedy == "did you mean 'references'?")
        #expect(try error("dtype: [fp16, int9]").remedy == "did you mean 'int8'?")
        #expect(try error("frobnicate: g").remedy?.contains("layer_tolerances") == true)
    }

    @Test(
        "a value is refused in the file as on the command line",
        arguments: [
            "resolution: 500", "resolution: 16", "dtype: fp8", "tolerance: -1",
        ])
    func sameRules(_ text: String) throws {
        #expect(try error(text).category == .badData)
    }

    @Test("without database: runs are recorded next to the file")
    func defaultDatabase() throws {
        let (folder, project) = try project("model: m")
        #expect(project.defaultDatabase == folder("reports/sana-tools.sqlite"))
        let (_, empty) = try self.project("model: m\ndatabase:\nreferences: ~\n")
        #expect(empty.database == nil)
        #expect(empty.references == [])
    }

    @Test("the JSON Schema has the keys that are read")
    func schema() throws {
        let path = Fixtures.path + "/../docs/reference/project-file.schema.json"
        let schema = try JSONScanner.parse(String(decoding: try fileBytes(path), as: UTF8.self))
        let keys = (schema["properties"]?.members ?? []).map(\.key)
        #expect(keys.sorted() == ProjectFile.keys.sorted())
    }

    @Test func archivesAreNamedAfterModelAndType() {
        #expect(
            ArchiveName.path(model: "a/b/", dtype: "int8", output: "out")
                == "out/b-int8.safetensors.zst")
        #expect(
            ArchiveName.path(model: "m.safetensors", dtype: "fp16", output: nil)
                == "m-fp16.safetensors.zst")
        #expect(
            ArchiveName.path(model: "m", dtype: "fp16", output: "x.safetensors.zst")
                == "x.safetensors.zst")
        #expect(
            ArchiveName.path(model: "/a/b/..", dtype: "fp16", output: nil)
                == "a-fp16.safetensors.zst")
    }
}
