import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// Conversions that are killed, interrupted or run out of disk: what was there before stays, and
/// nothing half-written stands under a final name.
@Suite(.tags(.process)) struct CrashTests {
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
    private func interrupt(_ number: Int32) throws -> (process: SpawnedProcess, temporary: String) {
        for _ in 0..<20 {
            let process = try program.launch(conversion)
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
            if number != SIGSTOP, process.signal != nil {
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
        #expect(process.signal == number)
        // After a hangup nobody reads it.
        let message = number == SIGHUP ? "" : "sana-tools: interrupted, nothing was written\n"
        #expect(try fileBytes(folder("stderr")) == Array(message.utf8))
        #expect(outputs == [output])
        #expect(try fileBytes(folder(output)) == old)
    }

    @Test func killedConversionLeavesTheOldOutputAndTheNextOneCleansUp() throws {
        let (process, temporary) = try interrupt(SIGKILL)
        #expect(process.signal == SIGKILL)
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
        #expect(process.exitCode == 0)
        #expect(outputs == [output])
    }

    @Test func limitOnFileSizesKeepsTheOldOutput() throws {
        let outcome = try program.run(
            limits: "ulimit -f 1000",
            ["convert", "fixtures/sana-digits", "--dtype", "fp16", "--output", output, "--force"])
        #expect(outcome.code == 74, "\(outcome.talk)")
        #expect(outcome.talk.contains(output), "\(outcome.talk)")
        #expect(outputs == [output])
        #expect(try fileBytes(folder(output)) == old)
    }

    /// Whether a disk can be mounted where only a child sees it.
    private static let canMount: Bool = {
        let mount = try? SpawnedProcess(
            "/usr/bin/unshare",
            ["--map-root-user", "--mount", "/bin/mount", "-t", "tmpfs", "none", "/mnt"])
        mount?.waitUntilExit()
        return mount?.exitCode == 0
    }()

    @Test(
        .enabled(if: canMount, "no disk can be mounted here, so a full one is not tested"),
        arguments: ["archive", "safetensors"])
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
        #expect(outcome.code == 74, "\(outcome.talk)")
        #expect(outcome.talk.contains("No space left"), "\(outcome.talk)")
        #expect(outcome.output == "disk/out/old\n")
    }

    // MARK: Several files

    /// A repository whose transformer is the sparse model, with another component.
    private func makeRepository() throws {
        for name in ["repo/transformer", "repo/vae/sub"] {
            try FileManager.default.createDirectory(
                atPath: folder(name), withIntermediateDirectories: true)
        }
        try SparseModel.write(
            "repo/transformer/diffusion_pytorch_model.safetensors", in: folder)
        try folder.write(
            "repo/model_index.json",
            Array(
                (#"{"transformer": ["diffusers", "SanaTransformer2DModel"], "#
                    + #""vae": ["diffusers", "AutoencoderDC"]}"#).utf8))
        try folder.write("repo/vae/config.json", Array("{}".utf8))
        try folder.write("repo/vae/sub/weights", [2])
    }

    /// Every file below the folder `name`, with its bytes; folders with `nil`.
    private func tree(_ name: String) throws -> [String: [UInt8]?] {
        var tree: [String: [UInt8]?] = [:]
        for path in try FileManager.default.subpathsOfDirectory(atPath: folder(name)) {
            var isFolder: ObjCBool = false
            let whole = folder(name) + "/" + path
            _ = FileManager.default.fileExists(atPath: whole, isDirectory: &isFolder)
            tree.updateValue(isFolder.boolValue ? nil : try fileBytes(whole), forKey: path)
        }
        return tree
    }

    private static let conversions = [
        [
            "convert", "repo", "--dtype", "fp16", "--other-components", "copy", "--output",
            "out/new",
        ],
        [
            "convert", "repo", "--dtype", "fp16", "--other-components", "copy", "--output",
            "out/new",
            "--container", "safetensors", "--max-shard-size", "20MB",
        ],
        [
            "convert", "repo/transformer", "--dtype", "fp16", "--output", "out/new",
            "--container", "safetensors", "--max-shard-size", "20MB",
        ],
    ]

    /// Runs `arguments` over the tree that `prepare` leaves and sends `number` once several files
    /// are being written.
    private func interrupt(
        _ number: Int32, _ arguments: [String], prepare: () throws -> Void
    ) throws -> SpawnedProcess {
        for _ in 0..<20 {
            try? FileManager.default.removeItem(atPath: folder("out"))
            try prepare()
            let process = try program.launch(arguments)
            let suffix = ".tmp-\(process.processIdentifier)"
            func isWriting() -> Bool {
                let files =
                    FileManager.default.enumerator(atPath: folder("out"))?
                    .compactMap { $0 as? String } ?? []
                return files.contains { $0.hasSuffix(suffix) }
            }
            while process.isRunning, !isWriting() { usleep(1000) }
            kill(process.processIdentifier, number)
            process.waitUntilExit()
            if process.signal != nil { return process }
        }
        throw CancellationError()
    }

    @Test(arguments: conversions)
    func interruptedConversionOfSeveralFilesLeavesNoNewFolder(arguments: [String]) throws {
        try makeRepository()
        let process = try interrupt(SIGINT, arguments) {}
        #expect(process.signal == SIGINT)
        #expect(!FileManager.default.fileExists(atPath: folder("out")))
    }

    @Test(arguments: conversions, [SIGINT, SIGKILL])
    func stoppedConversionOfSeveralFilesKeepsTheOldOnes(
        arguments: [String], number: Int32
    ) throws {
        try makeRepository()
        let isRepository = arguments[1] == "repo"
        let transformer = isRepository ? "out/new/transformer" : "out/new"
        var before: [String: [UInt8]?] = [:]
        let process = try interrupt(number, arguments + ["--force"]) {
            try FileManager.default.createDirectory(
                atPath: folder(transformer), withIntermediateDirectories: true)
            for name in ["config.json", "diffusion_pytorch_model.safetensors", "own"] {
                try folder.write(transformer + "/" + name, Array(name.utf8))
            }
            if isRepository { try folder.write("out/new/model_index.json", [3]) }
            before = try tree("out")
        }
        let after = try tree("out")
        let added = after.keys.filter { before[$0] == nil }
        for (path, bytes) in before { #expect(after[path] == bytes, "\(path)") }
        // Nothing new but what a killed process could not remove, and folders for it.
        let suffix = ".tmp-\(process.processIdentifier)"
        #expect(
            added.allSatisfy { path in
                number == SIGKILL && (path.hasSuffix(suffix) || after[path] == .some(nil))
            }, "\(added)")
        #expect(added.isEmpty == (number == SIGINT))

        let next = try program.run(arguments + ["--force"])
        #expect(next.code == 0, "\(next.talk)")
        let whole = try tree("out")
        #expect(whole.keys.allSatisfy { !$0.contains(".tmp-") })
        #expect(whole["new/" + (isRepository ? "transformer/own" : "own")] != nil)
        let shards = whole.keys.count { $0.contains("-of-") }
        #expect(arguments.contains("--max-shard-size") ? shards > 2 : shards == 0)
        if arguments.contains("safetensors") {
            #expect(try program.run("diff", "out/new", "repo").code == 0)
        } else {
            // Zeros unpack to more than is read of so small an archive at once.
            let archive = "out/new/transformer/diffusion_pytorch_model.safetensors.zst"
            #expect(try program.run("digest", archive).code == 0)
        }
    }
}
