/// A memory-mapped safetensors file.
public struct SafetensorsFile: TensorSource {
    /// Path it was opened from.
    public let path: String
    public let header: SafetensorsHeader
    private let content: ByteView
    private let dataStart: Int
    private let indexByName: [String: Int]

    /// Maps and checks the file.
    ///
    /// - Throws: `FileError`, `SafetensorsError`, or `BadDataError` for a download that has not
    ///   finished.
    public init(path: String) throws {
        let content = try ByteView(mapping: path)
        try UnfinishedDownload.check(path)
        try self.init(content: content, path: path)
    }

    /// Checks a file that is already in memory.
    ///
    /// - Throws: `SafetensorsError`.
    public init(content: ByteView, path: String) throws(SafetensorsError) {
        do {
            (dataStart, header) = try Self.readHeader(content, path: path)
        } catch {
            guard error.isUnreadable, let foreign = ForeignContent(content),
                foreign != .safetensors
            else { throw error }
            throw SafetensorsError(path, .foreign(foreign))
        }
        self.path = path
        self.content = content
        indexByName = Dictionary(
            uniqueKeysWithValues: self.header.tensors.enumerated().map { ($1.name, $0) })
    }

    private static func readHeader(
        _ content: ByteView, path: String
    ) throws(SafetensorsError) -> (dataStart: Int, SafetensorsHeader) {
        try content.withUnsafeBytes {
            (bytes) throws(SafetensorsError) -> (Int, SafetensorsHeader) in
            let count = try SafetensorsHeader.headerByteCount(
                bytes, fileByteCount: bytes.count, file: path)
            let start = SafetensorsHeader.lengthByteCount
            let json = UnsafeRawBufferPointer(rebasing: bytes[start..<start + count])
            return (
                start + count,
                try SafetensorsHeader(
                    json: json, dataByteCount: bytes.count - start - count, file: path)
            )
        }
    }

    public var tensors: [TensorInfo] { header.tensors }

    public var metadata: [String: String] {
        Dictionary(header.metadata.map { ($0.key, $0.value) }) { first, _ in first }
    }

    public func info(_ name: String) -> TensorInfo? { indexByName[name].map { header.tensors[$0] } }

    public func bytes(of tensor: TensorInfo) throws -> ByteView {
        guard let index = indexByName[tensor.name] else {
            throw BadDataError(file: path, reason: "no tensor '\(tensor.name.printable)'")
        }
        return content.slice(dataStart + header.dataOffsets[index], header.tensors[index].byteCount)
    }

    /// The eight length bytes and the JSON header, as they stand in the file.
    public var headerBytes: ByteView { content.slice(0, dataStart) }

    /// The whole file.
    public var fileBytes: ByteView { content }
}
