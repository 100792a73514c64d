import SanaModel

extension Archive {
    /// A stretch of the safetensors file that the archive restores to.
    struct Piece {
        enum Content {
            case bytes(ByteView)
            case frame(Int)
            /// Two frames of the same size, one of each plane.
            case planes(low: Int, high: Int)
        }

        let content: Content
        /// Place in the restored file.
        let offset: Int
        let byteCount: Int

        var end: Int { offset + byteCount }
    }

    /// Bytes of the safetensors file that the archive restores to.
    public var restoredByteCount: Int { pieces.last?.end ?? 0 }

    /// All pieces, in the order of the restored file.
    ///
    /// Without planes these are the frames. With planes it is the file of a plain archive: header
    /// and order are made anew from the tensors in their own types.
    var pieces: [Piece] {
        guard !split.isEmpty else {
            return frames.indices.map {
                Piece(
                    content: .frame($0), offset: frames[$0].contentOffset,
                    byteCount: frames[$0].contentByteCount)
            }
        }
        let kept = header.metadata.filter { ContentLayout.ownKeys.contains($0.key) }
        let layout = ContentLayout(
            tensors, metadata: kept.map { .init($0.key, .string($0.value)) })
        let rangeByName = Dictionary(
            uniqueKeysWithValues: zip(tensors.map(\.name), framesByTensor))
        var offset = 0
        var pieces: [Piece] = []
        func add(_ content: Piece.Content, _ byteCount: Int) {
            pieces.append(Piece(content: content, offset: offset, byteCount: byteCount))
            offset += byteCount
        }
        add(.bytes(ByteView(layout.headerBytes)), layout.headerBytes.count)
        for tensor in layout.tensors {
            let range = rangeByName[tensor.name] ?? 0..<0
            guard split.contains(tensor.name) else {
                for index in range { add(.frame(index), frames[index].contentByteCount) }
                continue
            }
            let half = range.count / 2
            for low in range.prefix(half) {
                add(.planes(low: low, high: low + half), 2 * frames[low].contentByteCount)
            }
        }
        return pieces
    }

    /// Decodes a piece into exactly its bytes.
    ///
    /// - Throws: `ArchiveError`.
    func decode(_ piece: Piece, into target: UnsafeMutableRawBufferPointer) throws {
        switch piece.content {
        case .bytes(let bytes): bytes.withUnsafeBytes { target.copyMemory(from: $0) }
        case .frame(let index): try decode(index, into: target)
        case .planes(let low, let high):
            let planes = RawMemory(count: target.count)
            let half = target.count / 2
            let lowBytes = planes.first(half)
            let highBytes = UnsafeMutableRawBufferPointer(rebasing: planes.bytes[half...])
            try decode(low, into: lowBytes)
            try decode(high, into: highBytes)
            Planes16.join(.init(lowBytes), .init(highBytes), target)
        }
    }
}
