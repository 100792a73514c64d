import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// The built binary, run in a folder of its own that has the fixtures linked.
struct BuiltProgram {
    let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        try FileManager.default.createSymbolicLink(
            atPath: folder("fixtures"), withDestinationPath: Fixtures.path)
    }

    struct Outcome {
        /// The exit code, or 128 and the number of the signal that ended the program.
        let code: Int32
        let output: String
        let talk: String

        /// What `--format json` printed, as it is.
        var document: JSONValue? { try? JSONScanner.parse(output) }

        /// The results of the document.
        var results: [JSONValue]? { document?["results"]?.array }

        /// The only result, an array of several, or the document itself where it has none.
        var json: JSONValue? {
            guard let results, !results.isEmpty else { return document }
            return results.count == 1 ? results[0] : .array(results)
        }
    }

    var binary: URL { Bundle.main.bundleURL.appendingPathComponent("sana-tools") }
    /// The same with what only tests need: see `Tests/SanaToolsUnderTest`.
    var underTest: URL { Bundle.main.bundleURL.appendingPathComponent("sana-tools-under-test") }

    func run(_ arguments: String...) throws -> Outcome { try run(arguments) }

    func run(_ arguments: [String]) throws -> Outcome { try finish(launch(arguments)) }

    /// Runs each command, which has to end with its exit code and to say `words` on stdout or
    /// stderr.
    func expect(
        _ words: String, from commands: [(code: Int32, arguments: [String])],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        for (code, arguments) in commands {
            let outcome = try run(arguments)
            let text = "\(arguments): \(outcome.output)\(outcome.talk)"
            #expect(outcome.code == code, "\(text)", sourceLocation: sourceLocation)
            #expect(text.contains(words), "\(text)", sourceLocation: sourceLocation)
        }
    }

    /// Runs the binary below a shell that sets limits first.
    func run(limits: String, _ arguments: [String]) throws -> Outcome {
        let command = "\(limits); exec \"$0\" \"$@\""
        return try finish(
            launch(["-c", command, binary.path] + arguments, program: "/bin/bash"))
    }

    /// Starts the binary in the folder, its output going to files: nothing to drain while it runs.
    func launch(
        _ arguments: [String], program: String? = nil, output: FileHandle? = nil,
        environment: [String: String] = [:]
    ) throws -> SpawnedProcess {
        let files = try [folder("stdout"), folder("stderr")].map { path in
            try Data().write(to: URL(fileURLWithPath: path))
            return try #require(FileHandle(forWritingAtPath: path))
        }
        return try SpawnedProcess(
            program ?? binary.path, arguments, environment: environment, in: folder.path,
            output: output ?? files[0], errors: files[1])
    }

    func finish(_ process: SpawnedProcess) throws -> Outcome {
        process.waitUntilExit()
        return Outcome(
            code: process.exitCode ?? 128 + (process.signal ?? 0),
            output: String(decoding: try fileBytes(folder("stdout")), as: UTF8.self),
            talk: String(decoding: try fileBytes(folder("stderr")), as: UTF8.self))
    }
}
