import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaQuant

@Suite struct ConverterTests {
    /// The digits model, converted into a folder of its own.
    private func convertDigits(
        _ target: ConversionTarget, rounding: HalfRoundingPolicy = .negligible
    ) throws -> (
        folder: TemporaryFolder, source: Checkpoint, archive: Archive, result: ConversionResult
    ) {
        let folder = try TemporaryFolder()
        let source = try Checkpoint.open(Fixtures.digits)
        var options = Converter.Options(target: target)
        options.chunkByteCount = 1 << 16
        options.rounding = rounding
        let result = try Converter.convert(
            ConversionSource(source), to: .file(folder("digits.safetensors.zst")), options: options,
            workers: WorkerPool(threadCount: 2))
        return (folder, source, try Archive(path: result.output), result)
    }

    @Test(arguments: [ConversionTarget.fp16, .fp32, .bf16])
    func floatArchiveOfBFloat16HoldsEveryValueExactly(target: ConversionTarget) throws {
        let (_, source, archive, result) = try convertDigits(target, rounding: .exact)
        #expect(archive.tensors.count == source.source.tensors.count)
        var kept = 0
        for tensor in source.source.tensors {
            let dtype = archive.info(tensor.name)?.dtype
            #expect(dtype == target.dtype || (target == .fp16 && dtype == .bf16))
            #expect(archive.info(tensor.name)?.shape == tensor.shape)
            let old = try independentValues(source.source, tensor.name)
            #expect(try independentValues(archive, tensor.name) == old, "\(tensor.name)")
            let report = try #require(result.tensors.first { $0.name == tensor.name })
            #expect(report.statistics.isExact)
            #expect(report.statistics.elements == old.count)
            if dtype != target.dtype {
                kept += 1
                #expect(old.contains { $0 != 0 && abs($0) < 0x1p-17 || abs($0) > 65504 })
                // What rounding would change, by the standard library's own conversion.
                #if arch(x86_64) || arch(arm64)
                    #expect(report.fp16Inexact == old.count { Float(Float16($0)) != $0 })
                #endif
            } else {
                #expect(report.fp16Inexact == 0)
            }
        }
        #expect(kept == (target == .fp16 ? 31 : 0))
        #expect(
            archive.manifest?.config.text(sortedKeys: true)
                == source.configJSON.text(sortedKeys: true))
        #expect(archive.manifest?.quantization == nil)
    }

    /// One value below 2⁻¹⁷ kept a whole tensor BF16, and with it most bytes of a real checkpoint.
    @Test(arguments: [HalfRoundingPolicy.negligible, .any])
    func fp16RoundsWhatItCannotHold(rounding: HalfRoundingPolicy) throws {
        let (_, source, archive, result) = try convertDigits(.fp16, rounding: rounding)
        var total = 0
        for tensor in source.source.tensors {
            #expect(archive.info(tensor.name)?.dtype == .f16)
            let old = try independentValues(source.source, tensor.name)
            let new = try independentValues(archive, tensor.name)
            let report = try #require(result.tensors.first { $0.name == tensor.name })
            let changed = zip(old, new).count { $0.0 != $0.1 }
            #expect(report.statistics.changed == changed, "\(tensor.name)")
            #expect(report.statistics.relativeRMS <= 1e-6, "\(tensor.name)")
            #expect(zip(old, new).allSatisfy { $0.0 == $0.1 || abs($0.0) < 0x1p-17 })
            total += changed
        }
        #expect(total > 0)
    }

    @Test("fp16 keeps tensors that it would clip or visibly round")
    func fp16KeepsWhatItWouldRuin() throws {
        let folder = try TemporaryFolder()
        var builder = SafetensorsBuilder()
        // 1.5 · 2⁻²⁵ becomes 2⁻²⁴: a third of its value, but 1e-8 of a tensor that holds 1.
        let tiny: UInt16 = 0x3340
        builder.add("small.weight", .bf16, [2], bits: [tiny, tiny])
        builder.add("mixed.weight", .bf16, [2], bits: [0x3F80, tiny])
        // Over the limit of 1e-6 where the rest is 2⁻⁷, under it where that is 2⁻⁶.
        builder.add("over.weight", .bf16, [2], bits: [0x3C00, tiny])
        builder.add("under.weight", .bf16, [2], bits: [0x3C80, tiny])
        builder.add("large.weight", .bf16, [2], bits: [0x3F80, 0x4780])
        builder.add("wide.weight", [2], [1, 65536])
        builder.add("fine.weight", [2], [1, 65504])
        let path = try folder.write("a.safetensors", builder.file)
        func types(_ rounding: HalfRoundingPolicy) throws -> [String: DType] {
            var options = Converter.Options(target: .fp16)
            options.rounding = rounding
            let plan = try Converter.plan(
                for: ConversionSource(SafetensorsFile(path: path)), options: options,
                workers: WorkerPool(threadCount: 1))
            return Dictionary(
                plan.decisions.map { ($0.tensor.name, $0.outputs[0].dtype) },
                uniquingKeysWith: { $1 })
        }
        let usual = try types(.negligible)
        #expect(
            usual == [
                "small.weight": .bf16, "mixed.weight": .f16, "over.weight": .bf16,
                "under.weight": .f16, "large.weight": .bf16, "wide.weight": .f32,
                "fine.weight": .f16,
            ])
        #expect(try types(.any).values.allSatisfy { $0 == .f16 })
        let exact = try types(.exact)
        #expect(exact.filter { $0.value == .f16 }.map(\.key) == ["fine.weight"])
    }

    @Test func int8ArchiveRoundsEachRowToItsScale() throws {
        let (_, source, archive, result) = try convertDigits(.int8)
        var quantized = 0
        for tensor in source.source.tensors {
            let report = try #require(result.tensors.first { $0.name == tensor.name })
            let old = try independentValues(source.source, tensor.name)
            let new = try independentValues(archive, tensor.name)
            guard archive.info(tensor.name)?.dtype == .i8 else {
                #expect(old == new)
                #expect(report.statistics.isExact)
                continue
            }
            quantized += 1
            let scales = try independentValues(
                archive, tensor.name.replacingOccurrences(of: ".weight", with: ".scale"))
            let (rows, columns) = (tensor.shape[0], old.count / tensor.shape[0])
            #expect(scales.count == rows)
            var (error, power) = (0.0, 0.0)
            for row in 0..<rows {
                let range = row * columns..<(row + 1) * columns
                let largest = old[range].map(abs).max() ?? 0
                #expect(scales[row] == (largest > 0 ? largest / 127 : 1))
                #expect(new[range].allSatisfy { abs($0) <= 127 })
                for index in range {
                    let difference = Double(new[index] * scales[row]) - Double(old[index])
                    #expect(abs(difference) <= Double(scales[row]) * 0.5001)
                    error += difference * difference
                    power += Double(old[index]) * Double(old[index])
                }
            }
            let relative = (error / power).squareRoot()
            #expect(abs(report.statistics.relativeRMS - relative) < 1e-9, "\(tensor.name)")
            #expect((3e-3..<1.6e-2).contains(relative), "\(tensor.name): \(relative)")
        }
        // Four blocks of eight projections and two 1×1 convolutions.
        #expect(quantized == 40)
    }

    @Test func int8ConfigListsEveryWeightThatStaysFloat() throws {
        let (_, source, archive, _) = try convertDigits(.int8)
        let config = try #require(archive.manifest?.config)
        let quantization = try #require(config["quantization_config"])
        #expect(quantization == archive.manifest?.quantization)
        #expect(quantization["quant_method"]?.string == "sdnq")
        let listed = Set((quantization["modules_to_not_convert"]?.array ?? []).compactMap(\.string))
        let floats = archive.tensors.filter { $0.name.hasSuffix(".weight") && $0.dtype != .i8 }
        #expect(listed == Set(floats.map(\.name)))
        #expect(!listed.isEmpty)
        for member in source.configJSON.members ?? [] {
            #expect(config[member.key] == member.value)
        }
    }

    @Test func manifestIdentifiesSourceAndContent() throws {
        let (_, source, archive, result) = try convertDigits(.int8)
        let manifest = try #require(archive.manifest)
        let workers = WorkerPool(threadCount: 2)
        #expect(
            manifest.weightsDigest == (try WeightsDigest.compute(source.source, workers: workers)))
        #expect(
            manifest.sourceFiles == [
                .init(
                    name: "diffusion_pytorch_model.safetensors",
                    byteCount: source.files[0].fileBytes.count,
                    sha256: ContentHash.sha256(of: source.files[0].fileBytes).hexadecimal)
            ])
        #expect(manifest.sourceDType == "BF16")
        for (tensor, entry) in zip(archive.tensors, manifest.tensors) {
            #expect(
                entry.sha256 == ContentHash.sha256(of: try archive.bytes(of: tensor)).hexadecimal)
        }
        #expect(result.bytesOut == archive.byteCount)
        #expect(result.manifest?.text == manifest.text)
    }

    @Test func shardedSourceListsEveryFile() throws {
        let folder = try TemporaryFolder()
        let source = try Checkpoint.open(Fixtures.path + "/tiny/sharded-bf16")
        let result = try Converter.convert(
            ConversionSource(source), to: .file(folder("out.safetensors.zst")),
            options: .init(target: .fp16),
            workers: WorkerPool(threadCount: 2))
        let records = try #require(result.manifest).sourceFiles
        #expect(records.count == source.files.count)
        for (file, record) in zip(source.files, records) {
            #expect(record.sha256 == ContentHash.sha256(of: file.fileBytes).hexadecimal)
        }
    }

    @Test(arguments: ConversionTarget.allCases)
    func bytesDoNotDependOnThreadsOrRepetition(target: ConversionTarget) throws {
        let tiny = try TinyCheckpoint()
        let first = try fileBytes(tiny.convert(target, to: "a.zst", threads: 1).path)
        let second = try fileBytes(tiny.convert(target, to: "b.zst", threads: 2).path)
        let third = try fileBytes(tiny.convert(target, to: "c.zst", threads: 5).path)
        #expect(first == second)
        #expect(second == third)
    }

    @Test func everyTensorStartsAtAMultipleOfItsElementSize() throws {
        // Three int8 rows of 5 make 15 bytes, which must not push what follows off its alignment.
        let tiny = try TinyCheckpoint {
            $0.add("transformer_blocks.0.attn2.to_k.weight", [3, 5], (0..<15).map(Float.init))
        }
        let archive = try Archive(path: tiny.convert(.int8).path)
        for (tensor, offset) in zip(archive.header.tensors, archive.header.dataOffsets) {
            #expect(offset % max(tensor.dtype.bitWidth / 8, 1) == 0, "\(tensor.name)")
        }
        #expect(archive.headerBytes.count % 8 == 0)
        let names = archive.tensors.map(\.name)
        let scale = try #require(names.firstIndex(of: "transformer_blocks.0.attn1.to_q.scale"))
        #expect(names[scale + 1] == TinyCheckpoint.query)
    }

    @Test(arguments: ConversionTarget.allCases)
    func nonFiniteSourceIsRefusedByName(target: ConversionTarget) throws {
        let name = "transformer_blocks.0.attn2.to_v.weight"
        var values = [Float](repeating: 1, count: 64)
        values[41] = .nan
        let tiny = try TinyCheckpoint { $0.add(name, [4, 16], values) }
        let error = #expect(throws: ConversionError.self) { try tiny.convert(target) }
        #expect(error?.problem == .nonFinite(tensor: name, element: 41))
        #expect(error?.category == .badData)
        #expect(error?.remedy != nil)
        #expect(!tiny.folder.entries.contains { $0.contains(".zst") })
    }

    @Test func largestFloatsBecomeInt8WithoutOverflow() throws {
        let name = "transformer_blocks.0.attn2.to_v.weight"
        let largest = Float.greatestFiniteMagnitude
        let tiny = try TinyCheckpoint { $0.add(name, [2, 2], [largest, 1, -largest, 3]) }
        let (path, result) = try tiny.convert(.int8)
        let archive = try Archive(path: path)
        let scales = try independentValues(archive, name.replacing(".weight", with: ".scale"))
        #expect(scales.allSatisfy { ($0 * 127).isFinite })
        #expect(try independentValues(archive, name) == [127, 0, -127, 0])
        #expect(result.tensors.allSatisfy { $0.statistics.relativeRMS.isFinite })
    }

    @Test func existingOutputIsRefusedUnlessItMayBeReplaced() throws {
        let tiny = try TinyCheckpoint()
        try tiny.folder.write("out.safetensors.zst", [1, 2, 3])
        #expect(throws: OutputExistsError(path: tiny.folder("out.safetensors.zst"))) {
            try tiny.convert(.fp16)
        }
        #expect(try fileBytes(tiny.folder("out.safetensors.zst")) == [1, 2, 3])
        let (path, _) = try tiny.convert(.fp16) { $0.replaceExisting = true }
        #expect(try Archive(path: path).tensors.count == 6)
    }

    @Test func failedConversionLeavesTheOldOutputAndNothingElse() throws {
        // The last tensor in the order of writing is broken: most frames are on disk by then.
        let tiny = try TinyCheckpoint { $0.add("zzz", [2], [1, .infinity]) }
        try tiny.folder.write("out.safetensors.zst", [1, 2, 3])
        let before = tiny.folder.entries
        #expect(throws: ConversionError.self) {
            try tiny.convert(.fp32) { ($0.replaceExisting, $0.chunkByteCount) = (true, 8) }
        }
        #expect(tiny.folder.entries == before)
        #expect(try fileBytes(tiny.folder("out.safetensors.zst")) == [1, 2, 3])
    }

    /// A mapped file stays in memory until it is let go of: converting 9.6 GB of weights would take
    /// 9.6 GB.
    @Test(arguments: [ConversionTarget.int8, .fp16, .fp32])
    func pagesOfSourceAndArchiveAreLetGo(target: ConversionTarget) throws {
        let (folder, source, archive, _) = try convertDigits(target)
        let file = source.files[0].fileBytes
        #expect(try #require(residentByteCount(ofMapping: file)) <= 512 << 10)
        let workers = WorkerPool(threadCount: 2)
        try archive.verify(using: workers)
        #expect(try #require(residentByteCount(ofMapping: archive.file)) <= 512 << 10)
        try archive.unpack(to: folder("unpacked.safetensors"), workers: workers)
        #expect(try #require(residentByteCount(ofMapping: archive.file)) <= 512 << 10)
    }

    @Test func optionsOutOfRangeAreRefused() throws {
        let tiny = try TinyCheckpoint()
        for (level, chunk) in [(0, 32), (20, 32), (1, 0), (1, 12), (1, 16 << 20)] {
            let error = #expect(throws: ConversionError.self) {
                try tiny.convert(.fp16) { ($0.level, $0.chunkByteCount) = (level, chunk) }
            }
            #expect(error?.category == .usage)
        }
    }

    @Test func progressEndsAtTheTotal() throws {
        let tiny = try TinyCheckpoint()
        var options = Converter.Options(target: .fp16)
        options.chunkByteCount = 32
        nonisolated(unsafe) var calls: [(Int, Int)] = []
        let result = try Converter.convert(
            ConversionSource(tiny.checkpoint), to: .file(tiny.folder("p.zst")), options: options,
            workers: WorkerPool(threadCount: 1)
        ) { calls.append(($0, $1)) }
        #expect(calls.count > 1)
        #expect(zip(calls, calls.dropFirst()).allSatisfy { $0.0 < $1.0 })
        #expect(calls.last?.0 == result.manifest?.contentByteCount)
        #expect(calls.allSatisfy { $0.1 == result.manifest?.contentByteCount })
    }
}
