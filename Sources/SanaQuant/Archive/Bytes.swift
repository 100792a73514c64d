import SanaModel

/// Little-endian fields of binary formats.
extension UnsafeRawBufferPointer {
    /// The 32-bit number at `offset`; all four bytes must be there.
    func littleEndian32(at offset: Int) -> UInt32 {
        UInt32(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// The bytes from `start`, `count` of them, which must be there.
    func part(_ start: Int, _ count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self[start..<start + count])
    }
}

extension [UInt8] {
    mutating func appendLittleEndian(_ value: UInt32) {
        for shift in stride(from: 0, to: 32, by: 8) {
            append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }
}

/// Memory that several threads fill in turn, never at the same time.
final class RawMemory: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer

    init(count: Int) {
        bytes = .init(start: AlignedMemory.allocate(byteCount: count), count: count)
    }

    deinit { bytes.baseAddress.map(AlignedMemory.deallocate) }

    var count: Int { bytes.count }

    /// The first `count` bytes.
    func first(_ count: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: bytes[..<count])
    }
}

/// Memory for the frames of a batch: handed out from the front, taken back all at once. It is
/// allocated once, so that a long run takes no more than a short one.
final class Arena {
    private let memory: RawMemory
    private var used = 0

    init(byteCount: Int) { memory = RawMemory(count: byteCount) }

    /// What `take(count)` uses up.
    static func footprint(_ count: Int) -> Int { (count + 63) / 64 * 64 }

    /// The next `count` bytes, 64-byte aligned; they must be there.
    func take(_ count: Int) -> UnsafeMutableRawBufferPointer {
        defer { used += Self.footprint(count) }
        return UnsafeMutableRawBufferPointer(rebasing: memory.bytes[used..<used + count])
    }

    /// Takes everything back.
    func reset() { used = 0 }
}
