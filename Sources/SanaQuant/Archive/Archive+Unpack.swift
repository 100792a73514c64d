import SanaModel

extension Archive {
    /// Decodes every tensor and compares its hash with the manifest's.
    ///
    /// Takes two frames of memory a thread.
    /// - Throws: `ArchiveError`: a broken frame, the first tensor whose hash differs, or no
    ///   manifest.
    public func verify(using workers: WorkerPool) throws {
        guard let manifest else { throw ArchiveError(path, .noManifest) }
        let largest = largestFrameByteCount
        let buffers = FreeList { RawMemory(count: 2 * largest) }
        // Two tensors at a time, of about the same length: two hashes cost little more than one.
        let order = tensors.indices.sorted { tensors[$0].byteCount > tensors[$1].byteCount }
        _ = try workers.map((order.count + 1) / 2) { index in
            let pair = order[2 * index..<min(2 * index + 2, order.count)]
            try buffers.with { try verify(pair.map { manifest.tensors[$0] }, $0) }
        }
    }

    /// Decodes and hashes one or two tensors side by side.
    ///
    /// - Parameter buffer: memory for two frames.
    private func verify(_ tensors: [Manifest.Tensor], _ buffer: RawMemory) throws {
        let hashes = tensors.map { _ in ContentHash() }
        let slot = buffer.count / 2
        for step in 0..<(tensors.map(\.frameCount).max() ?? 0) {
            var chains: [HashChain] = []
            for (lane, tensor) in tensors.enumerated() where step < tensor.frameCount {
                let frame = tensor.firstFrame + step
                let content = UnsafeMutableRawBufferPointer(
                    rebasing: buffer.bytes[
                        lane * slot..<lane * slot + frames[frame].contentByteCount])
                try decode(frame, into: content)
                var chain = HashChain(hashes[lane])
                chain.append(UnsafeRawBufferPointer(content))
                chains.append(chain)
            }
            HashChain.run(Array(chains.prefix(1)), Array(chains.dropFirst()))
        }
        for (tensor, hash) in zip(tensors, hashes) where hash.digest.hexadecimal != tensor.sha256 {
            throw ArchiveError(path, .hash(of: "tensor '\(tensor.name)'"))
        }
    }

    /// Decodes the whole archive once, as `resident(using:)` does, and compares the hash of every
    /// tensor with the manifest's, where there is one.
    ///
    /// - Throws: `ArchiveError`.
    public func verifiedResident(using workers: WorkerPool) throws -> any TensorSource {
        // The hashes are those of planes, which joining leaves nothing of.
        if !split.isEmpty, manifest != nil { try verify(using: workers) }
        let source = try resident(using: workers)
        guard let manifest, split.isEmpty else { return source }
        let hashes = tensors.map { _ in ContentHash() }
        let chains = try zip(tensors, hashes).map { tensor, hash in
            var chain = HashChain(hash)
            chain.append(try source.bytes(of: tensor))
            return chain
        }
        let tasks = HashChain.tasks(chains, count: workers.threadCount)
        _ = try workers.map(tasks.count) { try tasks[$0]() }
        for (tensor, hash) in zip(manifest.tensors, hashes)
        where hash.digest.hexadecimal != tensor.sha256 {
            throw ArchiveError(path, .hash(of: "tensor '\(tensor.name)'"))
        }
        return source
    }

    /// Restores the safetensors file, byte for byte, checked against the manifest's hashes where
    /// there are any. Byte planes are joined: the file is the one that a plain archive holds.
    ///
    /// - Parameters:
    ///   - path: a `.safetensors` file, or a folder that gets `diffusion_pytorch_model.safetensors`
    ///     and `config.json` and that diffusers then loads.
    ///   - progress: called with the bytes restored so far and in all.
    /// - Returns: the files written. Other weights in the folder, which would contradict them, are
    ///   removed where replacing is allowed.
    /// - Throws: `ArchiveError`, `FileError`, `OutputExistsError`; nothing is left under a final
    ///   name then.
    @discardableResult
    public func unpack(
        to path: String, replaceExisting: Bool = false, workers: WorkerPool,
        progress: ((_ completedBytes: Int, _ totalBytes: Int) -> Void)? = nil
    ) throws -> [String] {
        if path.hasSuffix(".safetensors") {
            let weights = try OutputFile(path, replaceExisting: replaceExisting)
            try restore(to: weights, workers: workers, progress: progress)
            try weights.commit()
            return [path]
        }
        guard let manifest else { throw ArchiveError(self.path, .noManifest) }
        let folders = PendingFolders()
        try folders.create(path)
        let known = try NetworkClass.of(manifest.config, file: self.path)
        let stem = known?.weightsStem ?? WeightFiles.stem
        func stale() throws -> StaleWeights {
            try StaleWeights(
                in: path, stem: stem, writing: [stem + ".safetensors"],
                replaceExisting: replaceExisting, sources: [self.path])
        }
        _ = try stale()
        let names = [stem + ".safetensors", "config.json"]
        let files = try names.map {
            try OutputFile(path.appendingPath($0), replaceExisting: replaceExisting)
        }
        try restore(to: files[0], workers: workers, progress: progress)
        try files[1].write(Array((manifest.config.text(indent: 2) + "\n").utf8))
        try files.commit(in: path, stale: stale)
        folders.keep()
        return files.map(\.path)
    }

    /// A decoded piece on its way to the output.
    private struct UnpackedPiece {
        let piece: Piece
        let content: UnsafeMutableRawBufferPointer
    }

    /// Bytes that the largest frame unpacks to, the header's aside.
    private var largestFrameByteCount: Int {
        frames.dropFirst().reduce(0) { max($0, $1.contentByteCount) }
    }

    /// Content decoded before it is written, in bytes; twice that is held.
    private static let batchByteCount = 48 << 20

    /// Runs of pieces of about `batchByteCount`.
    private static func batches(_ pieces: [Piece]) -> [ArraySlice<Piece>] {
        var batches: [ArraySlice<Piece>] = []
        var start = 0
        for index in pieces.indices {
            guard
                pieces[index].end - pieces[start].offset >= batchByteCount
                    || index == pieces.count - 1
            else { continue }
            batches.append(pieces[start...index])
            start = index + 1
        }
        return batches
    }

    /// Decodes a batch of pieces while the one before is hashed and written.
    private func restore(
        to output: OutputFile, workers: WorkerPool, progress: ((Int, Int) -> Void)?
    ) throws {
        // The hash of the content is that of the planes, not of what they are joined to.
        if !split.isEmpty, manifest != nil { try verify(using: workers) }
        let pieces = self.pieces
        let batches = Self.batches(pieces)
        let size = batches.reduce(0) { size, batch in
            max(size, batch.reduce(0) { $0 + Arena.footprint($1.byteCount) })
        }
        let arenas = [Arena(byteCount: size), Arena(byteCount: size)]
        let hash = ContentHash()
        var finished: [UnpackedPiece] = []
        for step in 0...batches.count {
            let arena = arenas[step % 2]
            arena.reset()
            let batch = (step < batches.count ? batches[step] : []).map {
                UnpackedPiece(piece: $0, content: arena.take($0.byteCount))
            }
            _ = try workers.map(2 + batch.count) { task in
                switch task {
                case 0: for piece in finished { hash.update(.init(piece.content)) }
                case 1: for piece in finished { try output.write(.init(piece.content)) }
                default: try decode(batch[task - 2].piece, into: batch[task - 2].content)
                }
            }
            if let last = finished.last { progress?(last.piece.end, pieces.last?.end ?? 0) }
            finished = batch
        }
        guard let manifest, split.isEmpty else { return }
        guard hash.digest.hexadecimal == manifest.contentSHA256 else {
            throw ArchiveError(path, .hash(of: "the content"))
        }
    }
}
