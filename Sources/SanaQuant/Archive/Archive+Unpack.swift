import Crypto
import SanaModel

extension Archive {
    /// Decodes every tensor and compares its hash with the manifest's.
    ///
    /// Takes one frame of memory a thread.
    /// - Throws: `ArchiveError`: a broken frame, the first tensor whose hash differs, or no
    ///   manifest.
    public func verify(using workers: WorkerPool) throws {
        guard let manifest else { throw ArchiveError(path, .noManifest) }
        let largest = largestFrameByteCount
        let buffers = FreeList { RawMemory(count: largest) }
        _ = try workers.map(manifest.tensors.count) { index in
            let tensor = manifest.tensors[index]
            var hash = SHA256()
            try buffers.with { buffer in
                for frame in tensor.firstFrame..<tensor.firstFrame + tensor.frameCount {
                    let content = buffer.first(frames[frame].contentByteCount)
                    try decode(frame, into: content)
                    hash.update(bufferPointer: UnsafeRawBufferPointer(content))
                }
            }
            guard Array(hash.finalize()).hexadecimal == tensor.sha256 else {
                throw ArchiveError(path, .hash(of: "tensor '\(tensor.name)'"))
            }
        }
    }

    /// Restores the safetensors file, byte for byte, checked against the manifest's hash where
    /// there is one.
    ///
    /// - Parameters:
    ///   - path: a `.safetensors` file, or a folder that gets `diffusion_pytorch_model.safetensors`
    ///     and `config.json` and that diffusers then loads.
    ///   - progress: called with the bytes restored so far and in all.
    /// - Returns: the files written.
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
        let isNew = mkdir(path, 0o777) == 0
        if !isNew && !path.isFolder { throw FileError(.create, path, code: errno) }
        do {
            let names = [WeightFiles.stem + ".safetensors", "config.json"]
            let files = try names.map {
                try OutputFile(path.appendingPath($0), replaceExisting: replaceExisting)
            }
            try restore(to: files[0], workers: workers, progress: progress)
            try files[1].write(Array((manifest.config.text(indent: 2) + "\n").utf8))
            for file in files { try file.commit() }
            return files.map(\.path)
        } catch {
            // Removes the folder only while it is empty.
            if isNew { rmdir(path) }
            throw error
        }
    }

    /// A decoded frame on its way to the output.
    private struct UnpackedFrame {
        let index: Int
        let content: UnsafeMutableRawBufferPointer
    }

    /// Bytes that the largest frame unpacks to, the header's aside.
    private var largestFrameByteCount: Int {
        frames.dropFirst().reduce(0) { max($0, $1.contentByteCount) }
    }

    /// Content decoded before it is written, in bytes; twice that is held.
    private static let batchByteCount = 48 << 20

    /// Frames in the order of the file, grouped into runs of about `batchByteCount`.
    private var batches: [Range<Int>] {
        var batches: [Range<Int>] = []
        var (start, size) = (0, 0)
        for index in frames.indices {
            size += frames[index].contentByteCount
            guard size >= Self.batchByteCount || index == frames.count - 1 else { continue }
            batches.append(start..<index + 1)
            (start, size) = (index + 1, 0)
        }
        return batches
    }

    /// Decodes a batch of frames while the one before is hashed and written.
    private func restore(
        to output: OutputFile, workers: WorkerPool, progress: ((Int, Int) -> Void)?
    ) throws {
        let batches = self.batches
        let size = batches.reduce(0) { size, batch in
            max(size, batch.reduce(0) { $0 + Arena.footprint(frames[$1].contentByteCount) })
        }
        let arenas = [Arena(byteCount: size), Arena(byteCount: size)]
        var hash = SHA256()
        var finished: [UnpackedFrame] = []
        for step in 0...batches.count {
            let arena = arenas[step % 2]
            arena.reset()
            let batch = (step < batches.count ? batches[step] : 0..<0).map {
                UnpackedFrame(index: $0, content: arena.take(frames[$0].contentByteCount))
            }
            _ = try workers.map(2 + batch.count) { task in
                switch task {
                case 0: for frame in finished { hash.update(bufferPointer: .init(frame.content)) }
                case 1: for frame in finished { try output.write(.init(frame.content)) }
                default: try decode(batch[task - 2].index, into: batch[task - 2].content)
                }
            }
            if let last = finished.last {
                progress?(frames[last.index].contentEnd, contentByteCount)
            }
            finished = batch
        }
        guard let manifest else { return }
        guard Array(hash.finalize()).hexadecimal == manifest.contentSHA256 else {
            throw ArchiveError(path, .hash(of: "the content"))
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
