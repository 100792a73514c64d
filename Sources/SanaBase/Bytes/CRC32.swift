/// CRC-32 as zip files and PNG have it (ISO 3309): polynomial 0xEDB88320, bits in reverse.
///
/// Eight bytes at a time, by as many tables: M. Kounavis, F. Berry, "A systematic approach to
/// building high performance software-based CRC generators", 2005.
package struct CRC32 {
    private var state = UInt32.max

    package init() {}

    package var value: UInt32 { ~state }

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

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
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
