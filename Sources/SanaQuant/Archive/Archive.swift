import Libc
import SanaModel

/// A checkpoint in one compressed file: a safetensors file cut into zstd frames at tensor
/// boundaries, with a seek table and a manifest.
///
/// Everything in the file is untrusted. Opening reads the table, the manifest and the header; a
/// frame is checked when it is decoded. A `.zst` file without table and manifest opens too, by a
/// scan of its frames; nothing tells then whether its values are those that were packed.
public struct Archive: TensorSource {
    /// How the files are called.
    public static let suffix = ModelLocator.archiveSuffix

    /// Path it was opened from.
    public let path: String
    /// Every tensor in its own type, in the order of the data.
    public let tensors: [TensorInfo]
    /// Header of the safetensors file inside, as it is stored.
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
    private let cache: FrameCache
    /// Names of the tensors that are stored as byte planes.
    let split: Set<String>
    /// The frames of every tensor; empty without a seek table.
    private(set) var framesByTensor: [Range<Int>] = []
    private let indexByName: [String: Int]

    /// Where a frame is in the archive and what it holds.
    struct Frame: Equatable {
        let offset: Int
        let byteCount: Int
        let contentOffset: Int
        let contentByteCount: Int
        /// `nil` without a seek table.
        let checksum: UInt32?

        var contentEnd: Int { contentOffset + contentByteCount }
    }

    /// Opens the archive at `path`.
    ///
    /// - Throws: `FileError`, `ArchiveError`, `SafetensorsError`.
    public init(path: String) throws {
        let content = try ByteView(mapping: path)
        if let marker = UnfinishedDownload.marker(of: path) {
            throw ArchiveError(path, .unfinished(marker: marker.lastPathComponent))
        }
        try self.init(content: content, path: path)
    }

    /// Opens an archive that is already in memory.
    ///
    /// - Throws: `ArchiveError`, `SafetensorsError`.
    public init(content file: ByteView, path: String) throws {
        do {
            self = try Self.open(file, path: path)
        } catch let rule as ArchiveError.Rule {
            if let foreign = ForeignContent(file), foreign != .zstd {
                throw ArchiveError(path, .foreign(foreign))
            }
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
        let cache = FrameCache()
        let reader = FrameReader(
            file: file, frames: index.frames, decoders: decoders, cache: cache)
        let headerBytes = try readHeader(reader, index, isStrict: table != nil, path: path)
        let start = headerBytes.count
        let header = try headerBytes.withUnsafeBytes { bytes in
            try SafetensorsHeader(
                json: bytes.part(8, start - 8), dataByteCount: index.contentByteCount - start,
                file: path)
        }
        let (tensors, split) = try Planes16.tensors(of: header)
        var archive = Archive(
            path: path, tensors: tensors, header: header, headerBytes: headerBytes,
            manifest: try index.manifest(in: file),
            contentByteCount: index.contentByteCount, file: file, frames: index.frames,
            decoders: decoders, cache: cache, split: split,
            indexByName: Dictionary(
                uniqueKeysWithValues: header.tensors.enumerated().map { ($1.name, $0) }))
        guard table != nil || split.isEmpty else {
            throw ArchiveError.Rule.planes("a file that has one needs a seek table")
        }
        if table != nil { archive.framesByTensor = try archive.checkLayout() }
        return archive
    }

    private init(
        path: String, tensors: [TensorInfo], header: SafetensorsHeader, headerBytes: ByteView,
        manifest: Manifest?, contentByteCount: Int, file: ByteView, frames: [Frame],
        decoders: FreeList<FrameDecoder>, cache: FrameCache, split: Set<String>,
        indexByName: [String: Int]
    ) {
        (self.path, self.header, self.headerBytes) = (path, header, headerBytes)
        (self.tensors, self.split) = (tensors, split)
        (self.manifest, self.contentByteCount) = (manifest, contentByteCount)
        (self.file, self.frames, self.decoders, self.cache) = (file, frames, decoders, cache)
        self.indexByName = indexByName
    }

    /// Decodes the safetensors header, which with a table fills the first frame exactly.
    private static func readHeader(
        _ reader: FrameReader, _ index: FrameIndex, isStrict: Bool, path: String
    ) throws -> ByteView {
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
    ///
    /// - Returns: the frames of every tensor.
    private func checkLayout() throws(ArchiveError.Rule) -> [Range<Int>] {
        var (next, ranges): (Int, [Range<Int>]) = (1, [])
        for (index, tensor) in header.tensors.enumerated() {
            let first = next
            let start = headerBytes.count + header.dataOffsets[index]
            while next < frames.count, frames[next].contentOffset < start + tensor.byteCount {
                next += 1
            }
            guard frames[next - 1].contentEnd == start + tensor.byteCount else {
                throw .tensorBoundary(tensor: tensor.name)
            }
            ranges.append(first..<next)
            if split.contains(tensor.name) { try checkPlanes(tensor, first..<next) }
            guard let manifest else { continue }
            guard index < manifest.tensors.count, manifest.tensors[index].name == tensor.name else {
                throw .contradiction("tensor \(index) is '\(tensor.name)'")
            }
            let entry = manifest.tensors[index]
            guard entry.firstFrame == first, entry.frameCount == next - first else {
                throw .contradiction("frames of '\(tensor.name)' are \(first)..<\(next)")
            }
            // The last frame of a tensor, or of a plane, is shorter.
            let plane = (next - first) / (split.contains(tensor.name) ? 2 : 1)
            for index in first..<next where (index - first + 1) % plane != 0 {
                guard frames[index].contentByteCount == manifest.chunkByteCount else {
                    throw .contradiction("frames of '\(tensor.name)' are not of chunk_bytes")
                }
            }
        }
        guard let manifest else { return ranges }
        guard (manifest.profile == Manifest.planesProfile) == !split.isEmpty else {
            throw .contradiction("profile is '\(manifest.profile)'")
        }
        guard manifest.tensors.count == header.tensors.count else {
            throw .contradiction("\(header.tensors.count) tensors are there")
        }
        guard manifest.contentByteCount == contentByteCount else {
            throw .contradiction("content has \(contentByteCount) bytes")
        }
        guard manifest.headerSHA256 == ContentHash.sha256(of: headerBytes).hexadecimal else {
            throw .contradiction("header_sha256 is not that of the header")
        }
        return ranges
    }

    /// Checks that both planes of a tensor are cut alike.
    private func checkPlanes(
        _ tensor: TensorInfo, _ range: Range<Int>
    ) throws(ArchiveError.Rule) {
        let half = range.count / 2
        let sizes = frames[range].map(\.contentByteCount)
        guard range.count % 2 == 0, sizes.prefix(half) == sizes.suffix(half) else {
            throw .planes("frames of '\(tensor.name)' do not end with a plane")
        }
    }

    // MARK: Tensors

    public func info(_ name: String) -> TensorInfo? { indexByName[name].map { tensors[$0] } }

    public var metadata: [String: String] {
        Dictionary(header.metadata.map { ($0.key, $0.value) }) { first, _ in first }
    }

    /// Decodes the frames of a tensor.
    ///
    /// - Throws: `ArchiveError`.
    public func bytes(of tensor: TensorInfo) throws -> ByteView {
        guard let index = indexByName[tensor.name] else {
            throw ArchiveError(path, .noTensor(tensor.name))
        }
        let stored = try read(contentRange(ofTensor: index))
        return split.contains(tensor.name) ? Planes16.join(stored) : stored
    }

    /// Decodes the whole archive once, into one allocation, checking the rules of every frame.
    ///
    /// - Throws: `ArchiveError`; also when the machine has less memory than that takes.
    public func resident(using workers: WorkerPool) throws -> any TensorSource {
        try checkMemory(contentByteCount)
        let pieces = self.pieces
        let count = pieces.last?.end ?? 0
        let content = try ByteView(count: count) { target in
            nonisolated(unsafe) let target = target
            _ = try workers.map(pieces.count) { index in
                try decode(
                    pieces[index],
                    into: .init(rebasing: target[pieces[index].offset..<pieces[index].end]))
            }
        }
        return try SafetensorsFile(content: content, path: path)
    }

    /// Bytes of a tensor in the safetensors file inside.
    func contentRange(ofTensor index: Int) -> Range<Int> {
        let start = headerBytes.count + header.dataOffsets[index]
        return start..<start + header.tensors[index].byteCount
    }

    private var reader: FrameReader {
        FrameReader(file: file, frames: frames, decoders: decoders, cache: cache)
    }

    /// Decodes part of the content.
    private func read(_ range: Range<Int>) throws -> ByteView {
        try checkMemory(range.count)
        do {
            return try reader.read(range)
        } catch let rule as ArchiveError.Rule {
            throw ArchiveError(path, rule, tensors: tensors(in: rule))
        }
    }

    /// Decodes one frame into exactly its content.
    func decode(_ index: Int, into target: UnsafeMutableRawBufferPointer) throws {
        do {
            try reader.decode(index, into: target)
        } catch let rule as ArchiveError.Rule {
            throw ArchiveError(path, rule, tensors: tensors(in: rule))
        }
    }

    /// Names of the tensors in the frame that breaks `rule`.
    private func tensors(in rule: ArchiveError.Rule) -> [String] {
        guard case .frame(let index, _) = rule, frames.indices.contains(index) else { return [] }
        let content = frames[index].contentOffset..<frames[index].contentEnd
        return header.tensors.indices.filter { contentRange(ofTensor: $0).overlaps(content) }
            .map { header.tensors[$0].name }
    }

    /// A few bytes can unpack to far more than there is: refused before memory is asked for.
    private func checkMemory(_ count: Int) throws(ArchiveError) {
        guard count <= ArchiveLimits.residentByteCount(stored: byteCount) else {
            throw ArchiveError(path, .expands(byteCount: count, stored: byteCount))
        }
        let present = Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(sysconf(Int32(_SC_PAGESIZE)))
        guard present <= 0 || count <= present else {
            throw ArchiveError(path, .tooLargeForMemory(byteCount: count, present: present))
        }
    }
}
