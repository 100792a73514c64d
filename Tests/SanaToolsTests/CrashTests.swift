import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools

/// Conversions that are killed, interrupted or run out of disk: what was there before stays, and
/// nothing half-written stands under a final name.
@Suite struct CrashTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    private let output = "out.safetensors.zst"
    private let old: [UInt8] = [1, 2, 3]

    /// A model of 335 MB, none of them on the disk, and an output of earlier.
    init() throws {
        program = try BuiltProgram()
        try SparseModel.write("large.safetensors", in: program.folder)
        try folder.write(output, old)
    }

    private var conversion: [String] {
        ["convert", "large.safetensors", "--dtype", "fp16", "--output", output, "--force"]
    }

    /// Starts the conversion and sends `number` once it writes; again where it was done before the
    /// signal came, which happens on a busy machine.
    private func interrupt(_ number: Int32) throws -> (process: Process, temporary: String) {
        for _ in 0..<20 {
            // A test run in the background hands down SIGINT as ignored.
            let process = try program.launch(
                ["--default-signal=INT", program.binary.path] + conversion,
                program: "/usr/bin/env")
            let temporary = ".\(output).tmp-\(process.processIdentifier)"
            while process.isRunning, !FileManager.default.fileExists(atPath: folder(temporary)) {
                usleep(1000)
            }
            kill(process.processIdentifier, number)
            if number == SIGSTOP {
                // Stopped while it writes, or over already.
                if FileManager.default.fileExists(atPath: folder(temporary)) {
                    return (process, temporary)
                }
                kill(process.processIdentifier, SIGCONT)
            }
            process.waitUntilExit()
            if number != SIGSTOP, process.terminationReason == .uncaughtSignal {
                return (process, temporary)
            }
            try folder.write(output, old)
        }
        throw CancellationError()
    }

    private var outputs: [String] { folder.entries.filter { $0.contains("out.safetensors") } }

    @Test(arguments: [SIGINT, SIGTERM, SIGHUP])
    func interruptedConversionLeavesNothing(number: Int32) throws {
        let (process, _) = try interrupt(number)
        #expect(process.terminationReason == .uncaughtSignal && process.terminationStatus == number)
        #expect(outputs == [output])
        #expect(try fileBytes(folder(output)) == old)
    }

    @Test func killedConversionLeavesTheOldOutputAndTheNextOneCleansUp() throws {
        let (process, temporary) = try interrupt(SIGKILL)
        #expect(process.terminationReason == .uncaughtSignal && process.terminationStatus == 9)
        #expect(outputs == [temporary, output])
        #expect(try fileBytes(folder(output)) == old)
        let next = try program.run(conversion)
        #expect(next.code == 0, "\(next.talk)")
        #expect(outputs == [output])
        #expect(try program.run("digest", output).code == 0)
    }

    @Test func fileBeingWrittenByAnotherProcessIsLeftAlone() throws {
        let (process, temporary) = try interrupt(SIGSTOP)
        let other = try program.run(
            "convert", "fixtures/sana-digits", "--dtype", "int8", "--output", output, "--force")
        #expect(other.code == 0, "\(other.talk)")
        #expect(outputs == [temporary, output])
        kill(process.processIdentifier, SIGCONT)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0 && outputs == [output])
    }

    @Test func limitOnFileSizesKeepsTheOldOutput() throws {
        let outcome = try program.run(
            limits: "ulimit -f 1000",
            ["convert", "fixtures/sana-digits", "--dtype", "fp16", "--output", output, "--force"])
        #expect(outcome.code == 74 && outcome.talk.contains(output), "\(outcome.talk)")
        #expect(outputs == [output])
        #expect(try fileBytes(folder(output)) == old)
    }

    @Test(arguments: ["archive", "safetensors"])
    func fullDiskKeepsTheOldOutput(container: String) throws {
        // A disk of a megabyte, mounted where only the child sees it.
        try FileManager.default.createDirectory(
            atPath: folder("disk"), withIntermediateDirectories: true)
        let script = """
            mount -t tmpfs -o size=1m none disk || exit 99
            mkdir disk/out && echo old > disk/out/old
            "$0" convert fixtures/sana-digits/transformer --dtype bf16 --output disk/out/new\(
                container == "archive" ? ".safetensors.zst" : "") --container \(container)
            code=$?
            find disk -type f | sort
            exit $code
            """
        let process = try program.launch(
            ["--map-root-user", "--mount", "/bin/bash", "-c", script, program.binary.path],
            program: "/usr/bin/unshare")
        let outcome = try program.finish(process)
        guard outcome.code != 99, !outcome.talk.contains("unshare") else {
            print("SKIPPED: no mount here, so a full disk was not tested: \(outcome.talk)")
            return
        }
        #expect(outcome.code == 74 && outcome.talk.contains("No space left"), "\(outcome.talk)")
        #expect(outcome.output == "disk/out/old\n")
    }
}
