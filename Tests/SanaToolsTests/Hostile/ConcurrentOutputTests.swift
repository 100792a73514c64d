import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Processes that write one output at the same time without --force: one of them makes it, and the
/// others say that it is there.
@Suite(.tags(.process)) struct ConcurrentOutputTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    init() throws { program = try BuiltProgram() }

    /// Runs all commands at once and expects one to succeed.
    private func compete(_ commands: [[String]]) throws {
        let processes = try commands.map { try program.launch($0 + ["-q", "--threads", "1"]) }
        for process in processes { process.waitUntilExit() }
        let codes = processes.map { $0.exitCode ?? -1 }.sorted()
        #expect(codes == [0] + [Int32](repeating: 73, count: commands.count - 1))
    }

    /// Every name below the folder, hidden ones included.
    private func names(_ name: String) throws -> [String] {
        try FileManager.default.subpathsOfDirectory(atPath: folder(name)).sorted()
    }

    private static let model = "fixtures/tiny/plain"

    @Test("one archive", arguments: 1...4)
    func archive(round: Int) throws {
        let types = ["fp16", "int8", "bf16", "fp32"]
        try compete(
            (types + types).map {
                ["convert", Self.model, "--dtype", $0, "--output", "new/o.safetensors.zst"]
            })
        #expect(try names("new") == ["o.safetensors.zst"])
        #expect(try program.run("digest", "new/o.safetensors.zst").code == 0)
    }

    /// Their files have different names, and each finds its own free.
    @Test("one directory, in files of different names", arguments: 1...4)
    func component(round: Int) throws {
        let kinds = [
            ["--container", "safetensors"],
            ["--container", "safetensors", "--max-shard-size", "60KB"],
            ["--container", "safetensors", "--max-shard-size", "90KB"],
        ]
        try compete(
            (kinds + kinds).map {
                ["convert", Self.model, "--dtype", "fp16", "--output", "new"] + $0
            })
        let inspection = try program.run("inspect", "new", "--strict")
        #expect(inspection.code == 0, "\(inspection.output)")
        #expect(try names("new").allSatisfy { !$0.hasPrefix(".") })
    }

    /// Without links nothing but the names of the weights is in the way, and those differ.
    @Test("one repository", arguments: 1...3, [[], ["--other-components", "copy"]])
    func repository(round: Int, components: [String]) throws {
        let kinds = [
            ["--dtype", "int8"], ["--dtype", "fp16", "--container", "safetensors"],
            ["--dtype", "int8", "--other-components", "copy"],
        ]
        try compete(
            (kinds + kinds).map {
                ["convert", "fixtures/sana-digits", "--output", "new"] + $0 + components
            })
        let inspection = try program.run("inspect", "new", "--strict")
        #expect(inspection.code == 0, "\(inspection.output)")
        #expect(try names("new").allSatisfy { !$0.contains(".tmp-") })
    }

    /// Replacing is allowed, but not by halves: the last one's files are there, and no others.
    @Test("one repository that may be replaced", arguments: 1...3)
    func replacedRepository(round: Int) throws {
        let types = ["int8", "fp16"]
        func command(_ type: String, _ output: String) -> [String] {
            [
                "convert", "fixtures/sana-pictures", "--dtype", type, "--output", output,
                "--force", "-q", "--threads", "1",
            ]
        }
        func sizes(_ name: String) throws -> [Int] {
            try ["transformer", "vae", "text_encoder"].map { component in
                let weights = try names(name + "/" + component).filter { $0.hasSuffix(".zst") }
                #expect(weights.count == 1)
                return try fileBytes(folder("\(name)/\(component)/\(weights[0])")).count
            }
        }
        for type in types { #expect(try program.run(command(type, type)).code == 0) }
        let processes = try (types + types).map { try program.launch(command($0, "new")) }
        for process in processes { process.waitUntilExit() }
        #expect(processes.map { $0.exitCode ?? -1 } == [0, 0, 0, 0])
        let alone = try types.map(sizes)
        #expect(alone[0] != alone[1])
        #expect(alone.contains(try sizes("new")))
    }

    /// The lock is what another process has that gives its own files their names.
    @Test("a repository that another process is making is waited for, and not mixed with")
    func lockedRepository() throws {
        try FileManager.default.createDirectory(
            atPath: folder("new"), withIntermediateDirectories: false)
        let lock = open(folder("new"), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        #expect(flock(lock, LOCK_EX | LOCK_NB) == 0)
        defer { close(lock) }
        let process = try program.launch([
            "convert", "fixtures/sana-digits", "--dtype", "int8", "--output", "new",
            "--other-components", "copy", "--threads", "1",
        ])
        // Everything has been written once the index has.
        func isStaged() throws -> Bool {
            try names("new").contains { $0.hasPrefix(".model_index.json.tmp-") }
        }
        let end = ContinuousClock.now + .seconds(60)
        while try !isStaged(), ContinuousClock.now < end { usleep(1000) }
        #expect(try isStaged())
        usleep(500_000)
        let named = try names("new").filter {
            !$0.contains(".tmp-") && !folder("new/" + $0).isFolder
        }
        #expect(named == [])
        try folder.write("new/model_index.json", Array("{}".utf8))
        #expect(flock(lock, LOCK_UN) == 0)
        let outcome = try program.finish(process)
        #expect(outcome.code == 73, "\(outcome.talk)")
        #expect(try names("new") == ["model_index.json"])
    }

    @Test("one unpacked directory")
    func unpacked() throws {
        let made = try program.run(
            "convert", Self.model, "--dtype", "fp16", "--output", "a.safetensors.zst")
        #expect(made.code == 0, "\(made.talk)")
        let command = ["unpack", "a.safetensors.zst", "--output", "new"]
        try compete([[String]](repeating: command, count: 6))
        #expect(try names("new") == ["config.json", "diffusion_pytorch_model.safetensors"])
    }
}
