import SanaModel

/// Converts, compresses, hashes and writes, a batch of frames at a time.
///
/// Step k runs side by side: the frames of batch k are converted and compressed, batch k − 1 is
/// hashed and written, and the scales for batch k + 1 are found. Hashes see bytes in order, so they
/// are chains that run in parallel with compression and with one another.
final class ConversionPipeline {
    let work: ConversionWork
    let outputs: [OutputFile]
    private let workers: WorkerPool
    private let encoders: FreeList<FrameEncoder>
    let fileHashes: FileHashes
    private let contentHashes: [ContentHash]
    private let computesValues: Bool
    /// Bytes written.
    var byteCount = 0

    /// Whether frames are compressed on their way.
    private var compresses: Bool { work.options.container == .archive }

    /// - Parameters:
    ///   - outputs: parallel to the work's layouts.
    ///   - computesValues: whether the source makes values anew instead of mapping them.
    init(
        _ work: ConversionWork, files: [StoredFile], outputs: [OutputFile], computesValues: Bool,
        workers: WorkerPool
    ) {
        self.computesValues = computesValues
        (self.work, self.outputs, self.workers) = (work, outputs, workers)
        let (level, file) = (work.options.level, work.file)
        encoders = FreeList { try FrameEncoder(level: level, file: file) }
        fileHashes = FileHashes(files)
        contentHashes = outputs.map { _ in ContentHash() }
    }

    // MARK: Steps

    /// Writes all frames with content.
    func run(progress: ((Int, Int) -> Void)?) throws {
        let batches = self.batches
        let size = batches.reduce(0) {
            max($0, $1.reduce(0) { $0 + $1.footprint(compresses: compresses) })
        }
        let arenas = [Arena(byteCount: size), Arena(byteCount: size)]
        var completed = 0
        for step in -1...batches.count {
            let finished = step > 0 ? batches[step - 1] : []
            if batches.indices.contains(step) {
                arenas[step % 2].reset()
                for frame in batches[step] {
                    frame.place(in: arenas[step % 2], compresses: compresses)
                }
            }
            var tasks: [() throws -> Void] = []
            if step > 0 {
                tasks.append { try self.write(finished) }
                let chains =
                    fileHashes.chains(to: (step, batches.count)) + contentChains(finished)
                    + tensorChains(finished)
                tasks += HashChain.tasks(chains, count: workers.threadCount)
            }
            if step + 1 < batches.count { tasks += preparations(batches[step + 1]) }
            if batches.indices.contains(step) {
                tasks += batches[step].map { frame in { try self.encode(frame) } }
            }
            _ = try workers.map(tasks.count) { try tasks[$0]() }
            for frame in finished {
                recycle(frame)
                completed += frame.range.count
            }
            if step > 0 { progress?(completed, work.contentByteCount) }
        }
    }

    /// Frames grouped so that a batch holds some frames a thread, and not too many small ones. Two
    /// batches are held at a time, before and after compression, and where the source computes its
    /// values, those of three: hence they count there.
    private var batches: [[FrameJob]] {
        let limit = min(8 + 2 * workers.threadCount, 16) * work.options.chunkByteCount
        var batches: [[FrameJob]] = []
        var (batch, size): ([FrameJob], Int) = ([], 0)
        for frame in work.frames {
            let count =
                computesValues
                ? max(frame.range.count, frame.tensor?.sourceRange(frame.range).count ?? 0)
                : frame.range.count
            if size + count > limit && !batch.isEmpty || batch.count >= 4096 {
                batches.append(batch)
                (batch, size) = ([], 0)
            }
            batch.append(frame)
            size += count
        }
        return batches + [batch]
    }

    /// Loads the tensors that a batch touches and finds their scales.
    private func preparations(_ batch: [FrameJob]) -> [() throws -> Void] {
        var seen = Set<ObjectIdentifier>()
        return batch.compactMap(\.tensor?.source).filter {
            seen.insert(ObjectIdentifier($0)).inserted
        }
        .map { source in
            {
                try self.encoders.with { encoder in
                    try self.naming(source) { try source.prepare(encoder.scratch) }
                }
            }
        }
    }

    /// Continues the hashes of the files with the frames of a batch.
    private func contentChains(_ batch: [FrameJob]) -> [HashChain] {
        var chains = contentHashes.map { HashChain($0) }
        for frame in batch { frame.append(to: &chains[frame.file]) }
        return chains
    }

    /// Continues the hashes of the tensors that a batch holds parts of, one chain per tensor and
    /// side.
    private func tensorChains(_ batch: [FrameJob]) -> [HashChain] {
        var chains: [HashChain] = []
        var start = 0
        while start < batch.count {
            var end = start + 1
            while end < batch.count, batch[end].tensor === batch[start].tensor { end += 1 }
            let frames = batch[start..<end]
            start = end
            guard let tensor = frames.first?.tensor else { continue }
            var chain = HashChain(tensor.hash)
            frames.forEach { $0.append(to: &chain) }
            chains.append(chain)
            guard !tensor.isCopy, !tensor.isScale else { continue }
            // The second plane is made from the same values as the first.
            let ranges = frames.filter { tensor.plane($0.range) == 0 }.map {
                tensor.sourceRange($0.range)
            }
            guard let first = ranges.first, let last = ranges.last else { continue }
            var source = HashChain(tensor.source.hash)
            source.append(
                tensor.source.bytes.slice(first.lowerBound, last.upperBound - first.lowerBound),
                releases: true)
            chains.append(source)
        }
        return chains
    }

    private func encode(_ frame: FrameJob) throws {
        try encoders.with { encoder in
            if let tensor = frame.tensor {
                try naming(tensor.source, elementsBefore: frame) {
                    try convert(frame, of: tensor, encoder.scratch)
                }
            }
            guard compresses, let content = frame.content else { return }
            try content.withUnsafeBytes { bytes in
                let count = try encoder.encode(bytes, into: frame.compressed, file: work.file)
                frame.compressedCount = count
                frame.checksum = ZstdFrame.checksum(
                    of: UnsafeRawBufferPointer(frame.compressed).part(0, count))
            }
        }
    }

    /// Makes the content of a frame.
    private func convert(
        _ frame: FrameJob, of tensor: OutputTensor, _ scratch: Codec.Scratch
    ) throws(NonFiniteValue) {
        let (source, range) = (tensor.source, frame.range)
        if tensor.isCopy {
            let bytes = source.bytes.slice(range.lowerBound, range.count)
            frame.content = .view(bytes)
            if source.mustBeFinite {
                try bytes.withUnsafeBytes { bytes throws(NonFiniteValue) in
                    try Codec.checkFinite(bytes, source.info.dtype, scratch)
                }
            }
            frame.statistics.addUnchanged(tensor.elements(range).count)
            return
        }
        guard case .memory(let target) = frame.content else { return }
        if tensor.isScale {
            target.copyMemory(
                from: .init(
                    start: UnsafeRawPointer(source.scales.pointer) + range.lowerBound,
                    count: range.count))
            return
        }
        let part = tensor.sourceRange(range)
        defer { source.releasePages(part) }
        var statistics = try source.bytes.withUnsafeBytes { bytes throws(NonFiniteValue) in
            if tensor.plain.dtype == .i8 {
                return try Codec.quantize(
                    bytes, source.info.dtype, from: range.lowerBound,
                    columns: source.info.elementCount / source.info.shape[0], scales: source.scales,
                    target, scratch)
            }
            let values = bytes.part(part.lowerBound, part.count)
            if tensor.isSplit {
                return try Codec.castPlane(
                    tensor.plane(range), values, from: source.info.dtype, target,
                    to: tensor.plain.dtype, mustBeFinite: source.mustBeFinite, scratch)
            }
            return try Codec.cast(
                values, from: source.info.dtype, target, to: tensor.plain.dtype, scratch)
        }
        // Both planes of a tensor tell of the same values.
        if tensor.plane(range) > 0 { statistics = ConversionStatistics() }
        frame.statistics = statistics
    }

    /// Turns the codec's complaint into one that names the tensor.
    private func naming(
        _ source: SourceTensor, elementsBefore frame: FrameJob? = nil, _ body: () throws -> Void
    ) throws {
        do { try body() } catch let value as NonFiniteValue {
            var element = value.element
            // int8 counts from the tensor's first element already.
            if let frame, let tensor = frame.tensor, source.decision.conversion != .int8PerChannel {
                element += tensor.elements(frame.range).lowerBound
            }
            throw ConversionError(
                work.file, .nonFinite(tensor: source.info.name, element: element))
        }
    }

    private func write(_ frames: [FrameJob]) throws {
        for frame in frames {
            guard compresses else {
                try frame.content?.withUnsafeBytes { try outputs[frame.file].write($0) }
                byteCount += frame.range.count
                continue
            }
            try outputs[frame.file].write(
                UnsafeRawBufferPointer(frame.compressed).part(0, frame.compressedCount))
            byteCount += frame.compressedCount
        }
    }

    /// Lets go of what a written frame held and joins its statistics to the tensor's.
    private func recycle(_ frame: FrameJob) {
        if let tensor = frame.tensor, !tensor.isScale {
            tensor.source.statistics.merge(frame.statistics)
            if tensor.isCopy { tensor.source.releasePages(frame.range) }
            if frame.range.upperBound == tensor.info.byteCount {
                if tensor.isCopy { tensor.source.hash = tensor.hash }
                tensor.source.release()
            }
        }
        frame.content = nil
    }

    // MARK: Results

    /// SHA-256 of every output tensor, in the order of `work.outputs`; all frames must have been
    /// written.
    var tensorHashes: [String] {
        work.outputs.map { $0.hash.digest.hexadecimal }
    }

    /// SHA-256 of every safetensors file, in the order of the layouts.
    var fileDigests: [String] { contentHashes.map { $0.digest.hexadecimal } }

    /// `WeightsDigest` of the source.
    var sourceDigest: String {
        WeightsDigest.combine(work.sources.map { (info: $0.info, digest: $0.hash.digest) })
    }
}

extension FrameJob {
    /// Appends the content to a hash.
    fileprivate func append(to chain: inout HashChain) {
        switch content {
        case .view(let bytes): chain.append(bytes)
        case .memory(let memory): chain.append(UnsafeRawBufferPointer(memory))
        case nil: break
        }
    }
}
