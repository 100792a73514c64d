import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaQuant

/// Archives made to mislead. Every one ends in an error that names the rule, or in the same content
/// as the honest one.
@Suite struct HostileArchiveTests {
    private let honest: [UInt8]
    private let content: [[UInt8]]

    init() throws {
        let tiny = try TinyCheckpoint()
        honest = try fileBytes(tiny.convert(.int8).path)
        content = try readEverything(openArchive(honest))
    }

    /// The rule that an archive breaks after `edit` has had its way with it.
    private func broken(_ edit: (inout ArchiveParts) -> Void) -> ArchiveError.Rule? {
        var parts = ArchiveParts(honest)
        edit(&parts)
        return brokenRule(parts.file)
    }

    @Test func honestArchiveBreaksNoRule() {
        #expect(brokenRule(honest) == nil)
        #expect(content.contains { !$0.isEmpty })
        #expect(broken { _ in } == nil)
    }

    @Test func truncationAnywhereIsRefused() throws {
        // Without manifest and table it is what any zstd makes of a file: whole, and known as such.
        let data = ArchiveParts(honest).frames.dropLast().reduce(0) { $0 + $1.count }
        for count in 0..<honest.count where count != data {
            #expect(brokenRule(Array(honest[..<count])) != nil, "cut at \(count)")
        }
        let rest = try openArchive(Array(honest[..<data]))
        #expect(rest.manifest == nil)
        #expect(try readEverything(rest) == content)
    }

    @Test func archiveCutOffBehindItsManifestIsTruncated() {
        let end = ArchiveParts(honest).frames.reduce(0) { $0 + $1.count }
        #expect(brokenRule(Array(honest[..<end])) == .tableMissing)
        var footer = honest
        footer[footer.count - 1] ^= 1
        #expect(brokenRule(footer) == .tableMissing)
    }

    @Test(.tags(.slow), arguments: [UInt8(0x01), 0x10, 0x80, 0xFF])
    func mutationOfAnyByteIsNoticed(mask: UInt8) throws {
        let data = ArchiveParts(honest).frames.dropLast().reduce(0) { $0 + $1.count }
        for index in honest.indices {
            var bytes = honest
            bytes[index] ^= mask
            guard brokenRule(bytes) == nil else { continue }
            // zstd can say the same thing in two ways; nothing else in the file can.
            #expect(index < data, "byte \(index)")
            #expect(try readEverything(openArchive(bytes)) == content, "byte \(index)")
        }
    }

    // MARK: Small files that unpack to much

    /// A safetensors file in frames of any zstd.
    private func foreign(_ header: String, _ frames: [[UInt8]]) -> [UInt8] {
        zstdFrame(littleEndianBytes(UInt64(header.utf8.count)) + Array(header.utf8))
            + frames.flatMap { $0 }
    }

    @Test func fewBytesThatUnpackToManyAreRefused() throws {
        let count = 9 << 20
        let one = zstdFrame([UInt8](repeating: 0, count: count))
        let header = #"{"a":{"dtype":"U8","shape":[\#(count)],"data_offsets":[0,\#(count)]}}"#
        #expect(
            brokenRule(foreign(header, [one])) == .expands(byteCount: count, stored: one.count))
        // Each frame is small enough, and all are not.
        let part = zstdFrame([UInt8](repeating: 0, count: 8 << 20))
        let all = 9 * 8 << 20
        let long = #"{"a":{"dtype":"U8","shape":[\#(all)],"data_offsets":[0,\#(all)]}}"#
        let file = foreign(long, [[UInt8]](repeating: part, count: 9))
        #expect(
            brokenRule(file)
                == .expands(byteCount: all + long.utf8.count + 8, stored: file.count))
    }

    /// Frames that are small enough each, in a file that promises a thousand times its size.
    @Test func contentThatIsTooMuchForTheFileIsRefusedWhenItIsOpened() {
        let part = zstdFrame([UInt8](repeating: 0, count: 8 << 20))
        let count = 132 * 8 << 20
        let header = #"{"a":{"dtype":"U8","shape":[\#(count)],"data_offsets":[0,\#(count)]}}"#
        let file = foreign(header, [[UInt8]](repeating: part, count: 132))
        let error = #expect(throws: ArchiveError.self) { try openArchive(file) }
        #expect(
            error?.rule
                == .expands(byteCount: count + header.utf8.count + 8, stored: file.count))
    }

    @Test func framesWithoutEndAreRefused() {
        var file = zstdFrame([0])
        let frame = file
        for _ in 0..<20 { file += file }
        #expect(brokenRule(file + frame) == .frameCount(1 << 20 + 1))
    }

    @Test func frameOfManyTensorsIsDecodedOnce() throws {
        let (count, size) = (2000, 4000)
        let members = (0..<count).map {
            #""t\#($0)":{"dtype":"U8","shape":[\#(size)],"data_offsets":[\#($0 * size),\#(($0 + 1) * size)]}"#
        }
        let header = "{" + members.joined(separator: ",") + "}"
        var content = [UInt8](repeating: 0, count: count * size)
        for index in 0..<count { content[index * size] = UInt8(truncatingIfNeeded: index) }
        let archive = try openArchive(foreign(header, [zstdFrame(content)]))
        let start = ContinuousClock.now
        for tensor in archive.tensors {
            let first = try archive.bytes(of: tensor).withUnsafeBytes { $0[0] }
            let number = try #require(Int(tensor.name.dropFirst()))
            #expect(first == UInt8(truncatingIfNeeded: number))
        }
        // 16 GB, were it decoded for each.
        #expect(ContinuousClock.now - start < .seconds(2))
    }

    // MARK: The table

    @Test func footerRules() {
        #expect(broken { $0.descriptor = 0 } == .tableWithoutChecksums)
        #expect(broken { $0.descriptor = 0x84 } == .tableReservedBits(0x84))
        #expect(broken { $0.listedCount = 0 } == .frameCount(0))
        #expect(broken { $0.listedCount = 1 << 21 } == .frameCount(1 << 21))
        #expect(broken { $0.listedCount = 5000 } == .tableOutsideFile(frames: 5000))
        #expect(broken { $0.tableMagic = 0x184D_2A5F } == .tableMagic(0x184D_2A5F))
        #expect(broken { $0.tableLength = 8 } == .tableLength(8))
        #expect(brokenRule([]) == .foreign(.empty))
        #expect(
            brokenRule(Array("version https://git-lfs.github.com/spec/v1\n".utf8))
                == .foreign(.lfsPointer))
        #expect(brokenRule([1, 2, 3, 4, 5]) == .notArchive)
    }

    @Test func tableThatLiesAboutSizes() {
        let total = ArchiveParts(honest).frames.reduce(0) { $0 + $1.count }
        #expect(
            broken { $0.entries[1].compressed += 1 }
                == .compressedSum(described: UInt64(total + 1), present: total))
        #expect(
            broken { parts in
                parts.entries[1].compressed += 1
                parts.entries[2].compressed -= 1
            } != nil)
        #expect(
            broken { $0.entries[2].decompressed = 65 << 20 }
                == .frameTooLarge(frame: 2, byteCount: 65 << 20))
        #expect(
            broken { $0.entries[0].decompressed = 100_000_009 }
                == .frameTooLarge(frame: 0, byteCount: 100_000_009))
        #expect(broken { $0.entries[2].decompressed = 0 } == .emptyFrame(2))
        #expect(broken { $0.entries[2].decompressed += 1 } != nil)
        let size = Int(ArchiveParts(honest).entries[0].decompressed)
        #expect(
            broken { $0.entries[0].decompressed -= 1 }
                == .frame(
                    0, .init(defect: .contentSize(expected: size - 1, actual: UInt64(size)))))
    }

    @Test func tableThatClaimsMoreThanTheLimitForAllFrames() {
        // 5000 frames of 64 MiB: over 256 GiB, and refused before anything is read.
        let rule = broken { parts in
            parts.entries.insert(
                contentsOf: Array(
                    repeating: .init(compressed: 0, decompressed: 64 << 20, checksum: 0),
                    count: 5000),
                at: 1)
        }
        guard case .contentTooLarge = rule else {
            Issue.record("\(String(describing: rule))")
            return
        }
    }

    @Test func framesInAnotherOrder() {
        #expect(
            broken { parts in
                parts.frames.swapAt(1, 2)
                parts.entries.swapAt(1, 2)
            } != nil)
        #expect(broken { $0.frames.swapAt(1, 2) } != nil)
        #expect(broken { $0.entries[1].checksum ^= 1 } != nil)
    }

    @Test func frameThatSpansTwoTensors() throws {
        let rule = broken { parts in
            // The last piece of one tensor and the first of the next.
            let header = try? openArchive(honest).manifest?.tensors
            guard let second = header?.first(where: { $0.firstFrame > 1 && $0.frameCount > 0 })
            else { return }
            let index = second.firstFrame
            let joined = parts.content(index - 1) + parts.content(index)
            parts.replace(index - 1, with: zstdFrame(joined), decompressed: joined.count)
            parts.frames.remove(at: index)
            parts.entries.remove(at: index)
        }
        guard case .tensorBoundary = rule else {
            Issue.record("\(String(describing: rule))")
            return
        }
    }

    // MARK: Frames

    @Test func frameRules() throws {
        let original = ArchiveParts(honest).content(1)
        func rule(_ frame: [UInt8]) -> ZstdFrame.Defect? {
            guard case .frame(1, let defect) = broken({ $0.replace(1, with: frame) }) else {
                return nil
            }
            return defect.defect
        }
        #expect(rule(zstdFrame(original)) == nil)
        #expect(rule(zstdFrame(original, checksum: false)) == .checksumMissing)
        #expect(rule(zstdFrame(original, contentSize: false)) == .contentSizeMissing)
        var dictionary = zstdFrame(original)
        dictionary[4] |= 1
        dictionary.insert(9, at: 5)
        #expect(rule(dictionary) == .dictionary)
        var reserved = zstdFrame(original)
        reserved[4] |= 8
        #expect(rule(reserved) == .reservedBit)
        #expect(rule([0x50, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 1, 1]) == .magic(0x184D_2A50))
        #expect(rule([0x28, 0xB5, 0x2F]) == .truncated)
        let good = zstdFrame(original)
        #expect(rule(good + good) == .compressedSize(expected: 2 * good.count, actual: good.count))
        #expect(rule(Array(good.dropLast(5))) != nil)
    }

    @Test func frameOfOtherContentIsCaughtByTheTensorHash() throws {
        var parts = ArchiveParts(honest)
        var other = parts.content(1)
        other[0] ^= 1
        parts.replace(1, with: zstdFrame(other))
        let name = try #require(openArchive(honest).tensors.first?.name)
        #expect(brokenRule(parts.file) == .hash(of: "tensor '\(name)'"))
    }

    @Test func bombIsRefusedBeforeItIsUnpacked() {
        // 64 MiB of zeros in a few KB, where the table promises 32 bytes.
        let bomb = zstdFrame([UInt8](repeating: 0, count: 64 << 20))
        #expect(bomb.count < 1 << 16)
        let expected = Int(ArchiveParts(honest).entries[1].decompressed)
        #expect(
            broken { $0.replace(1, with: bomb) }
                == .frame(1, .init(defect: .contentSize(expected: expected, actual: 64 << 20))))
        // Without a table the frame's own word is all there is: one frame may not be larger than
        // the header's.
        #expect(
            brokenRule(zstdFrame([UInt8](repeating: 0, count: 101_000_000)))
                == .frameTooLarge(frame: 0, byteCount: 101_000_000))
    }

    @Test func contentLargerThanMemoryIsRefusedBeforeItIsAllocated() {
        // A header of 255 GiB of zeros and a table that agrees.
        let (piece, count) = (64 << 20, 4000)
        let json =
            #"{"w":{"dtype":"I8","shape":[\#(piece * count)],"data_offsets":[0,\#(piece * count)]}}"#
        let header = zstdFrame(littleEndianBytes(UInt64(json.utf8.count)) + Array(json.utf8))
        var parts = ArchiveParts(honest)
        (parts.frames, parts.entries) = ([], [])
        let bomb = zstdFrame([UInt8](repeating: 0, count: piece))
        for (frame, size) in [(header, json.utf8.count + 8)]
            + Array(repeating: (bomb, piece), count: count)
        {
            parts.frames.append([])
            parts.entries.append(.init(compressed: 0, decompressed: 0, checksum: 0))
            parts.replace(parts.frames.count - 1, with: frame, decompressed: size)
        }
        #expect(brokenRule(parts.file) == .expands(byteCount: piece, stored: bomb.count))
    }

    // MARK: The manifest

    private func brokenManifest(_ old: String, _ new: String) -> ArchiveError.Rule? {
        let manifest = ArchiveParts(honest).unsignedManifest
        #expect(manifest.contains(old), "the test replaces what is not there: \(old)")
        return broken { $0.manifest = manifest.replacingOccurrences(of: old, with: new) }
    }

    @Test func manifestFrameRules() {
        func isManifestFrame(_ rule: ArchiveError.Rule?) -> Bool {
            if case .manifestFrame = rule { true } else { false }
        }
        #expect(isManifestFrame(broken { $0.entries[$0.entries.count - 1].checksum = 1 }))
        for byte in [0, 4, 8] {
            #expect(isManifestFrame(broken { $0.frames[$0.frames.count - 1][byte] ^= 1 }))
        }
        #expect(
            isManifestFrame(
                broken { parts in
                    parts.frames[parts.frames.count - 1] = [0x5A, 0x2A, 0x4D, 0x18, 0, 0, 0, 0]
                    parts.entries[parts.entries.count - 1].compressed = 8
                }))
        guard case .manifestJSON = broken({ $0.manifest = "{" }) else {
            Issue.record("broken JSON passed")
            return
        }
        #expect(broken { $0.manifest = "{}" } == .manifestField("format"))
    }

    @Test(.tags(.slow)) func everyByteOfTheManifestIsGuarded() throws {
        let parts = ArchiveParts(honest)
        let frame = parts.frames.count - 1
        for index in parts.frames[frame].indices.dropFirst(16) {
            let rule = broken { $0.frames[frame][index] ^= 1 }
            #expect(rule != nil, "byte \(index)")
        }
    }

    @Test func manifestOfAnotherFormatVersionOrProfile() throws {
        #expect(brokenManifest("sana-tools.safetensors-zst", "other") == .format("other"))
        #expect(brokenManifest(#""version":[1,0]"#, #""version":[2,0]"#) == .version("2.0"))
        #expect(brokenManifest(#""version":[1,0]"#, #""version":[1,0]"#) == nil)
        for minor in 1...3 {
            #expect(
                brokenManifest(#""version":[1,0]"#, #""version":[1,\#(minor)]"#)
                    == .manifestField("manifest_sha256"))
        }
        var later = try #require(openArchive(honest).manifest)
        later.version = [1, 7]
        #expect(broken { $0.manifest = later.text } == nil)
        #expect(brokenManifest(#""plain""#, #""planes32""#) == .profile("planes32"))
        guard case .contradiction = brokenManifest(#""plain""#, #""planes16""#) else {
            Issue.record("a plain archive passed as one of planes")
            return
        }
        #expect(brokenManifest(#"{"chunk_bytes""#, #"{"aaa":[null],"chunk_bytes""#) == nil)
        #expect(brokenManifest(#""tool":"#, #""tull":"#) == .manifestField("tool"))
    }

    @Test func manifestThatContradictsTheFile() throws {
        func isContradiction(_ rule: ArchiveError.Rule?) -> Bool {
            if case .contradiction = rule { true } else { false }
        }
        let manifest = try #require(openArchive(honest).manifest)
        let first = manifest.tensors[0]
        #expect(isContradiction(brokenManifest(#""chunk_bytes":32"#, #""chunk_bytes":64"#)))
        #expect(isContradiction(brokenManifest(#"[["\#(first.name)","#, #"[["another","#)))
        #expect(
            isContradiction(
                brokenManifest(
                    #""\#(first.name)",\#(first.firstFrame),\#(first.frameCount),"#,
                    #""\#(first.name)",\#(first.firstFrame),\#(first.frameCount + 1),"#)))
        #expect(
            isContradiction(
                brokenManifest(
                    #""size":\#(manifest.contentByteCount)}"#,
                    #""size":\#(manifest.contentByteCount + 1)}"#)))
        #expect(
            isContradiction(
                brokenManifest(#""root":"\#(manifest.root)"#, #""root":"\#(first.sha256)"#)))
        #expect(isContradiction(brokenManifest(first.sha256, String(repeating: "a", count: 64))))
        #expect(
            isContradiction(brokenManifest(#""quantization":{"#, #""quantization":{"more":1,"#)))
        var other = manifest
        other.headerSHA256 = first.sha256
        #expect(isContradiction(broken { $0.manifest = other.text }))
        other = manifest
        other.tensors.removeLast()
        #expect(isContradiction(broken { $0.manifest = other.text }))
        other = manifest
        other.tensors.append(first)
        #expect(isContradiction(broken { $0.manifest = other.text }))
    }

    @Test func manifestWithTheHashOfAnotherTensor() throws {
        var manifest = try #require(openArchive(honest).manifest)
        let first = manifest.tensors[0]
        manifest.tensors[0] = .init(
            name: first.name, firstFrame: first.firstFrame, frameCount: first.frameCount,
            sha256: manifest.tensors[1].sha256)
        #expect(broken { $0.manifest = manifest.text } == .hash(of: "tensor '\(first.name)'"))
    }

    @Test func otherContentThanTheManifestSaysIsRefusedWhenAllIsLoaded() throws {
        let workers = WorkerPool(threadCount: 2)
        #expect(throws: Never.self) { try openArchive(honest).verifiedResident(using: workers) }
        for index in 1..<ArchiveParts(honest).frames.count - 1 {
            var parts = ArchiveParts(honest)
            var other = parts.content(index)
            other[other.count - 1] ^= 1
            // A valid frame, listed truly: only hashes can tell.
            parts.replace(index, with: zstdFrame(other))
            let archive = try openArchive(parts.file)
            #expect(throws: Never.self) { try archive.resident(using: workers) }
            let error = #expect(throws: ArchiveError.self, "frame \(index)") {
                try archive.verifiedResident(using: workers)
            }
            guard case .hash = error?.rule else {
                Issue.record("frame \(index): \(String(describing: error))")
                continue
            }
        }
    }

    @Test func everyRuleHasAMessageOfOneLine() {
        let archive = ArchiveError("a\u{1B}[31m.zst", .contradiction("tensor 'x\u{7}\n'"))
        #expect(!archive.description.unicodeScalars.contains { $0.value < 0x20 })
        #expect(archive.category == .badData)
        #expect(archive.remedy != nil)
    }
}
