import Libc

/// Zeros at the end of a weights file: what a download leaves that was given its room on disk and
/// not all of its content.
///
/// Only zeros in matrices count. Biases and norms may be zero, and so may the half of an adapter
/// that was never trained.
public struct ZeroTail: Sendable, Equatable {
    /// The first weight that is all zeros; where none is, the one in which they begin.
    public let tensor: String
    /// Zero bytes at the end of the file; of more than 64 MiB that many.
    public let byteCount: Int
    /// Whether they are a weight from its first value to its last, as far as was looked.
    public let isWhole: Bool

    /// Fewer zeros are values: a file system gives a file a block at least.
    private static let leastByteCount = 4096
    /// Bytes at the end of a file that are looked at.
    private static let mostByteCount = 64 << 20
    /// Bytes that are looked at together.
    private static let blockByteCount = 64 << 10

    /// `nil` for a file that ends in values.
    public init?(_ file: SafetensorsFile) {
        self.init(
            lastFirst: file.tensors.reversed().lazy.map {
                ($0, (try? file.bytes(of: $0)) ?? ByteView([]))
            })
    }

    /// - Parameter tensors: with their bytes in the file, those at its end first.
    init?(lastFirst tensors: some Sequence<(TensorInfo, ByteView)>) {
        var (total, inMatrices) = (0, 0)
        var (first, isWhole) = ("", false)
        for (tensor, bytes) in tensors {
            let limit = min(bytes.count, Self.mostByteCount - total)
            let zeros = Self.zeroCount(bytes, limit: limit)
            total += zeros
            if zeros > 0, Self.isMatrix(tensor) {
                inMatrices += zeros
                if zeros == limit || !isWhole { first = tensor.name }
                isWhole = isWhole || zeros == limit
            }
            guard zeros == bytes.count, total < Self.mostByteCount else { break }
        }
        guard inMatrices >= Self.leastByteCount else { return nil }
        (self.tensor, byteCount, self.isWhole) = (first, total, isWhole)
    }

    private static func isMatrix(_ tensor: TensorInfo) -> Bool {
        tensor.name.hasSuffix(".weight") && tensor.shape.count > 1 && !tensor.name.contains("lora")
    }

    /// Zero bytes at the end of `content`, of its last `limit`.
    private static func zeroCount(_ content: ByteView, limit: Int) -> Int {
        var count = 0
        while count < limit {
            let size = min(blockByteCount, limit - count)
            let block = content.slice(content.count - count - size, size)
            let zeros = block.withUnsafeBytes { bytes -> Int in
                guard let start = bytes.baseAddress else { return 0 }
                // Every byte is like the one before, and the first is zero.
                let isZero = bytes[0] == 0 && memcmp(start, start + 1, size - 1) == 0
                return isZero ? size : bytes.reversed().prefix { $0 == 0 }.count
            }
            count += zeros
            guard zeros == size else { break }
            block.releasePages()
        }
        return count
    }

    /// What is wrong with the file, to follow its name.
    public var reason: String {
        "ends in \(byteCount) zero bytes, "
            + (isWhole
                ? "'\(tensor.printable)' among them: no download has written them"
                : "a part of '\(tensor.printable)' among them: has a download written them?")
    }

    public static let remedy = "download the file again"

    /// - Returns: a note on a file that may not have been written to its end.
    /// - Throws: `BadDataError` for one that was not.
    public static func check(_ file: SafetensorsFile) throws -> String? {
        try ZeroTail(file)?.note(on: file.path)
    }

    /// The same for the file at `path` that ends so.
    func note(on path: String) throws -> String {
        guard !isWhole else {
            throw BadDataError(
                file: path, reason: reason, remedy: Self.remedy, page: .fileUnwritten)
        }
        return "\(path.lastPathComponent.printable) \(reason)"
    }
}
