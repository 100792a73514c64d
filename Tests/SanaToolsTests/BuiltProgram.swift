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
        let code: Int32
        let output: String
        let talk: String
        var json: JSONValue? { try? JSONScanner.parse(output) }
    }

    var binary: URL { Bundle.main.bundleURL.appendingPathComponent("sana-tools") }

    func run(_ arguments: String...) throws -> Outcome { try run(arguments) }

    func run(_ arguments: [String]) throws -> Outcome { try finish(launch(arguments)) }

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
    ) throws -> Process {
        let process = Process()
        process.executableURL = program.map { URL(fileURLWithPath: $0) } ?? binary
        process.arguments = arguments
        if !environment.isEmpty {
            process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        }
        process.currentDirectoryURL = URL(fileURLWithPath: folder.path)
        let files = try [folder("stdout"), folder("stderr")].map { path in
            try Data().write(to: URL(fileURLWithPath: path))
            return try #require(FileHandle(forWritingAtPath: path))
        }
        (process.standardOutput, process.standardError) = (output ?? files[0], files[1])
        process.standardInput = FileHandle.nullDevice
        try process.run()
        return process
    }

    func finish(_ process: Process) throws -> Outcome {
        process.waitUntilExit()
        return Outcome(
            code: process.terminationStatus,
            output: String(decoding: try fileBytes(folder("stdout")), as: UTF8.self),
            talk: String(decoding: try fileBytes(folder("stderr")), as: UTF8.self))
    }
}
