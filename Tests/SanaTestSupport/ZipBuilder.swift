/// Builds zip files in memory, entry by entry, with every field a test may want to be wrong.
public struct ZipBuilder {
    public struct Entry: Sendable {
        public var name: String
        public var data: [UInt8]
        /// 0: stored.
        public var method: UInt16 = 0
        public var flags: UInt16 = 0
        /// In the header before the data, where they differ from the directory's.
        public var localName: String?
        public var localCount: UInt32?
        /// In the directory, where it differs from what is so.
        public var offset: UInt32?
        /// In both, where it differs from what is so.
        public var crc32: UInt32?

        public init(_ name: String, _ data: [UInt8]) { (self.name, self.data) = (name, data) }
    }

    public var entries: [Entry] = []
    /// Whether sizes and offsets stand in zip64 fields.
    public var isZip64 = false
    /// In the zip64 end record, where it differs from what is so.
    public var statedCount: UInt64?

    public init(_ entries: [(String, [UInt8])] = []) {
        self.entries = entries.map { Entry($0.0, $0.1) }
    }

    /// A file of torch.save: a pickle and the storages that it names.
    public init(pickle: [UInt8], storages: [(String, [UInt8])] = []) {
        self.init(
            [("m/data.pkl", pickle), ("m/byteorder", Array("little".utf8))]
                + storages.map { ("m/data/" + $0.0, $0.1) })
    }

    /// The file.
    public var file: [UInt8] {
        var (content, directory): ([UInt8], [UInt8]) = ([], [])
        for entry in entries {
            let (start, count) = (UInt32(content.count), UInt32(entry.data.count))
            let wide: [UInt8] =
                isZip64
                ? fields([1, 16] as [UInt16]) + fields([UInt64(count), UInt64(count)]) : []
            let local = entry.localName ?? entry.name
            content += fields([0x0403_4B50 as UInt32])
            content += fields([20, entry.flags, entry.method, 0, 0x21] as [UInt16])
            let size = isZip64 ? .max : entry.localCount ?? count
            let sum = entry.crc32 ?? Self.crc32(entry.data)
            content += fields([sum, size, size])
            content += fields([UInt16(local.utf8.count), UInt16(wide.count)])
            content += Array(local.utf8) + wide + entry.data
            let offset = isZip64 ? UInt32.max : entry.offset ?? start
            let extra: [UInt8] =
                isZip64
                ? fields([1, 24] as [UInt16])
                    + fields([UInt64(count), UInt64(count), UInt64(start)]) : []
            directory += fields([0x0201_4B50 as UInt32])
            directory += fields([20, 20, entry.flags, entry.method, 0, 0x21] as [UInt16])
            let total = isZip64 ? .max : count
            directory += fields([sum, total, total])
            directory += fields([UInt16(entry.name.utf8.count), UInt16(extra.count), 0, 0, 0])
            directory += fields([0, offset]) + Array(entry.name.utf8) + extra
        }
        let start = content.count
        content += directory
        let (number, size) = (statedCount ?? UInt64(entries.count), UInt64(directory.count))
        if isZip64 {
            let end = UInt64(content.count)
            content += fields([0x0606_4B50 as UInt32]) + fields([44 as UInt64])
            content += fields([45, 45] as [UInt16]) + fields([0, 0] as [UInt32])
            content += fields([number, number, size, UInt64(start)])
            content += fields([0x0706_4B50, 0] as [UInt32]) + fields([end]) + fields([1 as UInt32])
        }
        content += fields([0x0605_4B50 as UInt32])
        content += fields([0, 0, UInt16(clamping: number), UInt16(clamping: number)])
        content += fields([UInt32(size), isZip64 ? .max : UInt32(start)]) + fields([0 as UInt16])
        return content
    }

    /// A bit at a time.
    static func crc32(_ bytes: [UInt8]) -> UInt32 {
        var sum = UInt32.max
        for byte in bytes {
            sum ^= UInt32(byte)
            for _ in 0..<8 { sum = sum >> 1 ^ (sum & 1) &* 0xEDB8_8320 }
        }
        return ~sum
    }

    private func fields<Number: FixedWidthInteger>(_ numbers: [Number]) -> [UInt8] {
        numbers.flatMap(littleEndianBytes)
    }
}
