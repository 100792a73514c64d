/// CRC-32 as zip files have it: polynomial 0xEDB88320, bits in reverse.
///
/// Eight bytes at a time, by as many tables: M. Kounavis, F. Berry, "A systematic approach to
/// building high performance software-based CRC generators", 2005.
struct CRC32 {
    private var state = UInt32.max

    var value: UInt32 { ~state }

    /// Table k has at b what the byte b does to the sum when k more bytes follow in the same step.
    private static let tables: [UInt32] = {
        var tables = (0..<256).map { index -> UInt32 in
            var sum = UInt32(index)
            for _ in 0..<8 { sum = sum >> 1 ^ (sum & 1) &* 0xEDB8_8320 }
            return sum
        }
        for index in 256..<8 * 256 {
            let last = tables[index - 256]
            tables.append(last >> 8 ^ tables[Int(last & 0xFF)])
        }
        return tables
    }()

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        Self.tables.withUnsafeBufferPointer { tables in
            var state = state
            let whole = bytes.count & ~7
            for offset in stride(from: 0, to: whole, by: 8) {
                let word = bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
                var rest = UInt64(littleEndian: word) ^ UInt64(state)
                state = 0
                for table in stride(from: 7 * 256, through: 0, by: -256) {
                    state ^= tables[table + Int(rest & 0xFF)]
                    rest >>= 8
                }
            }
            for byte in bytes[whole...] {
                state = state >> 8 ^ tables[Int(UInt8(truncatingIfNeeded: state) ^ byte)]
            }
            self.state = state
        }
    }
}

extension ZipFile {
    /// An entry whose bytes are not those that were stored.
    public struct Damage: Sendable, Equatable {
        public let entry: String
        /// What the directory says.
        public let stated: UInt32
        /// What the bytes have.
        public let found: UInt32
    }

    /// Whether sums were stored at all: torch leaves them 0 if asked not to compute them
    /// (`torch.serialization.set_crc32_options`).
    public var hasChecksums: Bool { entries.contains { $0.crc32 != 0 } }

    /// Compares the CRC-32 of every entry with the directory's; the file is read once, a stretch at
    /// a time.
    public func damages(using workers: WorkerPool) throws -> [Damage] {
        try workers.map(entries.count) { index -> Damage? in
            var sum = CRC32()
            entries[index].bytes.stream { sum.update($0) }
            let (stated, found) = (entries[index].crc32, sum.value)
            guard stated != found else { return nil }
            return Damage(entry: entries[index].name, stated: stated, found: found)
        }.compactMap(\.self)
    }
}
