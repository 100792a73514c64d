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
        do {
            return try content.withUnsafeBytes { (bytes) throws(JSONError) in
                try JSONScanner.parse(bytes, allowsNonFinite: allowsNonFinite)
            }
        } catch {
            throw BadDataError(
                file: path, reason: error.description,
                remedy: "restore the file from its repository")
        }
    }
}
