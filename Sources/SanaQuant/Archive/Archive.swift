import SanaModel

/// A checkpoint in one compressed file: a safetensors file cut into zstd frames at tensor
/// boundaries, with a seek table and a manifest.
///
/// Everything in the file is untrusted. Opening reads the table, the manifest and the header; a
/// frame is checked when it is decoded. A `.zst` file without a table opens too, by a scan of its
/// frames, and has no manifest.
public struct Archive: TensorSource {
    /// Path it was opened from.
    public let path: String
    /// Header of the safetensors file inside.
    public let header: SafetensorsHeader
    /// Length field and JSON header of that file, as they stand in it.
    public let headerBytes: ByteView
    /// `nil` without a seek table, or when the table lists no manifest.
    public let manifest: Manifest?
    /// Size of the archive.
    public var byteCount: Int { file.count }
    /// Size of the safetensors file inside.
    public let contentByteCount: Int

    let file: ByteView
    let frames: [Frame]
    let decoders: FreeList<FrameDecoder>
    private let indexByName: [String: Int]

    /// Where a frame lies in the archive and what it holds.
    struct Frame: Equatable {
        let offset: Int
        let byteCount: Int
        let contentOffset: Int
        let contentByteCount: Int
        /// `nil` without a seek table.
        let checksum: UInt32?

        var contentEnd: Int { contentOffset + contentByteCount }
    }

    /// Metadata that marks tensors stored as byte planes, which this version cannot join.
    private static let planesMetadataKey = "sana_tools.planes16"

    /// Opens the archive at `path`.
    ///
    /// - Throws: `FileError`, `ArchiveError`, `SafetensorsError`.
    public init(path: String) throws {
        try self.init(content: ByteView(mapping: path), path: path)
    }

    /// Opens an archive that is already in memory.
    ///
    /// - Throws: `ArchiveError`, `SafetensorsError`.
    public init(content file: ByteView, path: String) throws {
        do {
            self = try Self.open(file, path: path)
        } catch let rule as ArchiveError.Rule {
            throw ArchiveError(path, rule)
        }
    }

    private static func open(_ file: ByteView, path: String) throws -> Archive {
        let (index, table) = try file.withUnsafeBytes { bytes in
            let table = try SeekTable(endOf: bytes)
            return (
                try table.map { try FrameIndex($0, bytes) } ?? FrameIndex(scanning: bytes), table
            )
        }
        let decoders = FreeList { try FrameDecoder() }
        let headerBytes = try readHeader(file, index, decoders, isStrict: table != nil, path: path)
        let start = headerBytes.count
        let header = try headerBytes.withUnsafeBytes { bytes in
            try SafetensorsHeader(
                json: bytes.part(8, start - 8), dataByteCount: index.contentByteCount - start,
                file: path)
        }
        let archive = Archive(
            path: path, header: header, headerBytes: headerBytes,
            manifest: try index.manifest(in: file),
            contentByteCount: index.contentByteCount, file: file, frames: index.frames,
            decoders: decoders,
            indexByName: Dictionary(
                uniqueKeysWithValues: header.tensors.enumerated().map { ($1.name, $0) }))
        guard !header.metadata.contains(where: { $0.key == planesMetadataKey }) else {
            throw ArchiveError.Rule.profile("planes16")
        }
        if table != nil { try archive.checkLayout() }
        return archive
    }

    private init(
        path: String, header: SafetensorsHeader, headerBytes: ByteView, manifest: Manifest?,
        contentByteCount: Int, file: ByteView, frames: [Frame], decoders: FreeList<FrameDecoder>,
        indexByName: [String: Int]
    ) {
        (self.path, self.header, self.headerBytes) = (path, header, headerBytes)
        (self.manifest, self.contentByteCount) = (manifest, contentByteCount)
        (self.file, self.frames, self.decoders) = (file, frames, decoders)
        self.indexByName = indexByName
    }

    /// Decodes the safetensors header, which with a table fills the first frame exactly.
    private static func readHeader(
        _ file: ByteView, _ index: FrameIndex, _ decoders: FreeList<FrameDecoder>, isStrict: Bool,
        path: String
    ) throws -> ByteView {
        let reader = FrameReader(file: file, frames: index.frames, decoders: decoders)
        let lengthByteCount = SafetensorsHeader.lengthByteCount
        func headerByteCount(_ bytes: UnsafeRawBufferPointer) throws -> Int {
            lengthByteCount
                + (try SafetensorsHeader.headerByteCount(
                    bytes, fileByteCount: index.contentByteCount, file: path))
        }
        guard isStrict else {
            let length = try reader.read(0..<min(lengthByteCount, index.contentByteCount))
            return try reader.read(0..<length.withUnsafeBytes(headerByteCount))
        }
        let first = try reader.read(0..<index.frames[0].contentByteCount)
        let described = try first.withUnsafeBytes(headerByteCount)
        guard described == first.count else {
            throw ArchiveError.Rule.headerFrame(described: described, present: first.count)
        }
        return first
    }

    /// Checks frames and manifest against the header.
    private func checkLayout() throws(ArchiveError.Rule) {
        var next = 1
        for (index, tensor) in header.tensors.enumerated() {
            let first = next
            let start = headerBytes.count + header.dataOffsets[index]
            while next < frames.count, frames[next].contentOffset < start + tensor.byteCount {
                next += 1
            }
            guard frames[next - 1].contentEnd == start + tensor.byteCount else {
                throw .tensorBoundary(tensor: tensor.name)
            }
            guard let manifest else { continue }
            guard index < manifest.tensors.count, manifest.tensors[index].name == tensor.name else {
                throw .contradiction("tensor \(index) is '\(tensor.name)'")
            }
            let entry = manifest.tensors[index]
            guard entry.firstFrame == first, entry.frameCount == next - first else {
                throw .contradiction("frames of '\(tensor.name)' are \(first)..<\(next)")
            }
            for frame in frames[first..<next].dropLast() {
                guard frame.contentByteCount == manifest.chunkByteCount else {
                    throw .contradiction("frames of '\(tensor.name)' are not of chunk_bytes")
                }
            }
        }
        guard let manifest else { return }
        guard manifest.tensors.count == header.tensors.count else {
            throw .contradiction("\(header.tensors.count) tensors are there")
        }
        guard manifest.contentByteCount == contentByteCount else {
            throw .contradiction("content has \(contentByteCount) bytes")
        }
        guard manifest.headerSHA256 == WeightsDigest.sha256(headerBytes).hexadecimal else {
            throw .contradiction("header_sha256 is not that of the header")
        }
    }

    // MARK: Tensors

    public var tensors: [TensorInfo] { header.tensors }

    public func info(_ name: String) -> TensorInfo? { indexByName[name].map { header.tensors[$0] } }

    /// Decodes the frames of a tensor.
    ///
    /// - Throws: `ArchiveError`.
    public func bytes(of tensor: TensorInfo) throws -> ByteView {
        guard let index = indexByName[tensor.name] else {
            throw ArchiveError(path, .noTensor(tensor.name))
        }
        return try read(contentRange(ofTensor: index))
    }

    /// Decodes the whole archive once, into one allocation, checking the rules of every frame.
    ///
    /// - Throws: `ArchiveError`; also when the machine has less memory than that takes.
    public func resident(using workers: WorkerPool) throws -> any TensorSource {
        try checkMemory(contentByteCount)
        let content = try ByteView(count: contentByteCount) { target in
            nonisolated(unsafe) let target = target
            _ = try workers.map(frames.count) { index in
                let frame = frames[index]
                try decode(
                    index, into: .init(rebasing: target[frame.contentOffset..<frame.contentEnd]))
            }
        }
        return try SafetensorsFile(content: content, path: path)
    }

    /// Bytes of a tensor in the safetensors file inside.
    func contentRange(ofTensor index: Int) -> Range<Int> {
        let start = headerBytes.count + header.dataOffsets[index]
        return start..<start + header.tensors[index].byteCount
    }

    /// Decodes part of the content.
    private func read(_ range: Range<Int>) throws -> ByteView {
        try checkMemory(range.count)
        do {
            return try FrameReader(file: file, frames: frames, decoders: decoders).read(range)
        } catch let rule as ArchiveError.Rule {
            throw ArchiveError(path, rule)
        }
    }

    /// Decodes one frame into exactly its content.
    func decode(_ index: Int, into target: UnsafeMutableRawBufferPointer) throws {
        do {
            try FrameReader(file: file, frames: frames, decoders: decoders).decode(
                index, into: target)
        } catch let rule as ArchiveError.Rule {
            throw ArchiveError(path, rule)
        }
    }

    /// A few bytes can unpack to far more than there is: refused before memory is asked for.
    private func checkMemory(_ count: Int) throws(ArchiveError) {
        let present = Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(sysconf(Int32(_SC_PAGESIZE)))
        guard present <= 0 || count <= present else {
            throw ArchiveError(path, .tooLargeForMemory(byteCount: count, present: present))
        }
    }
}

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif
