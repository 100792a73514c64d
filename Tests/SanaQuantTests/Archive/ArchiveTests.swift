import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaQuant

@Suite(.tags(.process)) struct ArchiveTests {
    @Test func framesAreCutAtTensorsAndTheTableDescribesThem() throws {
        let tiny = try TinyCheckpoint()
        let bytes = try fileBytes(tiny.convert(.fp16).path)
        // Table and frames parsed here, by the format's description.
        let parts = ArchiveParts(bytes)
        #expect(parts.file == bytes)
        let last = try #require(parts.entries.last)
        #expect(last.decompressed == 0)
        #expect(last.checksum == 0x51D8_E999)
        #expect(parts.frames.last?.prefix(4) == [0x5A, 0x2A, 0x4D, 0x18])
        var content: [UInt8] = []
        var starts: Set<Int> = []
        for index in parts.frames.indices.dropLast() {
            let frame = parts.frames[index]
            #expect(frame.prefix(4) == [0x28, 0xB5, 0x2F, 0xFD])
            // Checksum flag set, no dictionary.
            #expect(frame[4] & 0x07 == 4)
            #expect(frame.suffix(4) == littleEndianBytes(parts.entries[index].checksum)[...])
            starts.insert(content.count)
            content += parts.content(index)
        }
        let file = try SafetensorsFile(content: ByteView(content), path: "content")
        #expect(file.headerBytes.count == Int(parts.entries[0].decompressed))
        for (tensor, offset) in zip(file.tensors, file.header.dataOffsets)
        where tensor.byteCount > 0 {
            #expect(starts.contains(file.headerBytes.count + offset), "\(tensor.name)")
        }
        let pieces = file.tensors.reduce(0) { $0 + ($1.byteCount + 31) / 32 }
        #expect(parts.frames.count == 1 + pieces + 1)
        #expect(file.header.metadata.map(\.key) == ["format", ContentLayout.keptTypesKey])
    }

    @Test func manifestIsSortedJSONWithoutWhiteSpace() throws {
        let tiny = try TinyCheckpoint()
        let parts = ArchiveParts(try fileBytes(tiny.convert(.int8).path))
        let json = try JSONScanner.parse(parts.manifest)
        #expect(json.text(sortedKeys: true) == parts.manifest)
        #expect(json["format"]?.string == "sana-tools.safetensors-zst")
        #expect(json["version"] == .array([.int(1), .int(2)]))
        #expect(json["profile"]?.string == "plain")
        #expect(
            json.members?.map(\.key) == [
                "chunk_bytes", "config", "content", "format", "manifest_sha256", "profile",
                "quantization",
                "quantization_record", "root", "source", "tensors", "tool", "version", "zstd",
            ])
    }

    @Test(
        .enabled(
            if: FileManager.default.isExecutableFile(atPath: "/usr/bin/zstd"),
            "no /usr/bin/zstd, so its reading of an archive is not tested"))
    func zstdCommandRestoresTheSafetensorsFile() throws {
        let tiny = try TinyCheckpoint()
        let (path, result) = try tiny.convert(.int8)
        let process = try SpawnedProcess(
            "/usr/bin/zstd", ["-q", "-d", path, "-o", tiny.folder("cli.safetensors")])
        process.waitUntilExit()
        #expect(process.exitCode == 0)
        let content = try fileBytes(tiny.folder("cli.safetensors"))
        #expect(
            ContentHash.sha256(of: ByteView(content)).hexadecimal == result.manifest?.contentSHA256)
        #expect(throws: Never.self) { try SafetensorsFile(path: tiny.folder("cli.safetensors")) }
    }

    @Test func unpackedFolderHoldsWeightsAndConfigThatOpenAsACheckpoint() throws {
        let tiny = try TinyCheckpoint()
        let archive = try Archive(path: tiny.convert(.int8).path)
        let files = try archive.unpack(
            to: tiny.folder("unpacked"), workers: WorkerPool(threadCount: 2))
        #expect(
            files.map(\.lastPathComponent) == [
                "diffusion_pytorch_model.safetensors", "config.json",
            ])
        let checkpoint = try Checkpoint.open(tiny.folder("unpacked"))
        #expect(checkpoint.configJSON == archive.manifest?.config)
        #expect(checkpoint.configJSON["quantization_config"] != nil)
        #expect(checkpoint.source.tensors == archive.tensors)
        for tensor in archive.tensors {
            let unpacked = try checkpoint.source.bytes(of: tensor).withUnsafeBytes { Array($0) }
            #expect(unpacked == (try archive.bytes(of: tensor).withUnsafeBytes { Array($0) }))
        }
    }

    @Test func unpackRefusesExistingFilesAndLeavesNothingHalfDone() throws {
        let tiny = try TinyCheckpoint()
        let bytes = try fileBytes(tiny.convert(.fp16).path)
        let workers = WorkerPool(threadCount: 1)
        try tiny.folder.write("there.safetensors", [1])
        #expect(throws: OutputExistsError.self) {
            try openArchive(bytes).unpack(to: tiny.folder("there.safetensors"), workers: workers)
        }
        var parts = ArchiveParts(bytes)
        parts.manifest = parts.unsignedManifest.replacingOccurrences(
            of: try #require(openArchive(bytes).manifest?.contentSHA256),
            with: String(repeating: "0", count: 64))
        let damaged = try openArchive(parts.file)
        let before = tiny.folder.entries
        for name in ["new", "new.safetensors"] {
            let error = #expect(throws: ArchiveError.self) {
                try damaged.unpack(to: tiny.folder(name), workers: workers)
            }
            #expect(error?.rule == .hash(of: "the content"))
        }
        #expect(tiny.folder.entries == before)
    }

    @Test func plainZstdFileOpensByScanWithoutManifest() throws {
        let tiny = try TinyCheckpoint()
        let file = try fileBytes(tiny.folder("diffusion_pytorch_model.safetensors"))
        let expected = try readEverything(openArchiveOf(file, pieces: 1))
        for pieces in [1, 2, 7] {
            let archive = try openArchiveOf(file, pieces: pieces)
            #expect(archive.manifest == nil)
            #expect(archive.tensors.map(\.name) == tiny.checkpoint.source.tensors.map(\.name))
            #expect(try readEverything(archive) == expected)
        }
        let archive = try openArchiveOf(file, pieces: 3)
        let workers = WorkerPool(threadCount: 2)
        try archive.unpack(to: tiny.folder("plain.safetensors"), workers: workers)
        #expect(try fileBytes(tiny.folder("plain.safetensors")) == file)
        #expect(throws: ArchiveError("test.safetensors.zst", .noManifest)) {
            try archive.unpack(to: tiny.folder("plain"), workers: workers)
        }
    }

    @Test func bytePlanesNeedASeekTable() throws {
        let json =
            #"{"__metadata__":{"sana_tools.planes16":"{\"w\":\"F16\"}"},"w":{"dtype":"U8","#
            + #""shape":[2,1],"data_offsets":[0,2]}}"#
        let file = littleEndianBytes(UInt64(json.utf8.count)) + Array(json.utf8) + [1, 2]
        let error = #expect(throws: ArchiveError.self) { try openArchiveOf(file, pieces: 1) }
        guard case .planes = error?.rule else {
            Issue.record("\(error.debugDescription)")
            return
        }
    }

    private func openArchiveOf(_ file: [UInt8], pieces: Int) throws -> Archive {
        let size = (file.count + pieces - 1) / pieces
        return try openArchive(
            stride(from: 0, to: file.count, by: size).flatMap {
                zstdFrame(Array(file[$0..<min($0 + size, file.count)]), checksum: false)
            })
    }

    @Test func residentSourceHoldsTheSameTensors() throws {
        let tiny = try TinyCheckpoint()
        let archive = try Archive(path: tiny.convert(.int8).path)
        let resident = try archive.resident(using: WorkerPool(threadCount: 3))
        #expect(resident.tensors == archive.tensors)
        for tensor in archive.tensors {
            let bytes = try resident.bytes(of: tensor).withUnsafeBytes { Array($0) }
            #expect(bytes == (try archive.bytes(of: tensor).withUnsafeBytes { Array($0) }))
        }
    }

    @Test func tensorThatIsNotThereIsAnError() throws {
        let tiny = try TinyCheckpoint()
        let archive = try Archive(path: tiny.convert(.fp16).path)
        let stranger = try #require(TensorInfo(name: "nobody", dtype: .f32, shape: [1]))
        #expect(throws: ArchiveError(archive.path, .noTensor("nobody"))) {
            try archive.bytes(of: stranger)
        }
    }
}
