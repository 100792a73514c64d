import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// `init`: a first project file.
@Suite(.tags(.process)) struct InitCommandTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    init() throws { program = try BuiltProgram() }

    private func written() throws -> String {
        String(decoding: try fileBytes(folder(ProjectFile.name)), as: UTF8.self)
    }

    @Test("the file names the model, its size, and what else there is")
    func writes() throws {
        let outcome = try program.run("init", "fixtures/sana-digits")
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(outcome.output.contains("sana-tools capture fixtures/sana-digits"))
        #expect(outcome.output.contains("--latent 8x8"))
        let project = try ProjectFile(path: folder(ProjectFile.name))
        #expect(project.model == folder("fixtures/sana-digits"))
        #expect(project.dtypes == ["int8"])
        #expect(project.resolution == 256)
        #expect(project.database == folder("history.sqlite"))
        let comments = try written().split(separator: "\n").count { $0.hasPrefix("#") }
        #expect(comments > 10)
        #expect(try program.run("convert").code == 0)
        #expect(folder("archives/sana-digits-int8.safetensors.zst").pathExists)
    }

    @Test("an existing file is kept unless --force is given")
    func keeps() throws {
        try folder.write(ProjectFile.name, Array("# mine\n".utf8))
        let kept = try program.run("init", "fixtures/tiny/plain")
        #expect(kept.code == 73)
        #expect(kept.talk.contains("--force"))
        #expect(try written() == "# mine\n")
        #expect(try program.run("init", "fixtures/tiny/plain", "--force").code == 0)
        #expect(try written().contains("model: fixtures/tiny/plain\n"))
    }

    @Test("without a model nothing is written")
    func needsModel() throws {
        #expect(try program.run("init", "absent").code == 66)
        #expect(!folder(ProjectFile.name).pathExists)
    }

    @Test(
        "names that YAML or a shell would take for something else are quoted",
        arguments: [
            "a: b", "true", "#x", "it's", "1e3", "*a", "a\"b", ".",
        ])
    func quotes(_ name: String) throws {
        let draft = ProjectDraft(model: name, sampleSize: 32, hasGoldens: false)
        let path = try folder.write(ProjectFile.name, Array(draft.text.utf8))
        #expect(try ProjectFile(path: path).model == folder(name))
        let words = try program.finish(
            program.launch(
                ["-c", "set -- \(draft.capture); printf '%s' \"$3\""], program: "/bin/bash"))
        #expect(words.output == name)
    }
}
