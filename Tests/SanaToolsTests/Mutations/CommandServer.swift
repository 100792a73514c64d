import Foundation
import SanaTestSupport
import Testing

/// The binary of the tests, started once in a folder, running many commands in children of its own
/// (`Tests/SanaToolsUnderTest/ForkServer.swift`).
final class CommandServer {
    struct Outcome {
        /// As of wait(2).
        let status: Int32
        /// Peak resident memory of the child, what it shares with its parent included.
        let residentBytes: Int
        /// Processor time, user and system.
        let seconds: Double
        let output: [UInt8]
        let talk: String

        /// The exit code; `nil` where a signal ended the command.
        var code: Int32? { status & 0x7F == 0 ? (status >> 8) & 0xFF : nil }
        var signal: Int32 { status & 0x7F }
    }

    private let folder: String
    private let process: SpawnedProcess
    private let requests = Pipe()
    private let answers = Pipe()
    /// Answers that were read beyond the last line.
    private var pending: [UInt8] = []

    init(_ binary: URL, folder: String) throws {
        self.folder = folder
        // An end that a program inherits keeps the server from seeing that the requests are over.
        for pipe in [requests, answers] {
            for file in [pipe.fileHandleForReading, pipe.fileHandleForWriting] {
                _ = fcntl(file.fileDescriptor, F_SETFD, FD_CLOEXEC)
            }
        }
        process = try SpawnedProcess(
            binary.path, [],
            environment: [
                "SANA_TOOLS_FORK_SERVER": "1", "OPENBLAS_NUM_THREADS": "1",
                "SWIFT_BACKTRACE": "enable=no",
            ],
            in: folder, input: requests.fileHandleForReading,
            output: answers.fileHandleForWriting, limit: .seconds(6 * 3600))
        // The server alone holds it now: its end is the end of the answers.
        try answers.fileHandleForWriting.close()
    }

    deinit {
        try? requests.fileHandleForWriting.close()
        process.waitUntilExit()
    }

    /// Runs one command with limits on its processor time and on the private memory it may add.
    func run(
        _ arguments: [String], seconds: Int = 2, newBytes: Int = 1 << 30
    ) throws -> Outcome {
        let line = (["\(seconds)", "\(newBytes)"] + arguments).joined(separator: "\t") + "\n"
        try requests.fileHandleForWriting.write(contentsOf: Data(line.utf8))
        let answer = try readLine().split(separator: " ").compactMap { Int($0) }
        try #require(answer.count == 3)
        return Outcome(
            status: Int32(answer[0]), residentBytes: answer[1], seconds: Double(answer[2]) / 1e6,
            output: try fileBytes(folder + "/stdout"),
            talk: String(decoding: try fileBytes(folder + "/stderr"), as: UTF8.self))
    }

    private func readLine() throws -> String {
        while true {
            if let end = pending.firstIndex(of: 10) {
                defer { pending.removeSubrange(...end) }
                return String(decoding: pending[..<end], as: UTF8.self)
            }
            let data = answers.fileHandleForReading.availableData
            try #require(!data.isEmpty, "the server ended")
            pending += data
        }
    }
}
