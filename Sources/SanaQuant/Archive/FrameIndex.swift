import CZstd
import SanaModel
import Synchronization

/// Where the frames of an archive are, and its manifest's frame.
struct FrameIndex {
    private(set) var frames: [Archive.Frame] = []
    private(set) var contentByteCount = 0
    /// The manifest's JSON in the file.
    private(set) var manifestRange: Range<Int>?

    static let manifestMagic: UInt32 = 0x184D_2A5A
    static let manifestSignature = Array("SANAMAN1".utf8)
    /// Low half of XXH64 of nothing.
    static let emptyChecksum: UInt32 = 0x51D8_E999
    /// Bytes before the manifest's JSON.
    static let manifestStart = SeekTable.skippableHeaderByteCount + manifestSignature.count

    /// Lays out the frames that a table describes. No frame is read but the manifest's.
    init(_ table: SeekTable, _ file: UnsafeRawBufferPointer) throws(ArchiveError.Rule) {
        var offset = 0
        for (index, entry) in table.entries.enumerated() {
            let size = Int(entry.compressed)
            if entry.decompressed == 0 {
                guard index > 0, index == table.entries.count - 1 else { throw .emptyFrame(index) }
                guard entry.checksum == Self.emptyChecksum else {
                    throw .manifestFrame("has the wrong checksum in the table")
                }
                manifestRange = try Self.manifestRange(in: file, offset..<offset + size)
            } else {
                try append(
                    offset: offset, byteCount: size, content: UInt64(entry.decompressed),
                    checksum: entry.checksum)
            }
            offset += size
        }
        try checkRatio(file)
    }

    /// Finds the frames of a `.zst` file without a table. One with a manifest had a table, which
    /// was cut off.
    init(scanning file: UnsafeRawBufferPointer) throws(ArchiveError.Rule) {
        var offset = 0
        while offset < file.count {
            let rest = file.part(offset, file.count - offset)
            guard rest.count >= SeekTable.skippableHeaderByteCount else { throw .notArchive }
            if rest.littleEndian32(at: 0) & 0xFFFF_FFF0 == 0x184D_2A50 {
                let size = SeekTable.skippableHeaderByteCount + Int(rest.littleEndian32(at: 4))
                guard size <= rest.count else {
                    throw .frame(frames.count, .init(defect: .truncated))
                }
                guard !Self.isManifest(rest.part(0, size)) else { throw .tableMissing }
                offset += size
                continue
            }
            let header: ZstdFrame
            do { header = try ZstdFrame(rest) } catch {
                if case .magic = error, frames.isEmpty { throw .notArchive }
                throw .frame(frames.count, .init(defect: error))
            }
            guard frames.count < ArchiveLimits.frameCount else {
                throw .frameCount(frames.count + 1)
            }
            let size = ZSTD_findFrameCompressedSize(rest.baseAddress, rest.count)
            if let message = zstdError(size) {
                throw .frame(frames.count, .init(defect: .decoding(message)))
            }
            if header.contentByteCount > 0 {
                try append(
                    offset: offset, byteCount: size, content: header.contentByteCount, checksum: nil
                )
            }
            offset += size
        }
        guard !frames.isEmpty else { throw .notArchive }
        try checkRatio(file)
    }

    private func checkRatio(_ file: UnsafeRawBufferPointer) throws(ArchiveError.Rule) {
        for frame in frames {
            let limit = ArchiveLimits.frameByteCount(stored: frame.byteCount)
            guard frame.contentByteCount <= limit else {
                throw .expands(byteCount: frame.contentByteCount, stored: frame.byteCount)
            }
        }
        guard contentByteCount <= ArchiveLimits.contentByteCount(stored: file.count) else {
            throw .expands(byteCount: contentByteCount, stored: file.count)
        }
    }

    private mutating func append(
        offset: Int, byteCount: Int, content: UInt64, checksum: UInt32?
    ) throws(ArchiveError.Rule) {
        let limit =
            frames.isEmpty ? ArchiveLimits.headerFrameByteCount : ArchiveLimits.frameByteCount
        guard content <= UInt64(limit) else {
            throw .frameTooLarge(frame: frames.count, byteCount: content)
        }
        let start = contentByteCount
        contentByteCount += Int(content)
        guard contentByteCount <= ArchiveLimits.contentByteCount else {
            throw .contentTooLarge(UInt64(contentByteCount))
        }
        frames.append(
            .init(
                offset: offset, byteCount: byteCount, contentOffset: start,
                contentByteCount: Int(content), checksum: checksum))
    }

    // MARK: Manifest

    /// Whether a skippable frame is a manifest's by its first bytes.
    private static func isManifest(_ frame: UnsafeRawBufferPointer) -> Bool {
        frame.count >= manifestStart && frame.littleEndian32(at: 0) == manifestMagic
            && frame.part(SeekTable.skippableHeaderByteCount, manifestSignature.count)
                .elementsEqual(manifestSignature)
    }

    private static func manifestRange(
        in file: UnsafeRawBufferPointer, _ range: Range<Int>
    ) throws(ArchiveError.Rule) -> Range<Int> {
        guard range.count >= manifestStart else { throw .manifestFrame("is truncated") }
        let frame = file.part(range.lowerBound, range.count)
        guard frame.littleEndian32(at: 0) == manifestMagic else {
            throw .manifestFrame("is not the skippable frame of a manifest")
        }
        guard
            Int(frame.littleEndian32(at: 4)) == range.count - SeekTable.skippableHeaderByteCount
        else { throw .manifestFrame("has a length that differs from the table's") }
        let signature = frame.part(
            SeekTable.skippableHeaderByteCount, manifestSignature.count)
        guard signature.elementsEqual(manifestSignature) else {
            throw .manifestFrame("has no signature SANAMAN1")
        }
        guard range.count - manifestStart <= ArchiveLimits.manifestByteCount else {
            throw .manifestFrame("is longer than \(ArchiveLimits.manifestByteCount) bytes")
        }
        return range.lowerBound + manifestStart..<range.upperBound
    }

    /// The skippable frame that holds `manifest`.
    static func manifestFrame(_ manifest: Archive.Manifest) -> [UInt8] {
        let text = Array(manifest.text.utf8)
        var frame: [UInt8] = []
        frame.appendLittleEndian(manifestMagic)
        frame.appendLittleEndian(UInt32(manifestSignature.count + text.count))
        return frame + manifestSignature + text
    }

    /// Reads the manifest; `nil` when there is none.
    func manifest(in file: ByteView) throws(ArchiveError.Rule) -> Archive.Manifest? {
        guard let manifestRange else { return nil }
        let text = file.slice(manifestRange.lowerBound, manifestRange.count)
        let json: JSONValue
        do {
            json = try text.withUnsafeBytes { (bytes) throws(JSONError) in
                try JSONScanner.parse(bytes)
            }
        } catch { throw .manifestJSON(error) }
        return try Archive.Manifest(json)
    }
}

/// Random access to the content of frames.
struct FrameReader {
    let file: ByteView
    let frames: [Archive.Frame]
    let decoders: FreeList<FrameDecoder>
    let cache: FrameCache

    /// Decodes one frame into `target`, which has exactly its size, and lets go of its pages: most
    /// readers take every frame once.
    ///
    /// - Throws: `ArchiveError.Rule`.
    func decode(_ index: Int, into target: UnsafeMutableRawBufferPointer) throws {
        let frame = frames[index]
        let bytes = file.slice(frame.offset, frame.byteCount)
        defer { bytes.releasePages() }
        do {
            try decoders.with { decoder in
                try bytes.withUnsafeBytes {
                    try decoder.decode($0, checksum: frame.checksum, into: target)
                }
            }
        } catch let defect as ZstdFrame.Defect {
            throw ArchiveError.Rule.frame(index, .init(defect: defect))
        }
    }

    /// Decodes the frames that hold `range` of the content, which must be inside it.
    func read(_ range: Range<Int>) throws -> ByteView {
        let first = firstFrame(endingAfter: range.lowerBound)
        if first < frames.count {
            let frame = frames[first].contentOffset..<frames[first].contentEnd
            // Many tensors may be in a frame that no table cuts.
            if frame != range, frame.lowerBound <= range.lowerBound,
                range.upperBound <= frame.upperBound
            {
                return try whole(first).slice(range.lowerBound - frame.lowerBound, range.count)
            }
        }
        return try ByteView(count: range.count) { target in
            var index = first
            while index < frames.count, frames[index].contentOffset < range.upperBound {
                let frame = frames[index]
                let content = frame.contentOffset..<frame.contentEnd
                let common = content.clamped(to: range)
                let start = common.lowerBound - range.lowerBound
                let part = UnsafeMutableRawBufferPointer(
                    rebasing: target[start..<start + common.count])
                if common == content {
                    try decode(index, into: part)
                } else {
                    let skipped = common.lowerBound - content.lowerBound
                    try whole(index).slice(skipped, common.count).withUnsafeBytes {
                        part.copyMemory(from: $0)
                    }
                }
                index += 1
            }
        }
    }

    /// The content of a frame, decoded once for all that is in it.
    private func whole(_ index: Int) throws -> ByteView {
        try cache.frame(index) {
            try ByteView(count: frames[index].contentByteCount) { try decode(index, into: $0) }
        }
    }

    private func firstFrame(endingAfter offset: Int) -> Int {
        var (low, high) = (0, frames.count)
        while low < high {
            let middle = (low + high) / 2
            if frames[middle].contentEnd > offset { high = middle } else { low = middle + 1 }
        }
        return low
    }
}

/// The frame that was decoded last, for those who need other parts of it.
final class FrameCache: Sendable {
    private let last = Mutex<(index: Int, content: ByteView)?>(nil)

    /// The frame, from `decode` unless it is the last one. Others wait for it.
    func frame(_ index: Int, decode: () throws -> ByteView) throws -> ByteView {
        try last.withLock { last in
            if let last, last.index == index { return last.content }
            let content = try decode()
            last = (index, content)
            return content
        }
    }
}
