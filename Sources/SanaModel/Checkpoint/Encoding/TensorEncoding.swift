/// Writes rows of a logical tensor as fp32 to `target`, which has room for them.
typealias RowDecoder =
    @Sendable (_ rows: Range<Int>, _ target: UnsafeMutablePointer<Float>) -> Void

/// A tensor that another program has quantized, decoded a few rows at a time: it takes the memory
/// of its file.
public struct EncodedRows: Sendable {
    /// The stored tensor that holds the numbers, in the order of the rows.
    let stored: ByteView
    let decode: RowDecoder

    /// The same without the rows before `first`.
    func from(_ first: Int) -> EncodedRows {
        guard first > 0 else { return self }
        return EncodedRows(stored: stored) { [decode] rows, target in
            decode(rows.lowerBound + first..<rows.upperBound + first, target)
        }
    }

    /// The rows `range` as fp32, `width` values each.
    func values(_ range: Range<Int>, width: Int) -> ByteView {
        ByteView(count: range.count * width * MemoryLayout<Float>.stride) { memory in
            guard let start = memory.bindMemory(to: Float.self).baseAddress else { return }
            decode(range, start)
        }
    }
}

/// How a logical tensor `[out, in…]` is stored: by which tensors of the file, and what they stand
/// for.
///
/// Every program that quantizes has a `QuantizationFormat` that makes these of what it wrote.
struct TensorEncoding: Sendable {
    /// Name of the logical tensor.
    let name: String
    /// Its shape.
    let shape: [Int]
    /// Method and recipe, for people: `bitsandbytes (nf4)`.
    let recipe: String
    /// Names of the stored tensors that it takes.
    let parts: [String]
    /// Bytes that these take.
    let storedByteCount: Int
    /// Reads the parts that are small, maps the others, and returns what decodes rows.
    let decoder: @Sendable (any TensorSource) throws -> RowDecoder

    /// - Parameters:
    ///   - parts: stored tensors, all of which `source` has.
    ///   - storedByteCount: what it takes of them, where it shares them with others.
    init(
        _ name: String, shape: [Int], recipe: String, parts: [TensorInfo],
        storedByteCount: Int? = nil,
        decoder: @escaping @Sendable (any TensorSource) throws -> RowDecoder
    ) {
        (self.name, self.shape, self.recipe) = (name, shape, recipe)
        (self.parts, self.decoder) = (parts.map(\.name), decoder)
        self.storedByteCount = storedByteCount ?? parts.reduce(0) { $0 + $1.byteCount }
    }
}

/// A tensor and its values, wherever and however they are stored.
public struct StoredTensor: Sendable {
    public let info: TensorInfo
    /// How another program quantized it; `nil` for values that are stored as they are.
    public let recipe: String?
    /// Bytes that it takes in its file.
    public let storedByteCount: Int
    private let values: Values

    private enum Values: Sendable {
        case view(ByteView)
        /// Values that are made when they are asked for, all at once: `range` of the rows there
        /// are.
        case made(@Sendable () throws -> ByteView, Range<Int>)
        /// Values that are decoded when they are asked for, `range` of the rows there are.
        case encoded(@Sendable () throws -> EncodedRows, Range<Int>)
    }

    /// A tensor whose values are at hand.
    public init(_ info: TensorInfo, _ bytes: ByteView) {
        (self.info, values, recipe, storedByteCount) = (info, .view(bytes), nil, bytes.count)
    }

    /// A tensor of `source` as it is, read when it is asked for.
    init(_ info: TensorInfo, of source: any TensorSource) {
        self.init(info) { try source.bytes(of: info) }
    }

    /// A tensor that `source` holds encoded.
    ///
    /// - Throws: `BadDataError` for a shape that no tensor has.
    init(_ encoding: TensorEncoding, of source: any TensorSource, file: String) throws {
        guard let info = TensorInfo(name: encoding.name, dtype: .f32, shape: encoding.shape) else {
            throw BadDataError(
                file: file,
                reason:
                    "tensor '\(encoding.name.printable)' of shape \(encoding.shape) is too large"
            )
        }
        self.init(
            info, recipe: encoding.recipe, storedByteCount: encoding.storedByteCount
        ) {
            let largest = encoding.parts.first.flatMap(source.info)
            return EncodedRows(
                stored: try largest.map(source.bytes) ?? ByteView([]),
                decode: try encoding.decoder(source))
        }
    }

    /// A tensor whose rows are decoded.
    init(
        _ info: TensorInfo, recipe: String, storedByteCount: Int,
        open: @escaping @Sendable () throws -> EncodedRows
    ) {
        (self.info, self.recipe, self.storedByteCount) = (info, recipe, storedByteCount)
        values = .encoded(open, 0..<(info.shape.first ?? 1))
    }

    /// Values that a closure makes of other tensors of the same file, all rows at once.
    init(_ info: TensorInfo, make: @escaping @Sendable () throws -> ByteView) {
        (self.info, recipe, storedByteCount) = (info, nil, info.byteCount)
        values = .made(make, 0..<(info.shape.first ?? 1))
    }

    private init(_ info: TensorInfo, _ other: StoredTensor, _ values: Values, stored: Int) {
        (self.info, self.values) = (info, values)
        (recipe, storedByteCount) = (other.recipe, stored)
    }

    /// Whether the values are decoded when they are asked for, which takes memory each time.
    var isComputed: Bool {
        if case .encoded = values { true } else { false }
    }

    /// The raw values in the type that `info` says.
    ///
    /// - Throws: errors of the source.
    public func bytes() throws -> ByteView {
        switch values {
        case .view(let bytes): return bytes
        case .made(let make, let range):
            let width = rowByteCount
            return try make().slice(range.lowerBound * width, range.count * width)
        case .encoded(let open, let range):
            return try open().values(
                range, width: rowByteCount / MemoryLayout<Float>.stride)
        }
    }

    private var rowByteCount: Int {
        let rows = info.shape.first ?? 1
        return rows > 0 ? info.byteCount / rows : 0
    }

    /// What decodes the rows; `nil` for values that are stored as they are.
    ///
    /// - Throws: errors of the source.
    func rows() throws -> EncodedRows? {
        guard case .encoded(let open, let range) = values else { return nil }
        return try open().from(range.lowerBound)
    }

    /// The same values under another name or in another shape of as many rows.
    func described(as info: TensorInfo) -> StoredTensor {
        StoredTensor(info, self, values, stored: storedByteCount)
    }

    /// The same values under another name.
    func renamed(_ name: String) -> StoredTensor? {
        TensorInfo(name: name, dtype: info.dtype, shape: info.shape).map(described)
    }

    /// The tensor taken apart along its rows, one part for each name; no values are copied.
    ///
    /// - Throws: `BadDataError` when the rows are not a multiple of the parts.
    func parts(_ names: [String], file: String) throws -> [StoredTensor] {
        guard names.count > 1 else { return names.compactMap(renamed) }
        guard let rows = info.shape.first, rows % names.count == 0 else {
            throw BadDataError(
                file: file,
                reason: "tensor '\(info.name.printable)' of shape \(info.shape) cannot be split "
                    + "into \(names.count)")
        }
        let count = rows / names.count
        let shape = [count] + info.shape.dropFirst()
        return names.enumerated().compactMap { index, name in
            guard let part = TensorInfo(name: name, dtype: info.dtype, shape: shape) else {
                return nil
            }
            func rows(_ all: Range<Int>) -> Range<Int> {
                let first = all.lowerBound + index * count
                return first..<first + count
            }
            let values: Values =
                switch values {
                case .view(let bytes): .view(bytes.slice(index * part.byteCount, part.byteCount))
                case .made(let make, let range): .made(make, rows(range))
                case .encoded(let open, let range): .encoded(open, rows(range))
                }
            return StoredTensor(part, self, values, stored: storedByteCount / names.count)
        }
    }
}
