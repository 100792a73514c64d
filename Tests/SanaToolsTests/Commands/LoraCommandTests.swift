import SanaModel
import SanaQuant
import SanaTestSupport
import Testing

/// `convert --lora`, through the built program.
struct LoraCommandTests {
    private let program: BuiltProgram
    private static let files = [
        "--lora", "fixtures/lora/style.safetensors=0.8",
        "--lora", "fixtures/lora/detail/adapter_model.safetensors=-0.5",
    ]

    init() throws { program = try BuiltProgram() }

    private func convert(_ arguments: String...) throws -> BuiltProgram.Outcome {
        try program.run(["convert", "fixtures/tiny/plain"] + arguments + Self.files)
    }

    private func verify(
        _ model: String, _ golden: String, _ tolerance: String, _ options: String...
    ) throws -> BuiltProgram.Outcome {
        try program.run(
            ["verify", model, "--reference", "fixtures/" + golden, "--tolerance", tolerance]
                + ["--no-record"] + options)
    }

    @Test func fusedModelComputesWhatDiffusersComputes() throws {
        let outcome = try convert(
            "--dtype", "fp32", "--container", "safetensors", "--output", "fused")
        #expect(outcome.code == 0, "\(outcome.talk)")
        let fused = try verify("fused", "lora/golden.safetensors", "2e-6", "--allow-stale")
        #expect(fused.code == 0, "\(fused.output)\(fused.talk)")
        let unfused = try verify(
            "fixtures/tiny/plain", "lora/golden.safetensors", "2e-6", "--allow-stale")
        #expect(unfused.code == 1)
    }

    /// An archive is that of the fused weights: neither its numbers nor its digest pass for those of
    /// the model without adapters.
    @Test func archiveSaysWhatWasAdded() throws {
        let outcome = try convert(
            "--dtype", "int8", "--output", "f.safetensors.zst", "--format", "json")
        #expect(outcome.code == 0, "\(outcome.talk)")
        let lora = try #require(outcome.json?["lora"]?.array)
        #expect(
            lora.map { $0["name"]?.string } == ["style.safetensors", "adapter_model.safetensors"])
        #expect(lora.map { $0["weight"]?.double } == [0.8, -0.5])
        let manifest = try #require(try Archive(path: program.folder("f.safetensors.zst")).manifest)
        #expect(manifest.version == [1, 2] && manifest.adapters.map(\.weight) == [0.8, -0.5])
        let style = try SafetensorsFile(path: Fixtures.path + "/lora/style.safetensors")
        #expect(
            manifest.adapters[0].sha256 == WeightsDigest.sha256(style.fileBytes).hexadecimal)
        #expect(manifest.adapters.map(\.sha256) == lora.compactMap { $0["sha256"]?.string })

        let source = try Checkpoint.open(Fixtures.path + "/tiny/plain").source
        let digest = try WeightsDigest.compute(source, workers: WorkerPool(threadCount: 2))
        #expect(manifest.weightsDigest != digest)
        let stale = try verify("f.safetensors.zst", "goldens/tiny-plain.safetensors", "0.9")
        #expect(stale.code == 1 && stale.output.contains("stale"), "\(stale.output)")
        let fused = try verify(
            "f.safetensors.zst", "lora/golden.safetensors", "1e-2", "--allow-stale")
        #expect(fused.code == 0, "\(fused.output)")
    }

    /// A golden recorded from the fused fp32 folder is not stale for archives with the same adapters.
    @Test func archiveHasTheDigestOfTheFusedFolder() throws {
        _ = try convert("--dtype", "fp32", "--container", "safetensors", "--output", "fused")
        _ = try convert("--dtype", "int8", "--output", "f.safetensors.zst")
        let folder = try Checkpoint.open(program.folder("fused")).source
        #expect(
            try WeightsDigest.compute(folder, workers: WorkerPool(threadCount: 1))
                == Archive(path: program.folder("f.safetensors.zst")).manifest?.weightsDigest)
    }

    @Test func bytesDoNotDependOnThreads() throws {
        for threads in ["1", "3"] {
            let outcome = try convert(
                "--dtype", "fp16", "--threads", threads, "--output", "t\(threads).safetensors.zst")
            #expect(outcome.code == 0, "\(outcome.talk)")
        }
        #expect(
            try fileBytes(program.folder("t1.safetensors.zst"))
                == fileBytes(program.folder("t3.safetensors.zst")))
    }

    @Test func refusalsHaveTheirExitCodes() throws {
        func code(_ lora: String) throws -> Int32 {
            try program.run(
                "convert", "fixtures/tiny/plain", "--dtype", "fp32", "--output",
                "x.safetensors.zst",
                "--lora", lora
            ).code
        }
        #expect(try code("fixtures/lora/style.safetensors=much") == 64)
        #expect(try code("fixtures/lora/style.safetensors=inf") == 64)
        #expect(try code("absent.safetensors") == 66)
        #expect(try code("fixtures/lora/golden.safetensors") == 65)
        #expect(try code("fixtures/tiny/plain/config.json") == 65)
        let model = try program.run(
            "convert", "fixtures/sana-digits", "--dtype", "fp32", "--output", "x.safetensors.zst",
            "--lora", "fixtures/lora/style.safetensors")
        #expect(model.code == 65 && model.talk.contains("do not fit"), "\(model.talk)")
        #expect(try program.run("convert", "--lora", "fixtures/lora/style.safetensors").code == 64)
    }

    /// What peft writes is a folder.
    @Test func aFolderNamesTheAdapterInIt() throws {
        let digests = try [
            "fixtures/lora/detail", "fixtures/lora/detail/adapter_model.safetensors",
        ]
        .map { lora in
            let outcome = try program.run(
                "convert", "fixtures/tiny/plain", "--dtype", "fp32", "--lora", lora + "=0.5",
                "--output", "x.safetensors.zst", "--force")
            #expect(outcome.code == 0, "\(outcome.talk)")
            return try program.run(
                "digest", "x.safetensors.zst", "--format", "json"
            ).json?["content_sha256"]?.string
        }
        #expect(digests[0] != nil && digests[0] == digests[1])
    }
}
