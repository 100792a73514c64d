/// A GGUF file: named settings and tensors, quantized in blocks along their rows or not.
///
/// Source: ggml `docs/gguf.md`, versions 2 and 3, little-endian. ComfyUI-GGUF (city96) keeps the
/// names of the original checkpoint and notes the shapes of tensors that it had to reshape under
/// `comfy.gguf.orig_shape.NAME`.
struct GGUFFile {
    /// In the order of the file.
    let tensors: [StoredTensor]
    /// What `general.architecture` says.
    let architecture: String?
    /// The model's configuration, where sana-tools wrote the file.
    let config: JSONValue?
    /// What else sana-tools noted there, such as the adapters in the weights.
    let metadata: [String: String]
    /// The zeros at its end, if a download has not written them.
    let zeroTail: ZeroTail?

    /// Whether a file begins as GGUF does, and is not called a safetensors file, which nobody else
    /// would read as what it is.
    static func isGGUF(_ content: ByteView, path: String) -> Bool {
        content.count >= 4 && !path.hasSuffix(".safetensors")
            && content.slice(0, 4).withUnsafeBytes { $0.elementsEqual("GGUF".utf8) }
    }

    private static let maximumCount = 1 << 16
    private static let maximumRank = 4
    private static let shapePrefix = "comfy.gguf.orig_shape."
    private static let notePrefix = "sana_tools."
    private static let configKey = notePrefix + "config"

    /// - Throws: `BadDataError` for a file that is damaged, `QuantizationError` for blocks that
    ///   cannot be read.
    init(_ content: ByteView, path: String) throws {
        var reader = try Reader(content, path: path)
        let header = try content.withUnsafeBytes { try reader.header($0) }
        (architecture, metadata) = (header.architecture, header.notes)
        config = try header.notes[Self.configKey].map {
            try JSONFile.parse(ByteView(Array($0.utf8)), path: path, allowsNonFinite: false)
        }
        let start = (header.end + header.alignment - 1) / header.alignment * header.alignment
        var names = Set<String>()
        tensors = try header.entries.map { entry in
            guard names.insert(entry.name).inserted else {
                throw reader.broken("two tensors are named '\(entry.name.printable)'")
            }
            guard let type = GGUFType(rawValue: entry.type) else {
                throw QuantizationError(
                    file: path,
                    finding: QuantizationCheck.unsupported(
                        "GGUF", GGUFType.name(entry.type), entry.name))
            }
            return try Self.tensor(entry, type, header, content, from: start, reader)
        }
        guard !tensors.isEmpty else { throw reader.broken("it holds no tensors") }
        let parts = zip(header.entries, tensors).sorted { $0.0.offset > $1.0.offset }
        zeroTail = ZeroTail(
            lastFirst: parts.lazy.map { entry, tensor in
                (tensor.info, content.slice(start + entry.offset, tensor.storedByteCount))
            })
    }

    private static func tensor(
        _ entry: Entry, _ type: GGUFType, _ header: Header, _ content: ByteView, from start: Int,
        _ reader: Reader
    ) throws -> StoredTensor {
        func broken(_ reason: String) -> BadDataError {
            reader.broken("tensor '\(entry.name.printable)' \(reason)")
        }
        let stored = entry.sizes.reversed() as [Int]
        let shape = header.shapes[entry.name] ?? stored
        guard let info = TensorInfo(name: entry.name, dtype: type.dtype ?? .f32, shape: shape),
            TensorInfo(name: "", dtype: .f32, shape: stored)?.elementCount == info.elementCount
        else { throw broken("has the impossible shape \(shape)") }
        let count = info.elementCount
        guard (stored.last ?? 1) % type.blockCount == 0 else {
            throw broken("of shape \(stored) is not made of whole blocks of \(type.blockCount)")
        }
        let (size, overflow) = (count / type.blockCount).multipliedReportingOverflow(
            by: type.blockByteCount)
        let (first, pastEnd) = start.addingReportingOverflow(entry.offset)
        guard !overflow, !pastEnd, first <= content.count, size <= content.count - first else {
            throw broken("reaches past the end of the file")
        }
        guard first % header.alignment == 0 else { throw broken("does not begin at a whole word") }
        let bytes = content.slice(first, size)
        guard type.dtype == nil else { return StoredTensor(info, bytes) }
        let rows = shape.first ?? 1
        guard rows > 0, (count / rows) % type.blockCount == 0 else {
            throw broken("of shape \(shape) has rows that are not whole blocks")
        }
        return StoredTensor(
            info, blocks: bytes, recipe: "GGUF \(type.description)", type: type,
            columns: count / rows)
    }

    // MARK: Header

    private struct Entry {
        let name: String
        /// Innermost dimension first.
        let sizes: [Int]
        let type: UInt32
        let offset: Int
    }

    private struct Header {
        var entries: [Entry] = []
        var architecture: String?
        /// Texts of sana-tools' own, by their keys.
        var notes: [String: String] = [:]
        var alignment = 32
        /// By tensor, what ComfyUI-GGUF notes.
        var shapes: [String: [Int]] = [:]
        /// The first byte behind it.
        var end = 0
    }

    private struct Reader {
        let path: String

        init(_ content: ByteView, path: String) throws { self.path = path }

        func broken(_ reason: String) -> BadDataError {
            BadDataError(
                file: path, reason: "GGUF file is broken: \(reason)",
                remedy: "download the file again")
        }

        mutating func header(_ bytes: UnsafeRawBufferPointer) throws -> Header {
            guard var cursor = ByteCursor(bytes, at: 4) else { throw broken("it is truncated") }
            let version = try number(&cursor, UInt32.self)
            guard (2...3).contains(version) else {
                throw broken(
                    version > 0xFFFF ? "it is big-endian" : "version \(version) is not 2 or 3")
            }
            let (tensorCount, pairCount) = (try count(&cursor), try count(&cursor))
            guard tensorCount <= maximumCount, pairCount <= maximumCount else {
                throw broken("it lists more than \(maximumCount) tensors or settings")
            }
            var header = Header()
            for _ in 0..<pairCount {
                let key = try string(&cursor)
                let value = try value(&cursor, type: number(&cursor, UInt32.self), depth: 0)
                switch (key, value) {
                case ("general.architecture", .string(let name)): header.architecture = name
                case (_, .string(let text)) where key.hasPrefix(notePrefix):
                    header.notes[key] = text
                case ("general.alignment", .int(let size)):
                    guard size > 0, size <= 1 << 20, size.nonzeroBitCount == 1 else {
                        throw broken("its alignment is \(size)")
                    }
                    header.alignment = size
                case (_, .ints(let sizes)) where key.hasPrefix(shapePrefix):
                    header.shapes[String(key.dropFirst(shapePrefix.count))] = sizes
                default: break
                }
            }
            for _ in 0..<tensorCount { header.entries.append(try entry(&cursor)) }
            header.end = cursor.offset
            return header
        }

        private func entry(_ cursor: inout ByteCursor) throws -> Entry {
            let name = try string(&cursor)
            guard name.utf8.count <= SafetensorsHeader.maximumNameByteCount else {
                throw broken("the name of a tensor is too long")
            }
            let rank = Int(try number(&cursor, UInt32.self))
            guard rank <= maximumRank else { throw broken("a tensor has \(rank) dimensions") }
            let sizes = try (0..<rank).map { _ in try count(&cursor) }
            let type = try number(&cursor, UInt32.self)
            return Entry(name: name, sizes: sizes, type: type, offset: try count(&cursor))
        }

        private enum Value {
            case string(String)
            case int(Int)
            case ints([Int])
            case other
        }

        /// Bytes of the scalar types, by their number.
        private static let widths: [UInt32: Int] = [
            0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8,
        ]

        private func value(
            _ cursor: inout ByteCursor, type: UInt32, depth: Int
        ) throws -> Value {
            switch type {
            case 4: return .int(Int(try number(&cursor, UInt32.self)))
            case 5: return .int(Int(try number(&cursor, Int32.self)))
            case 10: return .int(try count(&cursor))
            case 11: return .int(Int(try number(&cursor, Int64.self)))
            case 8: return .string(try string(&cursor))
            case 9:
                guard depth < 4 else { throw broken("lists are nested too deeply") }
                let inner = try number(&cursor, UInt32.self)
                return try list(&cursor, of: inner, depth: depth + 1)
            default:
                guard let width = Self.widths[type], cursor.part(width) != nil else {
                    throw broken("a setting has the unknown type \(type)")
                }
                return .other
            }
        }

        private func list(
            _ cursor: inout ByteCursor, of type: UInt32, depth: Int
        ) throws -> Value {
            let size = try count(&cursor)
            if size <= 8, [4, 5, 10, 11].contains(type) {
                return .ints(
                    try (0..<size).map { _ in
                        guard case .int(let value) = try value(&cursor, type: type, depth: depth)
                        else { throw broken("a list has elements of another type than declared") }
                        return value
                    })
            }
            if let width = Self.widths[type] {
                let (bytes, overflow) = size.multipliedReportingOverflow(by: width)
                guard !overflow, cursor.part(bytes) != nil else {
                    throw broken("a list is truncated")
                }
                return .other
            }
            // Texts and lists take at least their length each.
            guard size <= cursor.remaining / 8 else { throw broken("a list is truncated") }
            for _ in 0..<size { _ = try value(&cursor, type: type, depth: depth) }
            return .other
        }

        private func number<Number: FixedWidthInteger>(
            _ cursor: inout ByteCursor, _ type: Number.Type
        ) throws -> Number {
            guard let number = cursor.number(type) else { throw broken("it is truncated") }
            return number
        }

        private func count(_ cursor: inout ByteCursor) throws -> Int {
            guard let count = cursor.int(UInt64.self) else {
                throw broken("a length is out of range or truncated")
            }
            return count
        }

        private func string(_ cursor: inout ByteCursor) throws -> String {
            guard let bytes = try cursor.part(count(&cursor)) else {
                throw broken("a string is truncated")
            }
            guard let text = String(validating: bytes, as: UTF8.self), text.isStreamSafe else {
                throw broken("a string is not UTF-8")
            }
            return text
        }
    }
}
