/// Reading JSON files of bounded size.
public enum JSONFile {
    /// - Parameters:
    ///   - maximumByteCount: larger files are refused before they are parsed.
    ///   - allowsNonFinite: accept the `NaN` and `Infinity` that Python writes.
    /// - Throws: `FileError`, or `BadDataError` for text that is not strict JSON.
    public static func read(
        _ path: String, maximumByteCount: Int = 8 << 20, allowsNonFinite: Bool = false
    ) throws -> JSONValue {
        try parse(
            ByteView(mapping: path), path: path, maximumByteCount: maximumByteCount,
            allowsNonFinite: allowsNonFinite)
    }

    /// The document in bytes that are a file's, or stand in one.
    ///
    /// - Parameter path: for messages.
    /// - Throws: `BadDataError` for text that is too long or not strict JSON.
    public static func parse(
        _ content: ByteView, path: String, maximumByteCount: Int = 8 << 20,
        allowsNonFinite: Bool = false
    ) throws -> JSONValue {
        guard content.count <= maximumByteCount else {
            throw BadDataError(
                file: path,
                reason: "\(content.count) bytes is over the limit of \(maximumByteCount)")
        }
        return try telling(content, path) { bytes throws(JSONError) in
            try JSONScanner.parse(bytes, allowsNonFinite: allowsNonFinite)
        }
    }

    /// The keys of the object that a document is, of which nothing else is kept: for large files
    /// that only have to be whole.
    ///
    /// - Parameter path: for messages.
    /// - Throws: `BadDataError` for text that is not strict JSON, or not an object.
    public static func keys(_ content: ByteView, path: String) throws -> Set<String> {
        try telling(content, path) { bytes throws(JSONError) in
            var scanner = JSONScanner(bytes, allowsNonFinite: true)
            var keys = Set<String>()
            try scanner.object { scanner, key throws(JSONError) in
                keys.insert(key)
                try scanner.skipValue()
            }
            try scanner.end()
            return keys
        }
    }

    /// The error for content that is of another kind altogether, such as a Git LFS pointer.
    package static func foreignContent(_ content: ByteView, _ path: String) -> BadDataError? {
        switch ForeignContent(content) {
        case nil, .text: nil
        case .some(let foreign):
            BadDataError(
                file: path, reason: "is \(foreign.description)", remedy: foreign.remedy,
                page: foreign.page)
        }
    }

    /// Turns what is wrong with a document into an error that names the file.
    private static func telling<Value>(
        _ content: ByteView, _ path: String,
        _ read: (UnsafeRawBufferPointer) throws(JSONError) -> Value
    ) throws -> Value {
        let mark = ByteOrderMark(content)
        if let mark, mark != .utf8 {
            throw BadDataError(
                file: path, reason: "is JSON in \(mark.rawValue), not UTF-8",
                remedy: "save the file as UTF-8, or restore it from its repository")
        }
        let content = mark == nil ? content : content.slice(3, content.count - 3)
        do {
            return try content.withUnsafeBytes { (bytes) throws(JSONError) in try read(bytes) }
        } catch {
            if let foreign = foreignContent(content, path) { throw foreign }
            throw BadDataError(
                file: path, reason: error.description,
                remedy: "restore the file from its repository")
        }
    }
}

/// What some editors put before text to say how it is encoded. UTF-16 without it is told by the
/// zeros between letters.
public enum ByteOrderMark: String, Sendable {
    case utf8 = "UTF-8"
    case utf16 = "UTF-16"
    case utf32 = "UTF-32"

    /// The mark that `content` begins with; `nil` where it has none.
    public init?(_ content: ByteView) {
        let start = content.slice(0, min(content.count, 4)).withUnsafeBytes { Array($0) }
        if start.starts(with: [0xEF, 0xBB, 0xBF]) {
            self = .utf8
        } else if start == [0xFF, 0xFE, 0, 0] || start == [0, 0, 0xFE, 0xFF] {
            self = .utf32
        } else if [[0xFF, 0xFE], [0xFE, 0xFF], [0x7B, 0], [0, 0x7B]].contains(where: {
            start.starts(with: $0)
        }) {
            self = .utf16
        } else {
            return nil
        }
    }
}
