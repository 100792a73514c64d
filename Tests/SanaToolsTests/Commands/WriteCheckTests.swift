import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// A byte of the output that changes between writing and reading back, by the built binary.
@Suite(.tags(.process)) struct WriteCheckTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }
    private let old: [UInt8] = [1, 2, 3]

    init() throws {
        program = try BuiltProgram()
        try SparseModel.write("large.safetensors", in: program.folder)
    }

    private func name(_ container: String) -> String {
        container == "archive" ? "out.safetensors.zst" : "out.safetensors"
    }

    /// Converts; stops the program once it has written values, changes the last byte that stands
    /// there and lets it go on.
    ///
    /// - Returns: `nil` when it was done before it could be stopped.
    private func convertChangingAByte(
        _ container: String, _ arguments: [String]
    ) throws -> BuiltProgram.Outcome? {
        try folder.write(name(container), old)
        let process = try program.launch(
            [
                "convert", "large.safetensors", "--dtype", "fp16", "--container", container,
                "--output", name(container), "--force",
            ] + arguments)
        let temporary = folder(".\(name(container)).tmp-\(process.processIdentifier)")
        func size() -> Int {
            (try? FileManager.default.attributesOfItem(atPath: temporary))?[.size] as? Int ?? 0
        }
        // More than the header: a frame of 4 MiB zeros takes a few hundred bytes.
        while process.isRunning, size() < 2048 { usleep(500) }
        kill(process.processIdentifier, SIGSTOP)
        let index = size() - 1
        let file = index > 0 ? FileHandle(forUpdatingAtPath: temporary) : nil
        if let file {
            try file.seek(toOffset: UInt64(index))
            let byte = try #require(try file.read(upToCount: 1)?.first)
            try file.seek(toOffset: UInt64(index))
            try file.write(contentsOf: [byte ^ 0x10])
            try file.close()
        }
        kill(process.processIdentifier, SIGCONT)
        let outcome = try program.finish(process)
        return file == nil ? nil : outcome
    }

    @Test(arguments: ["archive", "safetensors"])
    func changedByteKeepsTheOldOutput(container: String) throws {
        // Again where the byte had been read back before it changed, which a busy machine may do.
        var outcome: BuiltProgram.Outcome?
        for _ in 0..<20 where outcome?.code != 74 {
            outcome = try convertChangingAByte(container, []) ?? outcome
        }
        let last = try #require(outcome)
        #expect(last.code == 74, "\(last.talk)")
        #expect(last.talk.contains("differs when read back"))
        #expect(last.talk.contains("hint"))
        #expect(try fileBytes(folder(name(container))) == old)
        #expect(folder.entries.allSatisfy { !$0.contains(".tmp-") })
    }

    @Test(arguments: ["archive", "safetensors"])
    func changedBytePassesWithNoVerifyWrite(container: String) throws {
        var outcome: BuiltProgram.Outcome?
        for _ in 0..<20 where outcome == nil {
            outcome = try convertChangingAByte(container, ["--no-verify-write"])
        }
        let last = try #require(outcome)
        #expect(last.code == 0, "\(last.talk)")
        if container == "archive" {
            #expect(try program.run("digest", name(container)).code == 1)
        } else {
            let file = try SafetensorsFile(path: folder(name(container)))
            let isChanged = file.fileBytes.slice(
                file.headerBytes.count, file.fileBytes.count - file.headerBytes.count
            ).withUnsafeBytes { $0.contains { $0 != 0 } }
            #expect(isChanged)
        }
    }
}
