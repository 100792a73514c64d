import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaQuant

/// Archives whose int8 scales were searched.
@Suite struct ScaleTests {
    private func convert(
        _ scales: Int8Scales, threads: Int, in folder: TemporaryFolder
    ) throws -> (path: String, result: ConversionResult) {
        let path = folder("\(scales.rawValue)-\(threads).safetensors.zst")
        var options = Converter.Options(target: .int8)
        (options.scales, options.chunkByteCount) = (scales, 1 << 16)
        let result = try Converter.convert(
            ConversionSource(Checkpoint.open(Fixtures.digits)), to: .file(path), options: options,
            workers: WorkerPool(threadCount: threads))
        return (path, result)
    }

    @Test func searchedScalesGiveTheSameLayoutWithSmallerErrors() throws {
        let folder = try TemporaryFolder()
        let absmax = try convert(.absmax, threads: 2, in: folder)
        let searched = try convert(.squaredError, threads: 2, in: folder)
        let (one, other) = try (Archive(path: absmax.path), Archive(path: searched.path))
        #expect(one.tensors == other.tensors)
        #expect(one.manifest?.config == other.manifest?.config)
        var smaller = 0
        for (old, new) in zip(absmax.result.tensors, searched.result.tensors) {
            #expect(new.statistics.relativeRMS <= old.statistics.relativeRMS, "\(new.name)")
            if new.statistics.relativeRMS < old.statistics.relativeRMS { smaller += 1 }
        }
        // Only a searched scale clips, and reports say how often.
        #expect(absmax.result.tensors.allSatisfy { $0.statistics.clipped == 0 })
        #expect(searched.result.tensors.contains { $0.statistics.clipped > 0 })
        #expect(smaller == other.tensors.count { $0.dtype == .i8 })
        #expect(smaller > 10)
        for (archive, name) in [(one, "absmax"), (other, "squared-error")] {
            let record = try #require(archive.manifest?.quantizationRecord?.array)
            for entry in record {
                #expect(entry["scales"]?.string == (entry["to"]?.string == "I8" ? name : nil))
            }
        }
        // Folders open as checkpoints and hold the archive's values.
        try other.unpack(to: folder("unpacked"), workers: WorkerPool(threadCount: 2))
        let checkpoint = try Checkpoint.open(folder("unpacked"))
        #expect(checkpoint.source.tensors == other.tensors)
    }

    @Test(.tags(.slow)) func threadsDoNotShowInSearchedScales() throws {
        let folder = try TemporaryFolder()
        let files = try [1, 2, 3].map {
            try fileBytes(convert(.squaredError, threads: $0, in: folder).path)
        }
        #expect(files[0] == files[1])
        #expect(files[1] == files[2])
    }
}
