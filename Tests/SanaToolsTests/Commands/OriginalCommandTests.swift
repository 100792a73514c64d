import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Original checkpoints and pipelines in one file, through the built program.
@Suite(.tags(.process)) struct OriginalCommandTests {
    private let program: BuiltProgram

    init() throws { program = try BuiltProgram() }

    private func arguments(_ name: String) -> [String] {
        let folder = name == "controlnet" ? "controlnet/repository/controlnet" : "tiny/\(name)"
        return ["fixtures/originals/\(name).pth", "--config", "fixtures/\(folder)/config.json"]
    }

    @Test(arguments: ["plain", "positions", "bias-qknorm", "sprint", "controlnet"])
    func verifiesAgainstWhatDiffusersComputed(_ name: String) throws {
        let outcome = try program.run(
            ["verify"] + arguments(name) + [
                "--reference",
                name == "controlnet"
                    ? "fixtures/controlnet/golden-controlnet.safetensors"
                    : "fixtures/goldens/tiny-\(name).safetensors", "--tolerance", "2e-6",
                "--no-record", "--format", "json",
            ])
        #expect(outcome.code == 0, "\(outcome.output)\(outcome.talk)")
        #expect(outcome.json?["verdict"]?.string == "pass")
    }

    @Test func convertsToAFolderThatDiffusersReads() throws {
        let outcome = try program.run(
            ["convert"] + arguments("sprint") + [
                "--dtype", "bf16", "--container", "safetensors", "--output", "out",
            ])
        #expect(outcome.code == 0, "\(outcome.talk)")
        let (ours, theirs) = try (
            Checkpoint.open(program.folder("out")),
            Checkpoint.open(Fixtures.path + "/tiny/sprint")
        )
        #expect(try ours.sanaConfig() == theirs.sanaConfig())
        #expect(ours.configJSON["_class_name"]?.string == "SanaTransformer2DModel")
        let workers = WorkerPool(threadCount: 2)
        #expect(
            try WeightsDigest.compute(ours.source, workers: workers)
                == WeightsDigest.compute(theirs.source, workers: workers))
    }

    @Test func archiveOfAnOriginalFindsItsGolden() throws {
        let converted = try program.run(
            ["convert"] + arguments("sprint") + [
                "--dtype", "int8", "--output", "s.safetensors.zst",
            ])
        #expect(converted.code == 0, "\(converted.talk)")
        let outcome = try program.run(
            "verify", "s.safetensors.zst", "--reference",
            "fixtures/goldens/tiny-sprint.safetensors", "--no-record", "--tolerance", "1e-2")
        #expect(outcome.code == 0, "\(outcome.output)\(outcome.talk)")
    }

    @Test func inspectTellsWhoseNamesAreStored() throws {
        let original = try program.run(["inspect", "--format", "json"] + arguments("plain"))
        #expect(original.code == 0)
        #expect(original.json?["layout"]?.string == "original")
        let pipeline = try program.run(
            "inspect", "fixtures/originals/pipeline.dduf", "--subfolder", "transformer",
            "--format", "json")
        #expect(pipeline.code == 0)
        #expect(pipeline.json?["layout"]?.string == "diffusers")
        #expect(pipeline.json?["files"]?.array?.count == 5)
    }

    @Test func pipelineConvertsAndVerifies() throws {
        let converted = try program.run(
            "convert", "fixtures/originals/pipeline.dduf", "--dtype", "fp16", "--allow-rounding",
            "--output", "p.safetensors.zst")
        #expect(converted.code == 0, "\(converted.talk)")
        for model in ["fixtures/originals/pipeline.dduf", "p.safetensors.zst"] {
            let outcome = try program.run(
                "verify", model, "--reference", "fixtures/goldens/tiny-sharded-bf16.safetensors",
                "--no-record", "--tolerance", model.hasPrefix("p") ? "1e-2" : "2e-6")
            #expect(outcome.code == 0, "\(outcome.output)\(outcome.talk)")
        }
    }

    @Test func diffAndDigestTakeOriginals() throws {
        let diff = try program.run("diff", "fixtures/originals/plain.pth", "fixtures/tiny/plain")
        #expect(diff.code == 0)
        #expect(diff.output.contains("54 of 54 tensors exact"))
        let digests = try ["originals/plain.pth", "tiny/plain"].map {
            try program.run("digest", "fixtures/" + $0, "--format", "json").output
                .split(separator: "\n").first { $0.contains("\"weights") }
        }
        #expect(digests[0] != nil)
        #expect(digests[0] == digests[1])
    }

    /// One bit of one weight, which nothing but the sum can tell of.
    @Test(arguments: ["originals/plain.pth", "originals/pipeline.dduf"])
    func digestComparesTheSumOfEveryEntry(_ name: String) throws {
        let path = Fixtures.path + "/" + name
        let zip = try ZipFile(content: ByteView(mapping: path), path: path)
        let entry = try #require(zip.entries.max { $0.bytes.count < $1.bytes.count })
        var bytes = try fileBytes(path)
        let stored = entry.bytes.withUnsafeBytes { Array($0) }
        let start = try #require(bytes.firstRange(of: stored)?.lowerBound)
        let file = name.lastPathComponent
        try program.folder.write(file, bytes)
        let whole = try program.run("digest", file, "--format", "json")
        #expect(whole.code == 0)
        #expect(whole.json?["verdict"]?.string == "pass")
        bytes[start + stored.count / 2] ^= 1
        try program.folder.write(file, bytes)
        let damaged = try program.run("digest", file, "--format", "json")
        #expect(damaged.code == 1)
        #expect(damaged.json?["verdict"]?.string == "fail")
        #expect(
            damaged.json?["files"]?.array?.first?["damaged"]?.array == [.string(entry.name)])
        #expect(
            damaged.talk.contains(file),
            "\(damaged.talk)")
        #expect(
            damaged.talk.contains("entry '\(entry.name)' has CRC-32"),
            "\(damaged.talk)")
        #expect(damaged.json?["weights_digest"] == .null)
        // The same among the files of a folder.
        try FileManager.default.createDirectory(
            atPath: program.folder("folder"), withIntermediateDirectories: true)
        try program.folder.write("folder/" + file, bytes)
        let folder = try program.run("digest", "folder")
        #expect(folder.code == 1)
        #expect(folder.talk.contains("folder/\(file): entry '"))
    }

    /// What torch writes when it is told to compute no sums has zeros for them.
    @Test func filesWithoutSumsAreNotDamaged() throws {
        let path = Fixtures.path + "/originals/plain.pth"
        let zip = try ZipFile(content: ByteView(mapping: path), path: path)
        var builder = ZipBuilder(
            zip.entries.map { ($0.name, $0.bytes.withUnsafeBytes { Array($0) }) })
        for index in builder.entries.indices { builder.entries[index].crc32 = 0 }
        try program.folder.write("unsummed.pth", builder.file)
        let outcome = try program.run("digest", "unsummed.pth", "--format", "json")
        #expect(outcome.code == 0)
        #expect(outcome.json?["verdict"]?.string == "unknown")
        #expect(outcome.json?["weights_digest"]?.string != nil)
    }

    /// Refused at once, and with one message.
    @Test func hostileFilesAreRefusedAtOnce() throws {
        let folder = Fixtures.path + "/fuzz/zip"
        let names = try folder.folderEntries().filter { $0.hasPrefix("bad") }
        #expect(names.count > 15)
        // The lint tells of a pipeline's defects together, as of a folder's.
        let lint = try program.run("inspect", "fixtures/fuzz/zip/bad-pipeline")
        #expect(lint.code == 1, "\(lint.output)")
        #expect(lint.output.contains("transformer-absent"), "\(lint.output)")
        for name in names {
            let start = ContinuousClock.now
            let command = name == "bad-pipeline" ? "digest" : "inspect"
            let outcome = try program.run([command, "fixtures/fuzz/zip/" + name])
            #expect(start.duration(to: .now) < .seconds(2), "\(name)")
            #expect(outcome.code == 65, "\(name): \(outcome.talk)")
            // The digest's table is shown whatever is broken.
            #expect(outcome.output.isEmpty == (command == "inspect"), "\(name)")
            #expect(outcome.talk.hasPrefix("sana-tools: error:"))
            #expect(outcome.talk.components(separatedBy: "error:").count == 2, "\(name)")
        }
    }
}
