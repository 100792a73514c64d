import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaQuant

/// What stands on the disk is read back before it gets its name. A byte is changed here, by another
/// descriptor, after all values are written and before they are read.
@Suite struct ReadBackTests {
    private let tiny: TinyCheckpoint
    private let old: [UInt8] = [1, 2, 3]

    init() throws { tiny = try TinyCheckpoint() }

    private static func name(_ container: Container) -> String {
        container == .archive ? "out.safetensors.zst" : "out.safetensors"
    }

    /// Converts over an output of before and flips a bit of byte `index` of what is written.
    private func convert(
        _ container: Container, flipping index: Int?, verifies: Bool
    ) throws -> (written: Int, bytes: [UInt8]) {
        let name = Self.name(container)
        try tiny.folder.write(name, old)
        var options = Converter.Options(target: .int8)
        (options.chunkByteCount, options.container) = (32, container)
        (options.replaceExisting, options.verifyWrite) = (true, verifies)
        let temporary = tiny.folder(
            ".\(name).tmp-\(ProcessInfo.processInfo.processIdentifier)")
        var written = 0
        _ = try Converter.convert(
            ConversionSource(tiny.checkpoint), to: .file(tiny.folder(name)), options: options,
            workers: WorkerPool(threadCount: 2)
        ) { completed, total in
            guard completed == total, let bytes = try? fileBytes(temporary) else { return }
            written = bytes.count
            guard let index, let file = FileHandle(forUpdatingAtPath: temporary) else { return }
            try? file.seek(toOffset: UInt64(index))
            try? file.write(contentsOf: [bytes[index] ^ 0x10])
            try? file.close()
        }
        return (written, try fileBytes(tiny.folder(name)))
    }

    @Test(
        .tags(.slow), arguments: [Container.archive, .safetensors(maximumShardByteCount: 1 << 20)])
    func byteThatChangesOnTheDiskIsNoticed(container: Container) throws {
        let count = try convert(container, flipping: nil, verifies: true).written
        #expect(count > 500)
        // The header's bytes, too: names, offsets and metadata.
        for index in stride(from: 0, to: count, by: 3) {
            let error = #expect(throws: ConversionError.self, "byte \(index)") {
                try convert(container, flipping: index, verifies: true)
            }
            guard case .readBack = error?.problem else {
                Issue.record("byte \(index): \(String(describing: error))")
                continue
            }
            #expect(error?.category == .inputOutput)
            #expect(error?.remedy != nil)
            #expect(try fileBytes(tiny.folder(Self.name(container))) == old)
        }
        #expect(tiny.folder.entries.allSatisfy { !$0.contains(".tmp-") })
    }

    @Test(arguments: [Container.archive, .safetensors(maximumShardByteCount: 1 << 20)])
    func byteThatChangesPassesWhereNothingIsReadBack(container: Container) throws {
        let whole = try convert(container, flipping: nil, verifies: false)
        let index = whole.written - 1
        let broken = try convert(container, flipping: index, verifies: false).bytes
        try #require(broken.count == whole.bytes.count)
        #expect(broken[index] == whole.bytes[index] ^ 0x10)
        #expect(broken.indices.filter { broken[$0] != whole.bytes[$0] } == [index])
        if container == .archive { #expect(brokenRule(broken) != nil) }
    }
}
