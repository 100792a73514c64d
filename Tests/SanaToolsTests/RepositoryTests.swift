import Foundation
import SanaModel
import SanaQuant
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// Whole repositories: `convert --output FOLDER`, `diff` and `digest`, by the built binary.
@Suite(.tags(.process)) struct RepositoryTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    /// A repository of four components: the transformer, a VAE of one file, a text encoder of two
    /// shards and a tokenizer without weights.
    init() throws {
        program = try BuiltProgram()
        let manager = FileManager.default
        try manager.copyItem(
            atPath: Fixtures.digits, toPath: folder("repo"))
        try folder.write(
            "repo/model_index.json",
            Array(
                #"""
                {"_class_name": "SanaPipeline", "_diffusers_version": "0.42.1",
                 "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
                 "safety_checker": [null, null],
                 "text_encoder": ["transformers", "Gemma2Model"],
                 "tokenizer": ["transformers", "GemmaTokenizerFast"],
                 "transformer": ["diffusers", "SanaTransformer2DModel"],
                 "vae": ["diffusers", "AutoencoderDC"]}
                """#.utf8))
        for name in ["vae", "text_encoder", "tokenizer", "tokenizer/extra"] {
            try manager.createDirectory(
                atPath: folder("repo/" + name), withIntermediateDirectories: true)
        }
        func tensors(_ names: [String]) -> [UInt8] {
            var builder = SafetensorsBuilder()
            for name in names { builder.add(name, [2, 3], (0..<6).map { Float($0) * 0.5 }) }
            return builder.file
        }
        try folder.write("repo/vae/diffusion_pytorch_model.safetensors", tensors(["w"]))
        // No network that is known here.
        try folder.write("repo/vae/config.json", Array(#"{"_class_name": "AutoencoderKL"}"#.utf8))
        try folder.write("repo/text_encoder/model-00001-of-00002.safetensors", tensors(["a", "b"]))
        try folder.write("repo/text_encoder/model-00002-of-00002.safetensors", tensors(["c"]))
        try folder.write(
            "repo/text_encoder/model.safetensors.index.json",
            Array(
                #"""
                {"metadata": {"total_size": 72}, "weight_map": {
                 "a": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors",
                 "c": "model-00002-of-00002.safetensors"}}
                """#.utf8))
        try folder.write(
            "repo/text_encoder/config.json", Array(#"{"torch_dtype": "float32", "x": 1}"#.utf8))
        try folder.write("repo/tokenizer/tokenizer.json", [1, 2, 3])
        try folder.write("repo/tokenizer/extra/merges.txt", [4])
    }

    private func isLink(_ path: String) -> Bool {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: folder(path))) != nil
    }

    // MARK: convert

    @Test func repositoryKeepsItsLayoutAndOpensAgain() throws {
        let outcome = try program.run(
            "convert", "repo", "--dtype", "int8", "--output", "new", "--format", "json")
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(
            try fileBytes(folder("new/model_index.json"))
                == fileBytes(folder("repo/model_index.json")))
        #expect(isLink("new/vae"))
        #expect(isLink("new/text_encoder"))
        #expect(isLink("new/tokenizer"))
        let json = try #require(outcome.json)
        #expect(
            json["output"]?.string == "new/transformer/diffusion_pytorch_model.safetensors.zst")
        #expect(json["repository"]?.string == "new")
        #expect(json["components"]?["vae"]?.string == "link")
        // The new repository is a MODEL like any other.
        let verify = try program.run(
            "verify", "new", "--no-record", "--reference",
            "fixtures/goldens/sana-digits-b2-t999.safetensors", "--tolerance", "1e-3")
        #expect(verify.code == 0, "\(verify.output)\(verify.talk)")
        #expect(try program.run("diff", "new", "repo", "--tolerance", "2e-2").code == 0)
        let digest = try program.run("digest", "new", "--format", "json")
        let files = digest.json?["files"]?.array ?? []
        #expect(
            files.contains {
                ($0["name"]?.string ?? "").hasSuffix(".zst") && $0["status"]?.string == "ok"
            })
        let again = try program.run("convert", "new", "--dtype", "fp16", "--output", "again")
        #expect(again.code == 64)
        #expect(again.talk.contains("keeps its weights in an archive"), "\(again.talk)")
        #expect(try program.run("unpack", "new", "--output", "plain").code == 0)
        #expect(try program.run("diff", "new", "plain").code == 0)
    }

    @Test func componentsAreConvertedCopiedOrLeftOut() throws {
        let outcome = try program.run(
            "convert", "repo", "--dtype", "bf16", "--output", "new", "--container", "safetensors",
            "--max-shard-size", "1MB", "--other-components", "copy", "--component",
            "text_encoder=fp16",
            "--component", "vae=skip")
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(!folder.entries("new").contains("vae"))
        #expect(try fileBytes(folder("new/tokenizer/extra/merges.txt")) == [4])
        #expect(!isLink("new/tokenizer"))
        let checkpoint = try Checkpoint.open(folder("new"))
        #expect(checkpoint.files.count == 3)
        for (index, name) in ["model-00001-of-00002", "model-00002-of-00002"].enumerated() {
            let path = "text_encoder/\(name).safetensors"
            let (old, new) = try (
                SafetensorsFile(path: folder("repo/" + path)),
                SafetensorsFile(path: folder("new/" + path))
            )
            #expect(new.tensors.map(\.name) == old.tensors.map(\.name))
            #expect(new.tensors.allSatisfy { $0.dtype == .f16 }, "shard \(index)")
        }
        let index = try JSONFile.read(folder("new/text_encoder/model.safetensors.index.json"))
        #expect(index["metadata"]?["total_size"]?.int == 36)
        let config = try JSONFile.read(folder("new/text_encoder/config.json"))
        #expect(config["torch_dtype"]?.string == "float16")
        #expect(config["x"]?.int == 1)
        #expect(try program.run("diff", "new", "repo").code == 0)
    }

    @Test func anotherConversionReplacesTheFirstOnlyWhenTold() throws {
        func convert(_ arguments: String...) throws -> Int32 {
            try program.run(["convert", "repo", "--dtype", "bf16", "--output", "new"] + arguments)
                .code
        }
        #expect(try convert("--container", "safetensors", "--max-shard-size", "1MB") == 0)
        let before = folder.entries("new/transformer")
        #expect(try convert() == 73)
        #expect(folder.entries("new/transformer") == before)
        #expect(try convert("--force") == 0)
        // The shards of before would contradict the archive.
        #expect(
            folder.entries("new/transformer") == [
                "config.json", "diffusion_pytorch_model.safetensors.zst",
            ])
    }

    @Test func requestsThatCannotBeMetAreRefusedBeforeAnythingIsWritten() throws {
        let before = folder.entries("repo")
        for (arguments, code) in [
            (["--output", "repo"], 64), (["--output", "repo/new"], 64),
            (["--output", "new", "--component", "nobody=fp16"], 64),
            (["--output", "new", "--component", "vae=int4"], 64),
            (["--output", "new", "--component", "safety_checker=link"], 64),
            (["--output", "new", "--component", "tokenizer=fp16"], 65),
            (["--output", "new.safetensors.zst", "--other-components", "copy"], 64),
            (["--output", "new.txt"], 64), (["--output", "repo/q.PTH"], 64),
            (["--output", "new.zst"], 64), (["--output", "new.safetensors"], 64),
            (["--output", "x", "--max-shard-size", "1GB"], 64),
            (["--output", "x", "--container", "safetensors", "--max-shard-size", "none"], 64),
            (["--output", "x", "--container", "safetensors", "--planes16"], 64),
        ] {
            let outcome = try program.run(["convert", "repo", "--dtype", "fp16"] + arguments)
            #expect(Int(outcome.code) == code, "\(arguments): \(outcome.talk)")
        }
        #expect(folder.entries("repo") == before)
        #expect(!FileManager.default.fileExists(atPath: folder("new")))
    }

    @Test func foreignWeightsInTheFolderAreNeitherRemovedNorContradicted() throws {
        let manager = FileManager.default
        try manager.createDirectory(
            atPath: folder("new/transformer"), withIntermediateDirectories: true)
        let names = [
            "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.safetensors.bak",
            "diffusion_pytorch_model-00001-of-00002.safetensors",
        ]
        for name in names { try folder.write("new/transformer/" + name, [1]) }
        let refused = try program.run("convert", "repo", "--dtype", "int8", "--output", "new")
        #expect(refused.code == 73, "\(refused.talk)")
        #expect(refused.talk.contains(names[2]), "\(refused.talk)")
        #expect(folder.entries("new/transformer").count == 3)
        let forced = try program.run(
            "convert", "repo", "--dtype", "int8", "--output", "new", "--force")
        #expect(forced.code == 0, "\(forced.talk)")
        let left = folder.entries("new/transformer")
        #expect(left.contains(names[0]))
        #expect(left.contains(names[1]))
        #expect(!left.contains(names[2]))
    }

    @Test func sourceIsNeverReplacedByWhatIsMadeOfIt() throws {
        let manager = FileManager.default
        try manager.createDirectory(atPath: folder("linked"), withIntermediateDirectories: true)
        try manager.copyItem(
            atPath: folder("repo/model_index.json"), toPath: folder("linked/model_index.json"))
        try manager.createSymbolicLink(
            atPath: folder("linked/transformer"), withDestinationPath: folder("repo/transformer"))
        let weights = "repo/transformer/diffusion_pytorch_model.safetensors"
        let before = try fileBytes(folder(weights))
        for arguments in [
            ["linked", "--output", "repo"],
            ["repo/transformer", "--container", "safetensors", "--output", "repo/transformer"],
            [weights, "--container", "safetensors", "--output", weights],
        ] {
            let outcome = try program.run(["convert", "--dtype", "int8", "--force"] + arguments)
            #expect(outcome.code == 64, "\(arguments): \(outcome.talk)")
            #expect(try fileBytes(folder(weights)) == before)
        }
        #expect(folder.entries("repo/transformer").count == 2)
    }

    @Test func whatStandsInTheWayIsFoundBeforeAnythingIsWritten() throws {
        let manager = FileManager.default
        for (name, force, code) in [
            ("new/vae/", false, 73), ("new/vae/", true, 73), ("new/model_index.json", false, 73),
        ] {
            try? manager.removeItem(atPath: folder("new"))
            try manager.createDirectory(
                atPath: folder(name.hasSuffix("/") ? name : "new"),
                withIntermediateDirectories: true)
            if !name.hasSuffix("/") { try folder.write(name, Array("{}".utf8)) }
            let before = folder.entries("new")
            let outcome = try program.run(
                ["convert", "repo", "--dtype", "int8", "--output", "new"]
                    + (force ? ["--force"] : []))
            #expect(Int(outcome.code) == code, "\(name): \(outcome.talk)")
            #expect(outcome.talk.contains("hint"))
            #expect(folder.entries("new") == before)
        }
    }

    @Test func convertedComponentsAreReportedAndMayHoldNothingToConvert() throws {
        var builder = SafetensorsBuilder()
        builder.add("ids", .i64, [1], bytes: littleEndianBytes(Int64(7)))
        try folder.write("repo/text_encoder/model-00002-of-00002.safetensors", builder.file)
        let outcome = try program.run(
            "convert", "repo", "--dtype", "int8", "--output", "new", "--component",
            "text_encoder=bf16", "--format", "json")
        #expect(outcome.code == 0, "\(outcome.talk)")
        let tensors = outcome.json?["component_tensors"]?["text_encoder"]?.array ?? []
        #expect(tensors.compactMap { $0["name"]?.string } == ["a", "b", "ids"])
        #expect(tensors.first?["to"]?.string == "BF16")
        #expect(tensors.last?["to"]?.string == "I64")
    }

    @Test func planesArchiveVerifiesLikeItsSource() throws {
        #expect(
            try program.run(
                "convert", "repo/transformer", "--dtype", "bf16", "--planes16", "--output",
                "p.safetensors.zst"
            ).code == 0)
        #expect(try program.run("diff", "p.safetensors.zst", "repo").code == 0)
        let verify = try program.run(
            "verify", "p.safetensors.zst", "--no-record", "--reference",
            "fixtures/goldens/sana-digits-b2-t999.safetensors", "--tolerance", "2e-6")
        #expect(verify.code == 0, "\(verify.output)\(verify.talk)")
    }

    // MARK: diff

    @Test func differencesComeLargestFirstAndFail() throws {
        func file(_ name: String, _ edit: (inout SafetensorsBuilder) -> Void) throws {
            var builder = SafetensorsBuilder()
            builder.add("same", [2], [1, 2])
            edit(&builder)
            try folder.write(name, builder.file)
        }
        try file("a.safetensors") {
            $0.add("small", [2], [3, 4])
            $0.add("large", [2], [3, 4])
            $0.add("narrow", .bf16, [2], bits: [0x3F80, 0x4000])
            $0.add("shaped", [2, 1], [1, 1])
            $0.add("mine", [1], [1])
            $0.add("count", .i64, [1], bytes: littleEndianBytes(Int64(4)))
            $0.add("nan", [2], [.nan, 1])
        }
        try file("b.safetensors") {
            $0.add("small", [2], [3, 4.001])
            $0.add("large", [2], [3, 5])
            $0.add("narrow", [2], [1, 2])
            $0.add("shaped", [1, 2], [1, 1])
            $0.add("theirs", [1], [1])
            $0.add("count", .i64, [1], bytes: littleEndianBytes(Int64(5)))
            $0.add("nan", [2], [.nan, 1])
        }
        let outcome = try program.run(
            "diff", "a.safetensors", "b.safetensors", "--tolerance", "1e-3", "--format", "json")
        #expect(outcome.code == 1)
        let tensors = try #require(outcome.json?["tensors"]?.array)
        let relations = tensors.map {
            "\($0["name"]?.string ?? "") \($0["relation"]?.string ?? "") \($0["verdict"]?.string ?? "")"
        }
        #expect(
            relations == [
                "count bytes fail", "mine only in first fail", "shaped shape fail",
                "theirs only in second fail", "large values fail", "small values pass",
                "nan exact pass", "narrow exact pass", "same exact pass",
            ])
        let large = tensors[4]
        #expect(abs((large["relative_rms"]?.double ?? 0) - 1 / 34.0.squareRoot()) < 1e-12)
        #expect(large["max_abs"]?.double == 1)
        #expect(try program.run("diff", "a.safetensors", "a.safetensors").code == 0)
        #expect(try program.run("diff", "a.safetensors", "absent").code == 66)
    }

    @Test func fileEqualsItselfWhateverItsScalesAre() throws {
        var builder = SafetensorsBuilder()
        builder.add("w.weight", .i8, [2, 2], bytes: [1, 2, 3, 0xFD])
        builder.add("w.scale", .bf16, [2, 1], bits: [0x3F80, 0x7FC0])
        try folder.write("a.safetensors", builder.file)
        let outcome = try program.run("diff", "a.safetensors", "a.safetensors", "--format", "json")
        #expect(outcome.code == 0, "\(outcome.output)")
        #expect(outcome.json?["verdict"]?.string == "pass")
    }

    // MARK: digest

    @Test func truncatedCheckpointHasNoDigest() throws {
        let path = folder("repo/transformer/diffusion_pytorch_model.safetensors")
        #expect(truncate(path, 1_000_000) == 0)
        #expect(try program.run("digest", "repo").code == 1)
    }

    @Test func archiveWithAWrongBitFailsItsDigest() throws {
        let name = "d.safetensors.zst"
        #expect(
            try program.run("convert", "repo/transformer", "--dtype", "int8", "--output", name)
                .code == 0)
        let good = try program.run("digest", name, "--format", "json")
        #expect(good.code == 0)
        #expect(good.json?["verdict"]?.string == "pass")
        #expect(good.json?["root"]?.string?.count == 64)
        var bytes = try fileBytes(folder(name))
        bytes[bytes.count / 2] ^= 1
        try folder.write(name, bytes)
        let bad = try program.run("digest", name)
        #expect(bad.code == 1, "\(bad.talk)")
        #expect(bad.talk.contains(name), "\(bad.talk)")
    }

    @Test func snapshotIsCheckedAgainstTheNamesOfItsBlobs() throws {
        let manager = FileManager.default
        try manager.createDirectory(
            atPath: folder("cache/blobs"), withIntermediateDirectories: true)
        try manager.createDirectory(
            atPath: folder("cache/snapshots/main"), withIntermediateDirectories: true)
        // "hello\n": the hashes that sha256sum and git hash-object give.
        let large = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
        let small = "ce013625030ba8dba906f756967f9e9ca394464a"
        for (name, blob) in [("weights.bin", large), ("config.txt", small)] {
            try folder.write("cache/blobs/" + blob, Array("hello\n".utf8))
            try manager.createSymbolicLink(
                atPath: folder("cache/snapshots/main/" + name),
                withDestinationPath: "../../blobs/" + blob)
        }
        try folder.write("cache/snapshots/main/note", [1])
        // A link that leads nowhere hides nothing of the others.
        let dead = folder("cache/snapshots/main/absent.bin")
        try manager.createSymbolicLink(
            atPath: dead, withDestinationPath: "../../blobs/" + String(repeating: "e", count: 64))
        let partial = try program.run("digest", "cache/snapshots/main", "--format", "json")
        #expect(partial.code == 1, "\(partial.talk)")
        #expect(partial.talk.contains("absent.bin"), "\(partial.talk)")
        #expect(
            partial.json?["files"]?.array?.compactMap { $0["status"]?.string } == [
                "UNREADABLE", "ok", "unknown", "ok",
            ])
        #expect(partial.json?["verdict"]?.string == "fail")
        try manager.removeItem(atPath: dead)
        let good = try program.run("digest", "cache/snapshots/main", "--format", "json")
        #expect(good.code == 0)
        let status = good.json?["files"]?.array?.compactMap { $0["status"]?.string }
        #expect(status == ["ok", "unknown", "ok"])
        for blob in [large, small] {
            try folder.write("cache/blobs/" + blob, Array("Hello\n".utf8))
            let bad = try program.run("digest", "cache/snapshots/main")
            #expect(bad.code == 1, "\(bad.talk)")
            #expect(bad.talk.contains(blob), "\(bad.talk)")
            try folder.write("cache/blobs/" + blob, Array("hello\n".utf8))
        }
    }

    @Test func downloadRecordsOfALocalFolderAreChecked() throws {
        try FileManager.default.createDirectory(
            atPath: folder("local/.cache/huggingface/download"), withIntermediateDirectories: true)
        try folder.write("local/a.txt", Array("hello\n".utf8))
        let hash = "ce013625030ba8dba906f756967f9e9ca394464a"
        try folder.write(
            "local/.cache/huggingface/download/a.txt.metadata",
            Array("0123\n\(hash)\n1700000000.0\n".utf8))
        #expect(try program.run("digest", "local").code == 0)
        try folder.write("local/a.txt", Array("jello\n".utf8))
        #expect(try program.run("digest", "local").code == 1)
    }
}
