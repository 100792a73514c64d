/// A zip file whose entries are stored as they are, as torch.save and DDUF write it: mapped, and
/// every entry a view of it.
///
/// Stricter than common readers: what the central directory says must be what stands before the
/// data, entries neither share a name nor overlap, and nothing is compressed or encrypted. Source:
/// PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3 (zip64).
public struct ZipFile: Sendable {
    /// A stored file.
    public struct Entry: Sendable {
        /// A relative path with `/`, without `.`, `..` and empty parts.
        public let name: String
        public let bytes: ByteView
        /// CRC-32 of the bytes as the directory has it; see `damages(using:)`.
        public let crc32: UInt32
    }

    /// Path it was opened from.
    public let path: String
    /// In the order of their data.
    public let entries: [Entry]
    private let indexByName: [String: Int]

    /// Most entries that are accepted. A state dictionary has one for every tensor.
    static let maximumEntryCount = 1 << 16
    /// Longest name that is accepted, in bytes.
    static let maximumNameByteCount = 1024

    /// Whether a file that begins with these bytes claims to be a zip file with entries.
    public static func isZip(_ content: ByteView) -> Bool {
        content.count >= 4
            && content.slice(0, 4).withUnsafeBytes {
                $0.elementsEqual([0x50, 0x4B, 0x03, 0x04])
            }
    }

    /// - Throws: `BadDataError` for every rule that is broken; no data is read, so sums are not
    ///   compared.
    public init(content: ByteView, path: String) throws {
        let records = try content.withUnsafeBytes { bytes in
            let directory = try Directory(bytes, path: path)
            return try Self.checked(directory.records(bytes), bytes, directory, path: path)
        }
        self.path = path
        entries = records.map {
            Entry(name: $0.name, bytes: content.slice($0.start, $0.count), crc32: $0.crc)
        }
        indexByName = Dictionary(
            entries.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// The entry called `name`, if there is one.
    public subscript(name: String) -> Entry? { indexByName[name].map { entries[$0] } }

    /// Compares every record with the header before its data, and the entries with one another.
    private static func checked(
        _ records: [ZipRecord], _ bytes: UnsafeRawBufferPointer, _ directory: Directory,
        path: String
    ) throws -> [ZipRecord] {
        var names = Set<String>()
        for record in records where !names.insert(record.name).inserted {
            throw ZipFile.error(path, "two entries are named '\(record.name.printable)'")
        }
        var sorted = try records.map { try $0.located(in: bytes, file: path) }
        sorted.sort { $0.header < $1.header }
        for (index, record) in sorted.enumerated() {
            let limit =
                index + 1 < sorted.count ? sorted[index + 1].header : directory.start
            guard record.start + record.count <= limit else {
                throw ZipFile.error(
                    path, "entry '\(record.name.printable)' overlaps what comes after it")
            }
        }
        return sorted.filter { !$0.isFolder }
    }

    static func error(_ path: String, _ reason: String, _ remedy: String? = nil) -> BadDataError {
        BadDataError(
            file: path, reason: "zip file: " + reason,
            remedy: remedy ?? "download the file again, or save it again with torch or diffusers")
    }
}

/// Where the list of entries lies.
private struct Directory {
    let start: Int
    let byteCount: Int
    let entryCount: Int
    let path: String

    private static let endByteCount = 22
    private static let end64ByteCount = 56
    private static let locatorByteCount = 20

    /// Finds the end record, which only a comment may follow, and the zip64 one that it stands for.
    init(_ bytes: UnsafeRawBufferPointer, path: String) throws {
        self.path = path
        let last = bytes.count - Self.endByteCount
        guard last >= 0,
            let end = stride(from: last, through: max(0, last - 0xFFFF), by: -1).first(where: {
                bytes.loadUnaligned(fromByteOffset: $0, as: UInt32.self).littleEndian == 0x0605_4B50
                    && Int(
                        bytes.loadUnaligned(fromByteOffset: $0 + 20, as: UInt16.self).littleEndian)
                        == last - $0
            }), var cursor = ByteCursor(bytes, at: end + 4)
        else { throw ZipFile.error(path, "no central directory at its end: the file is truncated") }
        guard let disk = cursor.int(UInt16.self), let first = cursor.int(UInt16.self),
            let here = cursor.int(UInt16.self), let total = cursor.int(UInt16.self),
            let size = cursor.int(UInt32.self), let offset = cursor.int(UInt32.self)
        else { throw ZipFile.error(path, "end of the directory is truncated") }
        let directoryEnd: Int
        if let end64 = try Self.end64(bytes, before: end, path: path) {
            guard var cursor = ByteCursor(bytes, at: end64 + 16),
                let disk = cursor.int(UInt32.self), let first = cursor.int(UInt32.self),
                let here = cursor.int(UInt64.self), let total = cursor.int(UInt64.self),
                let size = cursor.int(UInt64.self), let offset = cursor.int(UInt64.self),
                disk == 0, first == 0, here == total
            else { throw ZipFile.error(path, "zip64 end of the directory is broken") }
            (directoryEnd, entryCount, byteCount, start) = (end64, total, size, offset)
        } else {
            guard disk == 0, first == 0, here == total else {
                throw ZipFile.error(path, "is one part of several")
            }
            (directoryEnd, entryCount, byteCount, start) = (end, total, size, offset)
        }
        guard start <= directoryEnd, byteCount == directoryEnd - start else {
            throw ZipFile.error(path, "directory does not end where its end record begins")
        }
        guard entryCount <= ZipFile.maximumEntryCount else {
            throw ZipFile.error(
                path, "\(entryCount) entries are over the limit of \(ZipFile.maximumEntryCount)")
        }
    }

    /// Where the zip64 end record begins; `nil` when no locator stands before the end record.
    private static func end64(
        _ bytes: UnsafeRawBufferPointer, before end: Int, path: String
    ) throws -> Int? {
        let position = end - locatorByteCount
        guard var cursor = ByteCursor(bytes, at: position),
            cursor.number(UInt32.self) == 0x0706_4B50
        else { return nil }
        guard cursor.number(UInt32.self) == 0, let start = cursor.int(UInt64.self),
            cursor.number(UInt32.self) == 1,
            start <= position - end64ByteCount, var record = ByteCursor(bytes, at: start),
            record.number(UInt32.self) == 0x0606_4B50, let size = record.int(UInt64.self),
            size == position - start - 12
        else { throw ZipFile.error(path, "zip64 end of the directory is broken") }
        return start
    }

    /// The records of the central directory, unchecked but for their own shape.
    func records(_ bytes: UnsafeRawBufferPointer) throws -> [ZipRecord] {
        let directory = UnsafeRawBufferPointer(rebasing: bytes[start..<start + byteCount])
        guard var cursor = ByteCursor(directory) else { return [] }
        var records: [ZipRecord] = []
        for _ in 0..<entryCount {
            guard let record = try ZipRecord(&cursor, file: path) else {
                throw ZipFile.error(path, "directory is truncated or broken")
            }
            records.append(record)
        }
        guard cursor.remaining == 0 else {
            throw ZipFile.error(path, "directory has \(cursor.remaining) bytes more than entries")
        }
        return records
    }
}

/// What the central directory says of an entry.
struct ZipRecord {
    let name: String
    private let rawName: [UInt8]
    private let flags: UInt16
    let crc: UInt32
    /// Bytes of the data.
    let count: Int
    /// Where the header before the data begins.
    let header: Int
    /// Where the data begins, once located.
    private(set) var start = 0

    var isFolder: Bool { rawName.last == UInt8(ascii: "/") }

    /// Bit 3 of the flags: sizes follow the data, and the header before it has zeros.
    private var hasDescriptor: Bool { flags & 8 != 0 }

    /// Reads one record; `nil` when it is cut short.
    ///
    /// - Throws: `BadDataError` for entries that are not read.
    init?(_ cursor: inout ByteCursor, file: String) throws {
        guard cursor.number(UInt32.self) == 0x0201_4B50, cursor.part(4) != nil,
            let flags = cursor.number(UInt16.self), let method = cursor.number(UInt16.self),
            cursor.part(4) != nil, let crc = cursor.number(UInt32.self),
            let packed = cursor.number(UInt32.self), let unpacked = cursor.number(UInt32.self),
            let nameCount = cursor.int(UInt16.self), let extraCount = cursor.int(UInt16.self),
            let commentCount = cursor.int(UInt16.self), let disk = cursor.number(UInt16.self),
            cursor.part(6) != nil, let offset = cursor.number(UInt32.self),
            let rawName = cursor.part(nameCount), let extra = cursor.part(extraCount),
            cursor.part(commentCount) != nil
        else { return nil }
        let name = try Self.checkedName(rawName, file: file)
        func refuse(_ reason: String, _ remedy: String? = nil) -> BadDataError {
            ZipFile.error(file, "entry '\(name.printable)' \(reason)", remedy)
        }
        guard flags & 1 == 0, flags & 0x2040 == 0 else { throw refuse("is encrypted") }
        guard method == 0 else {
            throw refuse(
                "is compressed (method \(method)); entries must be stored uncompressed",
                "save the file again with torch.save or export_entries_as_dduf, which store")
        }
        var wide = Zip64Fields(extra)
        guard let unpacked = wide.value(unpacked), let packed = wide.value(packed),
            let offset = wide.value(offset), disk == 0 || disk == 0xFFFF
        else { throw refuse("has sizes that do not fit") }
        guard packed == unpacked else { throw refuse("is stored with two different sizes") }
        (self.name, self.rawName, self.flags, self.crc) = (name, Array(rawName), flags, crc)
        (count, header) = (unpacked, offset)
    }

    /// The record with the place of its data, which the header before the data must agree with.
    func located(in bytes: UnsafeRawBufferPointer, file: String) throws -> ZipRecord {
        let contradiction = ZipFile.error(
            file, "entry '\(name.printable)' has a local header that differs from the directory")
        guard var cursor = ByteCursor(bytes, at: header), cursor.number(UInt32.self) == 0x0403_4B50,
            cursor.part(2) != nil, cursor.number(UInt16.self) == flags,
            cursor.number(UInt16.self) == 0, cursor.part(4) != nil,
            let localCRC = cursor.number(UInt32.self), let packed = cursor.number(UInt32.self),
            let unpacked = cursor.number(UInt32.self), let nameCount = cursor.int(UInt16.self),
            let extraCount = cursor.int(UInt16.self), let localName = cursor.part(nameCount),
            localName.elementsEqual(rawName), let extra = cursor.part(extraCount)
        else { throw contradiction }
        if !hasDescriptor || localCRC != 0 || packed != 0 || unpacked != 0 {
            var wide = Zip64Fields(extra)
            guard localCRC == crc, wide.value(unpacked) == count, wide.value(packed) == count else {
                throw contradiction
            }
        }
        guard count <= cursor.remaining else {
            throw ZipFile.error(file, "entry '\(name.printable)' reaches past the end of the file")
        }
        var located = self
        located.start = cursor.offset
        return located
    }

    /// - Throws: `BadDataError` for a name that is no relative path of plain parts.
    private static func checkedName(_ raw: UnsafeRawBufferPointer, file: String) throws -> String {
        let name = String(decoding: raw, as: UTF8.self)
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        // The name of a directory ends with a slash.
        let plain = parts.last == "" && parts.count > 1 ? parts.dropLast() : parts[...]
        guard raw.count <= ZipFile.maximumNameByteCount, name.utf8.count == raw.count,
            plain.allSatisfy({ ShardSet.isBareFileName(String($0)) })
        else {
            throw ZipFile.error(
                file, "entry name '\(name.printable)' is not a plain relative path",
                "do not unpack this file with other programs either")
        }
        return name
    }
}

/// The numbers of a zip64 extra field, which stand in for those that are 2³² − 1, in order.
private struct Zip64Fields {
    private var cursor: ByteCursor?

    init(_ extra: UnsafeRawBufferPointer) {
        guard var fields = ByteCursor(extra) else { return }
        while let id = fields.number(UInt16.self), let count = fields.int(UInt16.self),
            let content = fields.part(count)
        {
            guard id == 1 else { continue }
            cursor = ByteCursor(content)
            return
        }
    }

    /// The number itself, or the next wide one in its place; `nil` when that is missing.
    mutating func value(_ number: UInt32) -> Int? {
        number == .max ? cursor?.int(UInt64.self) : Int(number)
    }
}
