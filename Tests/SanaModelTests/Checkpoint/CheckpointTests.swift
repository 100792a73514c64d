@testable import SanaModel
import SanaTestSupport
import Testing

struct CheckpointTests {
    private func folder(_ files: [String: [UInt8]]) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        for (name, bytes) in files { try folder.write(name, bytes) }
        return folder
    }

    private var shard: [UInt8] {
        var builder = SafetensorsBuilder()
        builder.add("a", [2], [1, 2])
        return builder.file
    }

    private func index(_ map: String) -> [UInt8] {
        Array(#"{"metadata":{"total_size":8},"weight_map":\#(map)}"#.utf8)
    }

    @Test func repositoryLeadsToItsTransformer() throws {
        let checkpoint = try Checkpoint.open(Fixtures.digits)
        #expect(checkpoint.path == Fixtures.digits + "/transformer")
        #expect(checkpoint.source.parameterCount == 1_223_681)
    }

    @Test func absentPathIsNoInput() {
        #expect { try Checkpoint.open("/no/such/model") } throws: {
            ($0 as? any DiagnosticError)?.category == .noInput
        }
    }

    @Test(arguments: [
        ("variant", "fp16"), ("variant-sharded", "fp16"), ("variant-sharded-legacy", "fp16"),
    ])
    func onlyVariantIsTheDefault(_ name: String, _ variant: String) throws {
        #expect(try Checkpoint.open(Fixtures.path + "/tiny/" + name).variant == variant)
    }

    @Test func severalVariantsAreListedInTheError() throws {
        let path = Fixtures.path + "/tiny/variants-two"
        #expect { try Checkpoint.open(path) } throws: { "\($0)".contains("(none), fp16") }
        #expect(try Checkpoint.open(path, variant: "fp16").variant == "fp16")
        #expect { try Checkpoint.open(path, variant: "bf16") } throws: {
            "\($0)".contains("(none), fp16")
        }
    }

    @Test(arguments: [
        ("diffusion_pytorch_model.safetensors", ""),
        ("diffusion_pytorch_model.bf16.safetensors", "bf16"),
        ("diffusion_pytorch_model.safetensors.index.json", ""),
        ("diffusion_pytorch_model.safetensors.index.fp16.json", "fp16"),
        ("diffusion_pytorch_model.safetensors.fp16.index.json", "fp16"),
        ("diffusion_pytorch_model.fp16.safetensors.index.json", "fp16"),
    ])
    func fileNamesOfWeights(_ name: String, _ variant: String) throws {
        let found = try WeightFiles.candidates(in: [name], folder: "f")
        #expect(found == [WeightFiles(variant: variant.isEmpty ? nil : variant, name: name)])
    }

    @Test(arguments: [
        "diffusion_pytorch_model-00001-of-00002.safetensors",
        "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
        "diffusion_pytorch_model-00001-of-00002.fp16.safetensors", "model.safetensors",
        "diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors.index",
    ])
    func shardsAndStrangersAreNoWeightsByThemselves(_ name: String) throws {
        #expect(try WeightFiles.candidates(in: [name], folder: "f").isEmpty)
    }

    @Test func singleFileBesideAnIndexIsAmbiguous() {
        let names = [
            "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors.index.json",
        ]
        #expect(throws: BadDataError.self) { try WeightFiles.candidates(in: names, folder: "f") }
    }

    /// Sana_1600M_1024px_diffusers has a single file, an index and shards, and an fp16 variant.
    @Test func ambiguityOfOneVariantDoesNotHideAnother() throws {
        let folder = try folder([
            "diffusion_pytorch_model.safetensors": shard,
            "diffusion_pytorch_model.safetensors.index.json": [],
            "diffusion_pytorch_model.fp16.safetensors": shard,
        ])
        let found = try WeightFiles.choose(variant: "fp16", in: folder.path)
        #expect(found.name == "diffusion_pytorch_model.fp16.safetensors")
        #expect(throws: BadDataError.self) {
            try WeightFiles.choose(variant: nil, in: folder.path)
        }
    }

    @Test(arguments: ["../a.safetensors", "/etc/passwd", "x/a.safetensors", "..", "", "a\\u0000b"])
    func indexCannotLeadOutOfItsFolder(_ file: String) throws {
        let folder = try folder(["i.json": index(#"{"a":"\#(file)"}"#)])
        #expect { try ShardSet(index: folder("i.json")) } throws: {
            "\($0)".contains("bare file name")
        }
    }

    @Test func indexAndShardsMustAgree() throws {
        let folder = try folder([
            "s.safetensors": shard, "good.json": index(#"{"a":"s.safetensors"}"#),
            "extra.json": index(#"{"a":"s.safetensors","b":"s.safetensors"}"#),
            "other.json": index(#"{"b":"s.safetensors"}"#),
            "absent.json": index(#"{"a":"t.safetensors"}"#), "empty.json": index("{}"),
        ])
        #expect(try ShardSet(index: folder("good.json")).tensors.map(\.name) == ["a"])
        #expect { try ShardSet(index: folder("extra.json")) } throws: {
            "\($0)".contains("'b' is not in s.safetensors")
        }
        #expect { try ShardSet(index: folder("other.json")) } throws: {
            "\($0)".contains("tensor 'a'")
        }
        #expect { try ShardSet(index: folder("absent.json")) } throws: {
            ($0 as? FileError)?.category == .noInput
        }
        #expect(throws: BadDataError.self) { try ShardSet(index: folder("empty.json")) }
    }

    @Test func fileWithoutConfigSaysSo() throws {
        let folder = try folder(["m.safetensors": shard])
        #expect { try Checkpoint.open(folder("m.safetensors")) } throws: {
            "\($0)".contains("no config.json next to it")
        }
    }

    /// The digests in the goldens were computed by Python from the same definition.
    @Test(arguments: ["plain", "sharded", "sharded-bf16", "variant-sharded", "sprint"])
    func digestIsTheOneThatPythonComputes(_ name: String) throws {
        let golden = try SafetensorsFile(path: Fixtures.path + "/goldens/tiny-\(name).safetensors")
        let contract = golden.header.metadata.first { $0.key == "contract" }?.value
        let expected = try JSONScanner.parse(contract ?? "")["weights"]?["digest"]?.string
        let source = try Checkpoint.open(Fixtures.path + "/tiny/" + name).source
        #expect(try WeightsDigest.compute(source, workers: WorkerPool(threadCount: 2)) == expected)
    }
}
