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

extension ByteView {
    /// Bytes that `stream` hands out at once; whole elements of every type.
    static let stretchByteCount = 4 << 20

    /// Calls `body` with the bytes in order, a stretch at a time, and lets go of the pages behind
    /// it: files larger than memory pass through.
    func stream<Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        for start in stride(from: 0, to: count, by: Self.stretchByteCount) {
            let part = slice(start, min(Self.stretchByteCount, count - start))
            defer { part.releasePages() }
            try part.withUnsafeBytes(body)
        }
    }
}

/// Memory that several threads fill in turn, never at the same time.
final class RawMemory: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer

    init(count: Int) { bytes = .allocate(byteCount: count, alignment: 64) }
    deinit { bytes.deallocate() }

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
