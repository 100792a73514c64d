/// Reads little-endian fields of untrusted bytes, each only if it is there.
struct ByteCursor {
    private let bytes: UnsafeRawBufferPointer
    /// Of the next byte, counted from the beginning.
    private(set) var offset: Int

    /// - Parameter offset: where to begin; `nil` is returned where that is outside.
    init?(_ bytes: UnsafeRawBufferPointer, at offset: Int = 0) {
        guard offset >= 0, offset <= bytes.count else { return nil }
        (self.bytes, self.offset) = (bytes, offset)
    }

    /// Bytes that are left.
    var remaining: Int { bytes.count - offset }

    /// The next number; `nil` when it is cut short.
    mutating func number<Number: FixedWidthInteger>(_ type: Number.Type) -> Number? {
        let size = MemoryLayout<Number>.size
        guard remaining >= size else { return nil }
        defer { offset += size }
        return Number(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
    }

    /// The next number as an `Int`; `nil` also when it does not fit.
    mutating func int<Number: FixedWidthInteger>(_ type: Number.Type) -> Int? {
        number(type).flatMap { Int(exactly: $0) }
    }

    /// The next `count` bytes; `nil` when fewer are left.
    mutating func part(_ count: Int) -> UnsafeRawBufferPointer? {
        guard count >= 0, count <= remaining else { return nil }
        defer { offset += count }
        return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
    }

    /// The bytes up to the next line feed, which is passed over too; `nil` when none is there
    /// within `limit` bytes.
    mutating func line(limit: Int) -> UnsafeRawBufferPointer? {
        let rest = bytes[offset..<offset + min(limit, remaining)]
        guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
        defer { offset = end + 1 }
        return UnsafeRawBufferPointer(rebasing: bytes[offset..<end])
    }
}
