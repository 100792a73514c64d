import CZstd
import SanaModel
import Synchronization

/// One zstd frame as the archive uses them, and what may be wrong with one.
///
/// Source: RFC 8878, section 3.1.1.1 (frame header) and 3.1.2 (skippable frames).
struct ZstdFrame: Equatable {
    static let magic: UInt32 = 0xFD2F_B528
    /// Levels offered for compression.
    static let levels = 1...19
    /// Shortest frame there can be: magic, descriptor, one size byte, one block header.
    static let minimumByteCount = 9

    /// A rule of single frames that is broken.
    enum Defect: Error, Sendable, Equatable {
        case magic(UInt32)
        case truncated
        case reservedBit
        case dictionary
        case contentSizeMissing
        case checksumMissing
        case contentSize(expected: Int, actual: UInt64)
        case compressedSize(expected: Int, actual: Int)
        case tableChecksum(expected: UInt32, actual: UInt32)
        case decoding(String)
    }

    /// Bytes the frame unpacks to, by its own account.
    let contentByteCount: UInt64
    let hasChecksum: Bool

    /// Reads the header of a frame. Dictionaries and unknown content sizes are refused.
    init(_ bytes: UnsafeRawBufferPointer) throws(Defect) {
        guard bytes.count >= Self.minimumByteCount else { throw .truncated }
        let magic = bytes.littleEndian32(at: 0)
        guard magic == Self.magic else { throw .magic(magic) }
        let descriptor = bytes[4]
        // Bit 4 is unused and ignored by decoders; no writer sets it, so a set one is damage.
        guard descriptor & 0x18 == 0 else { throw .reservedBit }
        guard descriptor & 0x03 == 0 else { throw .dictionary }
        let isSingleSegment = descriptor & 0x20 != 0
        let start = isSingleSegment ? 5 : 6
        let sizeByteCount: Int
        switch descriptor >> 6 {
        case 0 where !isSingleSegment: throw .contentSizeMissing
        case 0: sizeByteCount = 1
        case let flag: sizeByteCount = 1 << flag
        }
        guard bytes.count >= start + sizeByteCount else { throw .truncated }
        var size: UInt64 = 0
        for index in (0..<sizeByteCount).reversed() {
            size = size << 8 | UInt64(bytes[start + index])
        }
        contentByteCount = sizeByteCount == 2 ? size + 256 : size
        hasChecksum = descriptor & 0x04 != 0
    }

    /// The last four bytes of a frame with a checksum.
    static func checksum(of frame: UnsafeRawBufferPointer) -> UInt32 {
        frame.littleEndian32(at: frame.count - 4)
    }
}

/// A compressor and the scratch memory of one thread.
final class FrameEncoder: @unchecked Sendable {
    private let context: OpaquePointer
    let scratch = Codec.Scratch()

    /// - Throws: `ConversionError` when zstd refuses the level or is out of memory.
    init(level: Int, file: String) throws(ConversionError) {
        guard let context = ZSTD_createCCtx() else {
            throw ConversionError(file, .compression("out of memory"))
        }
        self.context = context
        for (parameter, value) in [
            (ZSTD_c_compressionLevel, level), (ZSTD_c_checksumFlag, 1), (ZSTD_c_contentSizeFlag, 1),
            (ZSTD_c_dictIDFlag, 0),
        ] {
            let code = ZSTD_CCtx_setParameter(context, parameter, Int32(value))
            if let message = zstdError(code) { throw ConversionError(file, .compression(message)) }
        }
    }

    deinit { ZSTD_freeCCtx(context) }

    /// Compresses `content` into one frame, with one call of `ZSTD_compress2`.
    ///
    /// - Returns: bytes of the frame; `target` must hold `bound(content.count)`.
    func encode(
        _ content: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer, file: String
    ) throws(ConversionError) -> Int {
        // Windows stay within 8 MiB; only the header's frame can be longer than that. 0 means: as
        // the level says.
        let windowLog: Int32 = content.count > 8 << 20 ? 23 : 0
        ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, windowLog)
        let size = ZSTD_compress2(
            context, target.baseAddress, target.count, content.baseAddress, content.count)
        if let message = zstdError(size) { throw ConversionError(file, .compression(message)) }
        return size
    }

    /// Most bytes that the frame of `count` bytes can take.
    static func bound(_ count: Int) -> Int { ZSTD_compressBound(count) }
}

/// A decompressor of one thread.
final class FrameDecoder: @unchecked Sendable {
    private let context: OpaquePointer

    init() throws(ZstdFrame.Defect) {
        guard let context = ZSTD_createDCtx() else { throw .decoding("out of memory") }
        self.context = context
    }

    deinit { ZSTD_freeDCtx(context) }

    /// Decodes one frame in one call into exactly its size.
    ///
    /// - Parameters:
    ///   - frame: the bytes that should be one frame and no more.
    ///   - checksum: what the table says of the frame; `nil` without a table, where checksums are
    ///     optional.
    func decode(
        _ frame: UnsafeRawBufferPointer, checksum: UInt32?,
        into target: UnsafeMutableRawBufferPointer
    ) throws(ZstdFrame.Defect) {
        let header = try ZstdFrame(frame)
        guard header.contentByteCount == UInt64(target.count) else {
            throw .contentSize(expected: target.count, actual: header.contentByteCount)
        }
        let size = ZSTD_findFrameCompressedSize(frame.baseAddress, frame.count)
        if let message = zstdError(size) { throw .decoding(message) }
        guard size == frame.count else {
            throw .compressedSize(expected: frame.count, actual: size)
        }
        if let checksum {
            guard header.hasChecksum else { throw .checksumMissing }
            let actual = ZstdFrame.checksum(of: frame)
            guard actual == checksum else {
                throw .tableChecksum(expected: checksum, actual: actual)
            }
        }
        let decoded = ZSTD_decompressDCtx(
            context, target.baseAddress, target.count, frame.baseAddress, frame.count)
        if let message = zstdError(decoded) { throw .decoding(message) }
        guard decoded == target.count else {
            throw .contentSize(expected: target.count, actual: UInt64(decoded))
        }
    }
}

/// zstd's message for a result that is an error.
func zstdError(_ code: Int) -> String? {
    ZSTD_isError(code) != 0 ? String(cString: ZSTD_getErrorName(code)) : nil
}

/// Reusable objects, handed to one task at a time.
final class FreeList<Element: Sendable>: Sendable {
    private let free = Mutex<[Element]>([])
    private let make: @Sendable () throws -> Element

    init(_ make: @escaping @Sendable () throws -> Element) { self.make = make }

    func take() throws -> Element { try free.withLock { $0.popLast() } ?? make() }

    func give(_ element: Element) { free.withLock { $0.append(element) } }

    /// Lends an element to `body`.
    func with<Result>(_ body: (Element) throws -> Result) throws -> Result {
        let element = try take()
        defer { give(element) }
        return try body(element)
    }
}
