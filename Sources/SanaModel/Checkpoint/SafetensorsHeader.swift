/// The header of a safetensors file, checked.
///
/// Stricter than the Rust reader: duplicate keys are refused at every level, so are holes, overlaps
/// and trailing bytes. Tensors may be listed in any order and the header may be padded with spaces.
public struct SafetensorsHeader: Sendable {
    /// Longest header accepted, as in the Rust reader.
    public static let maximumByteCount = 100_000_000
    /// Most tensors, and most pairs of `__metadata__`: more than any model has.
    public static let maximumTensorCount = 1 << 16
    /// Longest name of a tensor, in bytes.
    public static let maximumNameByteCount = 1024
    /// Bytes of the length field before the header.
    public static let lengthByteCount = 8

    /// Tensors in the order of their data.
    public let tensors: [TensorInfo]
    /// First byte of each tensor, counted from the end of the header, parallel to `tensors`.
    public let dataOffsets: [Int]
    /// Bytes of data behind the header.
    public let dataByteCount: Int
    /// `__metadata__`, sorted by key.
    public let metadata: [(key: String, value: String)]
    /// What the format has no place for and its library passes over, for people.
    public let warnings: [String]

    /// Reads the length field.
    ///
    /// - Parameters:
    ///   - bytes: the beginning of a file, at least eight bytes unless the file is shorter.
    ///   - fileByteCount: size of the whole file, where known.
    /// - Returns: bytes of the JSON header.
    /// - Throws: `SafetensorsError`.
    public static func headerByteCount(
        _ bytes: UnsafeRawBufferPointer, fileByteCount: Int, file: String
    ) throws(SafetensorsError) -> Int {
        guard bytes.count >= lengthByteCount else {
            throw SafetensorsError(file, .noHeader(fileByteCount: fileByteCount))
        }
        let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        guard length <= maximumByteCount else {
            throw SafetensorsError(file, .headerTooLong(length))
        }
        guard length <= fileByteCount - lengthByteCount else {
            throw SafetensorsError(
                file, .headerPastEnd(headerByteCount: Int(length), fileByteCount: fileByteCount))
        }
        return Int(length)
    }

    /// Parses and checks the JSON header.
    ///
    /// - Parameters:
    ///   - json: the header without its length field.
    ///   - dataByteCount: bytes that follow it in the file.
    ///   - file: name for messages.
    /// - Throws: `SafetensorsError`, one case per broken rule.
    public init(
        json: UnsafeRawBufferPointer, dataByteCount: Int, file: String
    ) throws(SafetensorsError) {
        guard json.first == UInt8(ascii: "{") else {
            throw SafetensorsError(file, .headerNotObject)
        }
        var entries: [(info: TensorInfo, start: Int, end: Int)] = []
        var metadata: [(key: String, value: String)] = []
        var (hasNoMetadata, oddKey): (Bool, (tensor: String, key: String)?) = (false, nil)
        // A rule broken inside the scanner's callbacks travels here: they may throw JSONError
        // alone.
        var broken: SafetensorsError?
        do throws(JSONError) {
            var scanner = JSONScanner(json)
            try scanner.object { scanner, name throws(JSONError) in
                if name == "__metadata__" {
                    guard !scanner.isNext(UInt8(ascii: "n")) else {
                        hasNoMetadata = true
                        return try scanner.skipValue()
                    }
                    try scanner.object { scanner, key throws(JSONError) in
                        guard metadata.count < Self.maximumTensorCount else {
                            throw scanner.error("more than \(Self.maximumTensorCount) members")
                        }
                        metadata.append((key, try scanner.string()))
                    }
                    return
                }
                guard entries.count < Self.maximumTensorCount else {
                    throw scanner.error("more than \(Self.maximumTensorCount) tensors")
                }
                do throws(SafetensorsError) {
                    guard name.utf8.count <= Self.maximumNameByteCount else {
                        throw SafetensorsError(file, .longName(tensor: name))
                    }
                    let entry = try Entry(&scanner, file: file)
                    if let key = entry.unknownKey, oddKey == nil { oddKey = (name, key) }
                    entries.append(try entry.checked(name: name, file: file))
                } catch {
                    broken = error
                    throw scanner.error("broken entry")
                }
            }
            try scanner.end()
        } catch {
            throw broken ?? SafetensorsError(file, .invalidJSON(error))
        }
        entries.sort { ($0.start, $0.end) < ($1.start, $1.end) }
        var next = 0
        for entry in entries {
            guard entry.start == next else {
                throw SafetensorsError(
                    file,
                    entry.start < next
                        ? .overlap(tensor: entry.info.name, offset: entry.start)
                        : .hole(before: entry.info.name, from: next, to: entry.start))
            }
            next = entry.end
        }
        guard next == dataByteCount else {
            throw SafetensorsError(
                file, .dataSize(described: next, present: dataByteCount))
        }
        tensors = entries.map(\.info)
        dataOffsets = entries.map(\.start)
        self.dataByteCount = dataByteCount
        self.metadata = metadata.sorted { $0.key < $1.key }
        warnings =
            (hasNoMetadata ? ["\"__metadata__\" is null"] : [])
            + (oddKey.map {
                ["tensor '\($0.tensor.printable)' has the unknown key \"\($0.key.printable)\""]
            } ?? [])
    }

    /// One tensor's object, as written.
    private struct Entry {
        var dtype: String?
        var shape: [Int]?
        var offsets: [Int]?

        /// Most dimensions that torch gives a tensor.
        private static let maximumRank = 64

        /// A key that the format does not have.
        var unknownKey: String?

        init(_ scanner: inout JSONScanner, file: String) throws(SafetensorsError) {
            var (dtype, unknown): (String?, String?)
            var (shape, offsets): ([Int]?, [Int]?)
            func integers(_ scanner: inout JSONScanner) throws(JSONError) -> [Int] {
                var values: [Int] = []
                try scanner.array { scanner throws(JSONError) in
                    guard values.count < Self.maximumRank else {
                        throw scanner.error("more than \(Self.maximumRank) numbers")
                    }
                    values.append(try scanner.unsignedInteger())
                }
                return values
            }
            do throws(JSONError) {
                try scanner.object { scanner, key throws(JSONError) in
                    switch key {
                    case "dtype": dtype = try scanner.string()
                    case "shape": shape = try integers(&scanner)
                    case "data_offsets": offsets = try integers(&scanner)
                    default:
                        unknown = unknown ?? key
                        try scanner.skipValue()
                    }
                }
            } catch {
                throw SafetensorsError(file, .invalidJSON(error))
            }
            (self.dtype, self.shape, self.offsets) = (dtype, shape, offsets)
            unknownKey = unknown
        }

        func checked(
            name: String, file: String
        ) throws(SafetensorsError) -> (TensorInfo, Int, Int) {
            guard let dtype, let shape, let offsets else {
                throw SafetensorsError(
                    file,
                    .missingKey(
                        tensor: name,
                        key: dtype == nil ? "dtype" : shape == nil ? "shape" : "data_offsets"))
            }
            guard let type = DType(rawValue: dtype) else {
                throw SafetensorsError(file, .unknownDType(tensor: name, dtype: dtype))
            }
            guard let info = TensorInfo(name: name, dtype: type, shape: shape) else {
                throw SafetensorsError(file, .sizeOverflow(tensor: name, dtype: type, shape: shape))
            }
            guard offsets.count == 2, offsets[0] <= offsets[1] else {
                throw SafetensorsError(file, .invalidOffsets(tensor: name, offsets: offsets))
            }
            guard offsets[1] - offsets[0] == info.byteCount else {
                throw SafetensorsError(
                    file,
                    .sizeMismatch(
                        tensor: name, expected: info.byteCount, actual: offsets[1] - offsets[0]))
            }
            return (info, offsets[0], offsets[1])
        }
    }
}

/// A safetensors file that breaks a rule of the format.
public struct SafetensorsError: DiagnosticError, Equatable {
    /// The rule that is broken.
    public enum Rule: Sendable, Equatable {
        /// The file is something else.
        case foreign(ForeignContent)
        case noHeader(fileByteCount: Int)
        case headerTooLong(UInt64)
        case headerPastEnd(headerByteCount: Int, fileByteCount: Int)
        case headerNotObject
        case invalidJSON(JSONError)
        case longName(tensor: String)
        case missingKey(tensor: String, key: String)
        case unknownDType(tensor: String, dtype: String)
        case sizeOverflow(tensor: String, dtype: DType, shape: [Int])
        case invalidOffsets(tensor: String, offsets: [Int])
        case sizeMismatch(tensor: String, expected: Int, actual: Int)
        case overlap(tensor: String, offset: Int)
        case hole(before: String, from: Int, to: Int)
        case dataSize(described: Int, present: Int)
    }

    public let file: String
    public let rule: Rule

    public init(_ file: String, _ rule: Rule) {
        self.file = file
        self.rule = rule
    }

    public var category: DiagnosticCategory { .badData }

    /// Whether there is not even a header.
    var isUnreadable: Bool {
        switch rule {
        case .noHeader, .headerTooLong, .headerPastEnd, .headerNotObject, .invalidJSON: true
        default: false
        }
    }

    public var description: String { "\(file.printable): \(reason)" }

    private var reason: String {
        switch rule {
        case .foreign(let content): "is \(content.description)"
        case .noHeader(let count):
            "not a safetensors file: \(count) bytes cannot hold the 8-byte header length"
        case .headerTooLong(let length):
            "header length \(length) is over the limit of \(SafetensorsHeader.maximumByteCount) bytes"
        case .headerPastEnd(let header, let file):
            "header of \(header) bytes does not fit the file of \(file) bytes"
        case .headerNotObject: "header does not start with '{'"
        case .invalidJSON(let error): "header is \(error)"
        case .longName(let tensor):
            "the name '\(tensor.printable)' of \(tensor.utf8.count) bytes is over the limit of "
                + "\(SafetensorsHeader.maximumNameByteCount)"
        case .missingKey(let tensor, let key):
            "tensor '\(tensor.printable)' has no \"\(key)\""
        case .unknownDType(let tensor, let dtype):
            "tensor '\(tensor.printable)' has the unknown dtype \"\(dtype.printable)\""
        case .sizeOverflow(let tensor, let dtype, let shape):
            "tensor '\(tensor.printable)': \(dtype.rawValue) × \(shape) is not a whole number of bytes that fits"
        case .invalidOffsets(let tensor, let offsets):
            "tensor '\(tensor.printable)' has invalid data_offsets \(offsets.prefix(4))"
        case .sizeMismatch(let tensor, let expected, let actual):
            "tensor '\(tensor.printable)' takes \(expected) bytes by its shape and dtype, \(actual) by its data_offsets"
        case .overlap(let tensor, let offset):
            "tensor '\(tensor.printable)' overlaps another at data offset \(offset)"
        case .hole(let tensor, let from, let to):
            "data bytes \(from)..<\(to) before tensor '\(tensor.printable)' belong to no tensor"
        case .dataSize(let described, let present):
            present < described
                ? "file is truncated: the header describes \(described) data bytes, but only \(present) are present"
                : "\(present - described) bytes after the last tensor belong to no tensor"
        }
    }

    public var remedy: String? {
        switch rule {
        case .foreign(let content): content.remedy
        case .noHeader, .headerPastEnd: "download the file again"
        case .dataSize(let described, let present) where present < described:
            "download the file again and compare its size with the repository's"
        case .unknownDType:
            "update sana-tools, or convert the tensor with the program that wrote it"
        default: "write the file again with the safetensors library"
        }
    }

    public var page: HelpPage? {
        switch rule {
        case .foreign(let content): content.page
        case .noHeader, .headerPastEnd: .fileTruncated
        case .dataSize(let described, let present) where present < described: .fileTruncated
        case .unknownDType: nil
        default: .fileInvalid
        }
    }
}
