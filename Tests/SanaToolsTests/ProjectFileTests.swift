import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools

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
        "resolution: 0", "rules: [a=int4]", "rules: '(=keep'",
        "resolution: 1e9", "- a", "model: a\nmodel: b", "model: {", "&a [*a]", "dtype: {a: b}",
        "\u{0}",
    ])
    func anythingElseIsBadData(_ text: String) {
        #expect { try project(text) } throws: {
            ($0 as? any DiagnosticError)?.category == .badData
        }
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
