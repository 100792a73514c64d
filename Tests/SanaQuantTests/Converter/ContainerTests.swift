import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaQuant

@Suite struct ContainerTests {
    private let workers = WorkerPool(threadCount: 2)

    /// A checkpoint with a tensor of each 16-bit type that is large enough to be split.
    private func wideCheckpoint() throws -> TinyCheckpoint {
        try TinyCheckpoint {
            $0.add(
                "transformer_blocks.0.ff.conv_inverted.weight", .bf16, [300, 231, 1, 1],
                bits: (0..<69300).map { 0x3C00 + UInt16($0 % 997) })
            $0.add(
                "transformer_blocks.0.attn2.to_k.weight", .f16, [256, 256],
                bits: (0..<65536).map { UInt16(truncatingIfNeeded: $0 * 7) & 0x7BFF })
            $0.add("short", .bf16, [65535], bits: (0..<65535).map { UInt16($0 % 0x7F00) })
        }
    }

    // MARK: safetensors

    @Test(arguments: ConversionTarget.allCases)
    func plainContainerHoldsTheFileThatTheArchiveRestoresTo(target: ConversionTarget) throws {
        let tiny = try TinyCheckpoint()
        let archive = try Archive(path: tiny.convert(target).path)
        try archive.unpack(to: tiny.folder("unpacked"), workers: workers)
        let (_, result) = try tiny.convert(target, toFolder: "plain") {
            $0.container = .safetensors(maximumShardByteCount: 1 << 30)
        }
        let name = "diffusion_pytorch_model.safetensors"
        #expect(
            try fileBytes(tiny.folder("plain/" + name))
                == fileBytes(tiny.folder("unpacked/" + name)))
        let configs = try ["plain", "unpacked"].map {
            try JSONFile.read(tiny.folder($0 + "/config.json")).text(sortedKeys: true)
        }
        #expect(configs[0] == configs[1])
        #expect(result.files.map(\.contentSHA256) == [archive.manifest?.contentSHA256])
        #expect(result.sourceDigest == archive.manifest?.weightsDigest)
        #expect(result.output == tiny.folder("plain/diffusion_pytorch_model.safetensors"))
    }

    @Test(arguments: [1, 100, 150])
    func shardsStayWithinTheLimitAndOpenThroughTheirIndex(limit: Int) throws {
        let tiny = try TinyCheckpoint()
        let (_, result) = try tiny.convert(.int8, toFolder: "shards") {
            $0.container = .safetensors(maximumShardByteCount: limit)
        }
        let whole = try Archive(path: tiny.convert(.int8).path)
        let checkpoint = try Checkpoint.open(tiny.folder("shards"))
        #expect(result.output.hasSuffix("diffusion_pytorch_model.safetensors.index.json"))
        #expect(checkpoint.files.count == result.files.count)
        #expect(result.files.count > 1)
        for file in checkpoint.files {
            let size = file.tensors.reduce(0) { $0 + $1.byteCount }
            // A weight and its scale stay together.
            #expect(size <= limit || Set(file.tensors.map { $0.name.stem }).count == 1)
        }
        #expect(checkpoint.source.tensors.count == whole.tensors.count)
        for tensor in whole.tensors {
            #expect(checkpoint.source.info(tensor.name) == tensor)
            #expect(
                try bytes(checkpoint.source, tensor.name) == bytes(whole, tensor.name),
                "\(tensor.name)")
        }
        let index = try JSONFile.read(result.output)
        let total = whole.tensors.reduce(0) { $0 + $1.byteCount }
        #expect(index["metadata"]?["total_size"]?.int == total)
        #expect(
            checkpoint.configJSON.text(sortedKeys: true)
                == whole.manifest?.config.text(sortedKeys: true))
    }

    @Test("a file of shards is no larger than asked for, its header included")
    func shardsCountTheirHeaders() throws {
        let tiny = try TinyCheckpoint()
        var shared = 0
        for limit in stride(from: 500, through: 1500, by: 50) {
            try tiny.convert(.int8, toFolder: "\(limit)") {
                $0.container = .safetensors(maximumShardByteCount: limit)
            }
            for file in try Checkpoint.open(tiny.folder("\(limit)")).files
            where Set(file.tensors.map { $0.name.stem }).count > 1 {
                #expect(file.fileBytes.count <= limit)
                shared += 1
            }
        }
        #expect(shared > 0)
    }

    @Test func oneFileCannotHoldSeveralShards() throws {
        let tiny = try TinyCheckpoint()
        let error = #expect(throws: ConversionError.self) {
            try tiny.convert(.fp16) { $0.container = .safetensors(maximumShardByteCount: 1) }
        }
        #expect(error?.category == .usage)
    }

    // MARK: planes16

    @Test(arguments: [ConversionTarget.fp16, .bf16, .int8])
    func planesAreJoinedToTheSameTensorsAndTheSameFile(target: ConversionTarget) throws {
        let tiny = try wideCheckpoint()
        func convert(_ name: String, _ planes16: Bool) throws -> Archive {
            let rule = try UserRule(".*conv_inverted.*=keep")
            return try Archive(
                path: tiny.convert(target, to: name) {
                    ($0.chunkByteCount, $0.planes16, $0.rounding) = (4096, planes16, .any)
                    $0.rules = [rule]
                }.path)
        }
        let (plain, split) = try (convert("plain.zst", false), convert("split.zst", true))
        #expect(plain.manifest?.profile == "plain")
        #expect(split.manifest?.profile == "planes16")
        #expect(split.split.count == (target == .int8 ? 1 : 2))
        #expect(split.byteCount < plain.byteCount)
        for tensor in plain.tensors {
            #expect(split.info(tensor.name) == tensor)
            let expected = try bytes(plain, tensor.name)
            #expect(try bytes(split, tensor.name) == expected, "\(tensor.name)")
            #expect(try bytes(split.resident(using: workers), tensor.name) == expected)
        }
        // What zstd alone restores is a safetensors file of low and high bytes.
        let name = try #require(split.split.first)
        let stored = try #require(split.header.tensors.first { $0.name == name })
        #expect(stored.dtype == .u8)
        #expect(stored.shape.first == 2)
        for path in ["plain", "split"] {
            let archive = path == "plain" ? plain : split
            try archive.unpack(to: tiny.folder(path + ".safetensors"), workers: workers)
            try archive.unpack(to: tiny.folder(path), workers: workers)
        }
        #expect(
            try fileBytes(tiny.folder("plain.safetensors"))
                == fileBytes(tiny.folder("split.safetensors")))
        #expect(
            try fileBytes(tiny.folder("plain/config.json"))
                == fileBytes(tiny.folder("split/config.json")))
    }

    @Test func planesKnowTheirSourceAndItsErrors() throws {
        let tiny = try wideCheckpoint()
        func convert(_ planes16: Bool, threads: Int) throws -> ConversionResult {
            try tiny.convert(.fp16, to: "\(planes16)\(threads).zst", threads: threads) {
                ($0.chunkByteCount, $0.planes16, $0.rounding) = (4096, planes16, .any)
            }.result
        }
        let (plain, split) = try (convert(false, threads: 2), convert(true, threads: 2))
        #expect(plain.sourceDigest == split.sourceDigest)
        for (one, other) in zip(plain.tensors, split.tensors) {
            #expect(one.statistics.elements == other.statistics.elements, "\(one.name)")
            #expect(one.statistics.changed == other.statistics.changed)
            #expect(one.statistics.flushed == other.statistics.flushed)
            #expect(abs(one.statistics.relativeRMS - other.statistics.relativeRMS) < 1e-12)
        }
        #expect(split.tensors.contains { $0.statistics.changed > 0 })
        let first = try fileBytes(tiny.folder("true2.zst"))
        _ = try convert(true, threads: 1)
        #expect(try fileBytes(tiny.folder("true1.zst")) == first)
    }

    @Test func wrongListOfPlanesIsRefused() throws {
        let tiny = try wideCheckpoint()
        let (path, _) = try tiny.convert(.bf16) {
            ($0.chunkByteCount, $0.planes16) = (4096, true)
        }
        let honest = ArchiveParts(try fileBytes(path))
        let list = #"{\"transformer_blocks.0.ff.conv_inverted.weight\":\"BF16\"}"#
        func rule(_ replacement: String) -> ArchiveError.Rule? {
            var parts = honest
            var header = String(decoding: parts.content(0).dropFirst(8), as: UTF8.self)
            #expect(header.contains("conv_inverted.weight"))
            let start = header.range(of: #""sana_tools.planes16":""#)!.upperBound
            let end = header.range(of: #"}""#, range: start..<header.endIndex)!.lowerBound
            header.replaceSubrange(start...end, with: replacement)
            while header.utf8.count % 8 != 0 { header += " " }
            let content = littleEndianBytes(UInt64(header.utf8.count)) + Array(header.utf8)
            parts.replace(0, with: zstdFrame(content), decompressed: content.count)
            return brokenRule(parts.file)
        }
        func isPlanes(_ rule: ArchiveError.Rule?) -> Bool {
            if case .planes = rule { true } else { false }
        }
        #expect(isPlanes(rule("{")))
        #expect(isPlanes(rule("[]")))
        #expect(isPlanes(rule(#"{\"absent\":\"BF16\"}"#)))
        #expect(isPlanes(rule(#"{\"transformer_blocks.0.ff.conv_inverted.weight\":\"F32\"}"#)))
        #expect(isPlanes(rule(#"{\"transformer_blocks.0.attn1.to_q.weight\":\"BF16\"}"#)))
        // Without the split tensor on the list, the archive says of itself what it is not.
        #expect(rule("{}") != nil)
        #expect(!isPlanes(rule("{}")))
        #expect(rule(list) != nil, "the header's hash differs from the manifest's at least")
    }

    // MARK: NaN and infinity

    @Test(arguments: ConversionTarget.allCases)
    func tensorsThatAreNotFiniteAreKeptWhenAllowed(target: ConversionTarget) throws {
        let name = "transformer_blocks.0.attn2.to_v.weight"
        let tiny = try TinyCheckpoint {
            $0.add(
                name, .bf16, [4, 4],
                bits: [0x7FC1, 0x7F80, 0xFF80, 0xFFC0] + [UInt16](repeating: 0x3F80, count: 12))
        }
        for planes16 in [false, true] {
            let (path, result) = try tiny.convert(target, to: "\(planes16).zst") {
                ($0.allowsNonFinite, $0.planes16) = (true, planes16)
            }
            let archive = try Archive(path: path)
            #expect(try bytes(archive, name) == bytes(tiny.checkpoint.source, name))
            #expect(archive.info(name)?.dtype == .bf16)
            let report = try #require(result.tensors.first { $0.name == name })
            #expect(report.nonFinite == 4)
            #expect(report.reason.contains("4 values"))
            #expect(result.tensors.filter { $0.name != name }.allSatisfy { $0.nonFinite == 0 })
        }
    }

    // MARK: The record

    @Test func manifestRecordsWhatBecameOfEveryTensor() throws {
        let tiny = try TinyCheckpoint()
        let (path, result) = try tiny.convert(.int8)
        let record = try #require(try Archive(path: path).manifest?.quantizationRecord?.array)
        #expect(record.count == result.tensors.count)
        for (entry, tensor) in zip(record, result.tensors) {
            #expect(entry["name"]?.string == tensor.name)
            #expect(entry["to"]?.string == tensor.to.rawValue)
            #expect(entry["relative_rms"]?.double == tensor.statistics.relativeRMS)
            #expect(entry["changed"]?.int == tensor.statistics.changed)
        }
        #expect(record.contains { ($0["relative_rms"]?.double ?? 0) > 0 })
    }

    private func bytes(_ source: any TensorSource, _ name: String) throws -> [UInt8] {
        let info = try #require(source.info(name))
        return try source.bytes(of: info).withUnsafeBytes { Array($0) }
    }
}

extension String {
    /// The module that a tensor belongs to.
    fileprivate var stem: Substring { split(separator: ".").dropLast().joined(separator: ".")[...] }
}
