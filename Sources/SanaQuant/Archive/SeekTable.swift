/// The table at the end of an archive that says where its frames lie.
///
/// Source: zstd's seekable format, version 0.1.0 (`contrib/seekable_format` of the zstd
/// repository).
struct SeekTable: Equatable {
    struct Entry: Equatable {
        /// Bytes in the file.
        var compressed: UInt32
        /// Bytes of content.
        var decompressed: UInt32
        /// Low half of the content's XXH64, as in the frame's last four bytes.
        var checksum: UInt32
    }

    var entries: [Entry]

    static let skippableMagic: UInt32 = 0x184D_2A5E
    static let footerMagic: UInt32 = 0x8F92_EAB1
    /// Checksums present, all other bits 0.
    static let descriptor: UInt8 = 0x80
    static let entryByteCount = 12
    static let footerByteCount = 9
    static let skippableHeaderByteCount = 8

    /// Bytes of the whole skippable frame.
    var byteCount: Int {
        Self.skippableHeaderByteCount + Self.entryByteCount * entries.count + Self.footerByteCount
    }

    /// The skippable frame.
    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(byteCount)
        bytes.appendLittleEndian(Self.skippableMagic)
        bytes.appendLittleEndian(UInt32(byteCount - Self.skippableHeaderByteCount))
        for entry in entries {
            bytes.appendLittleEndian(entry.compressed)
            bytes.appendLittleEndian(entry.decompressed)
            bytes.appendLittleEndian(entry.checksum)
        }
        bytes.appendLittleEndian(UInt32(entries.count))
        bytes.append(Self.descriptor)
        bytes.appendLittleEndian(Self.footerMagic)
        return bytes
    }

    init(entries: [Entry]) { self.entries = entries }

    /// Reads the table at the end of `file`; `nil` when the file has none.
    ///
    /// - Throws: `ArchiveError.Rule`, one case per broken rule.
    init?(endOf file: UnsafeRawBufferPointer) throws(ArchiveError.Rule) {
        let footer = file.count - Self.footerByteCount
        guard footer >= 0, file.littleEndian32(at: file.count - 4) == Self.footerMagic else {
            return nil
        }
        let descriptor = file[footer + 4]
        guard descriptor & 0x80 != 0 else { throw .tableWithoutChecksums }
        guard descriptor == Self.descriptor else { throw .tableReservedBits(descriptor) }
        let count = Int(file.littleEndian32(at: footer))
        guard (1...ArchiveLimits.frameCount).contains(count) else { throw .frameCount(count) }
        let start = footer - Self.entryByteCount * count - Self.skippableHeaderByteCount
        guard start >= 0 else { throw .tableOutsideFile(frames: count) }
        let (magic, length) = (file.littleEndian32(at: start), file.littleEndian32(at: start + 4))
        guard magic == Self.skippableMagic else { throw .tableMagic(magic) }
        guard Int(length) == file.count - start - Self.skippableHeaderByteCount else {
            throw .tableLength(length)
        }
        entries = (0..<count).map { index in
            let entry = start + Self.skippableHeaderByteCount + Self.entryByteCount * index
            return Entry(
                compressed: file.littleEndian32(at: entry),
                decompressed: file.littleEndian32(at: entry + 4),
                checksum: file.littleEndian32(at: entry + 8))
        }
        let sum = entries.reduce(UInt64(0)) { $0 + UInt64($1.compressed) }
        guard sum == UInt64(start) else { throw .compressedSum(described: sum, present: start) }
    }
}
