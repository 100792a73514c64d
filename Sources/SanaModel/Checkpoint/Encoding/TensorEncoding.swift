/// Writes rows of a logical tensor as fp32 to `target`, which has room for them.
typealias RowDecoder =
    @Sendable (_ rows: Range<Int>, _ target: UnsafeMutablePointer<Float>) -> Void

/// How a logical tensor `[out, in…]` is stored: by which tensors of the file, and what they stand for.
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

    /// - Parameter parts: stored tensors, all of which `source` has.
    init(
        _ name: String, shape: [Int], recipe: String, parts: [TensorInfo],
        decoder: @escaping @Sendable (any TensorSource) throws -> RowDecoder
    ) {
        (self.name, self.shape, self.recipe) = (name, shape, recipe)
        (self.parts, self.decoder) = (parts.map(\.name), decoder)
        storedByteCount = parts.reduce(0) { $0 + $1.byteCount }
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
        /// Values that are made when they are asked for, `range` of the rows there are.
        case rows(@Sendable (Range<Int>) throws -> ByteView, Range<Int>)
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
            info, recipe: encoding.recipe, storedByteCount: encoding.storedByteCount,
            decoder: { try encoding.decoder(source) })
    }

    /// A tensor whose rows a closure writes.
    init(
        _ info: TensorInfo, recipe: String, storedByteCount: Int, decode: @escaping RowDecoder
    ) {
        self.init(info, recipe: recipe, storedByteCount: storedByteCount, decoder: { decode })
    }

    private init(
        _ info: TensorInfo, recipe: String, storedByteCount: Int,
        decoder: @escaping @Sendable () throws -> RowDecoder
    ) {
        let rows = info.shape.first ?? 1
        let width = rows > 0 ? info.byteCount / rows : 0
        (self.info, self.recipe, self.storedByteCount) = (info, recipe, storedByteCount)
        values = .rows(
            { range in
                let decode = try decoder()
                return ByteView(count: range.count * width) { memory in
                    guard let start = memory.bindMemory(to: Float.self).baseAddress else { return }
                    decode(range, start)
                }
            }, 0..<rows)
    }

    /// Values that a closure makes of other tensors of the same file, all rows at once.
    init(_ info: TensorInfo, make: @escaping @Sendable () throws -> ByteView) {
        let rows = info.shape.first ?? 1
        let width = rows > 0 ? info.byteCount / rows : 0
        (self.info, recipe, storedByteCount) = (info, nil, info.byteCount)
        values = .rows(
            { try make().slice($0.lowerBound * width, $0.count * width) }, 0..<rows)
    }

    private init(_ info: TensorInfo, _ other: StoredTensor, _ values: Values, stored: Int) {
        (self.info, self.values) = (info, values)
        (recipe, storedByteCount) = (other.recipe, stored)
    }

    /// Whether the values are made when they are asked for, which takes memory each time.
    var isComputed: Bool {
        if case .rows = values { recipe != nil } else { false }
    }

    /// The raw values in the type that `info` says.
    ///
    /// - Throws: errors of the source.
    public func bytes() throws -> ByteView {
        switch values {
        case .view(let bytes): bytes
        case .rows(let read, let range): try read(range)
        }
    }

    /// The same values in memory, made now.
    func materialized() throws -> StoredTensor {
        guard isComputed else { return self }
        return StoredTensor(info, self, .view(try bytes()), stored: storedByteCount)
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
                reason: "tensor '\(info.name.printable)' of shape \(info.shape) cannot be taken "
                    + "apart into \(names.count)")
        }
        let count = rows / names.count
        let shape = [count] + info.shape.dropFirst()
        return names.enumerated().compactMap { index, name in
            guard let part = TensorInfo(name: name, dtype: info.dtype, shape: shape) else {
                return nil
            }
            let values: Values =
                switch values {
                case .view(let bytes): .view(bytes.slice(index * part.byteCount, part.byteCount))
                case .rows(let read, let range):
                    .rows(
                        read,
                        range.lowerBound + index * count..<range.lowerBound + (index + 1) * count)
                }
            return StoredTensor(part, self, values, stored: storedByteCount / names.count)
        }
    }
}
