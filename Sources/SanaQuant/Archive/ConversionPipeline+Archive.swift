import SanaModel

/// The end of an archive: what follows the frames with content.
extension ConversionPipeline {
    /// The manifest of an archive; all frames must have been written.
    func manifest(options: Converter.Options, config: JSONValue) -> Archive.Manifest {
        var bytesByType: [DType: Int] = [:]
        for source in work.sources {
            bytesByType[source.info.dtype, default: 0] += source.info.byteCount
        }
        let commonest = bytesByType.max {
            ($0.value, $1.key.rawValue) < ($1.value, $0.key.rawValue)
        }
        let layout = work.layouts[0]
        return Archive.Manifest(
            tool: options.tool,
            profile: work.outputs.contains(where: \.isSplit)
                ? Archive.Manifest.planesProfile : Archive.Manifest.plainProfile,
            contentByteCount: work.contentByteCount, contentSHA256: fileDigests[0],
            headerSHA256: ContentHash.sha256(of: ByteView(layout.headerBytes)).hexadecimal,
            chunkByteCount: options.chunkByteCount,
            zstdVersion: LinkedLibraries.zstdVersion,
            zstdLevel: options.level,
            tensors: zip(work.outputs, tensorHashes).map {
                .init(
                    name: $0.info.name, firstFrame: $0.firstFrame, frameCount: $0.frameCount,
                    sha256: $1)
            },
            config: config,
            quantization: config["quantization_config"].flatMap { $0 == .null ? nil : $0 },
            quantizationRecord: .array(work.reports.map(\.json)),
            weightsDigest: sourceDigest,
            sourceDType: commonest?.key.rawValue ?? "", sourceFiles: fileHashes.records)
    }

    /// Writes the manifest's frame and the seek table of an archive.
    func finish(_ manifest: Archive.Manifest) throws {
        let frame = FrameIndex.manifestFrame(manifest)
        var entries = work.frames.map {
            SeekTable.Entry(
                compressed: UInt32($0.compressedCount), decompressed: UInt32($0.range.count),
                checksum: $0.checksum)
        }
        entries.append(
            SeekTable.Entry(
                compressed: UInt32(frame.count), decompressed: 0, checksum: FrameIndex.emptyChecksum
            ))
        let table = SeekTable(entries: entries).encoded
        try outputs[0].write(frame)
        try outputs[0].write(table)
        byteCount += frame.count + table.count
    }
}
