import CZstd
import Foundation
import SanaModel
import SanaTestSupport

@testable import SanaQuant

/// An archive taken apart, to be put together wrongly.
///
/// Parsed and assembled here from the format's description, without the code under test.
struct ArchiveParts {
    struct Entry {
        var compressed: UInt32
        var decompressed: UInt32
        var checksum: UInt32
    }

    /// Frames as listed, the manifest's last.
    var frames: [[UInt8]]
    var entries: [Entry]
    var descriptor: UInt8 = 0x80
    /// Overrides of fields that are otherwise as they should be.
    var listedCount: UInt32?
    var tableMagic: UInt32 = 0x184D_2A5E
    var tableLength: UInt32?

    init(_ file: [UInt8]) {
        func word(_ at: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(file[at + $1]) << (8 * UInt32($1)) }
        }
        let count = Int(word(file.count - 9))
        let table = file.count - 9 - 12 * count
        entries = (0..<count).map {
            Entry(
                compressed: word(table + 12 * $0), decompressed: word(table + 12 * $0 + 4),
                checksum: word(table + 12 * $0 + 8))
        }
        var offset = 0
        frames = []
        for entry in entries {
            frames.append(Array(file[offset..<offset + Int(entry.compressed)]))
            offset += Int(entry.compressed)
        }
    }

    /// The file; the table lists what `entries` says.
    var file: [UInt8] {
        let body = entries.flatMap {
            littleEndianBytes($0.compressed) + littleEndianBytes($0.decompressed)
                + littleEndianBytes($0.checksum)
        }
        let length = tableLength ?? UInt32(body.count + 9)
        return frames.flatMap { $0 } + littleEndianBytes(tableMagic) + littleEndianBytes(length)
            + body
            + littleEndianBytes(listedCount ?? UInt32(entries.count)) + [descriptor]
            + littleEndianBytes(UInt32(0x8F92_EAB1))
    }

    /// Puts another frame in the place of frame `index` and lists it truly, but for what
    /// `decompressed` says.
    mutating func replace(_ index: Int, with frame: [UInt8], decompressed: Int? = nil) {
        frames[index] = frame
        entries[index].compressed = UInt32(frame.count)
        if let decompressed { entries[index].decompressed = UInt32(decompressed) }
        entries[index].checksum = frame.suffix(4).reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// The manifest's JSON.
    var manifest: String {
        get { String(decoding: frames[frames.count - 1].dropFirst(16), as: UTF8.self) }
        set {
            let text = Array("SANAMAN1".utf8) + Array(newValue.utf8)
            frames[frames.count - 1] =
                littleEndianBytes(UInt32(0x184D_2A5A)) + littleEndianBytes(UInt32(text.count))
                + text
            entries[entries.count - 1].compressed = UInt32(text.count + 8)
        }
    }

    /// The manifest as one of version 1.0, without its own hash, which would tell of any change.
    var unsignedManifest: String {
        guard let start = manifest.range(of: #""manifest_sha256":""#)?.lowerBound else {
            return manifest
        }
        let end = manifest.index(start, offsetBy: #""manifest_sha256":"","#.count + 64)
        return manifest.replacingCharacters(in: start..<end, with: "")
            .replacingOccurrences(of: #""version":[1,2]"#, with: #""version":[1,0]"#)
    }

    /// What a frame holds.
    func content(_ index: Int) -> [UInt8] {
        var content = [UInt8](repeating: 0, count: Int(entries[index].decompressed))
        _ = ZSTD_decompress(&content, content.count, frames[index], frames[index].count)
        return content
    }
}

/// Compresses with zstd's own calls.
func zstdFrame(_ content: [UInt8], checksum: Bool = true, contentSize: Bool = true) -> [UInt8] {
    let context = ZSTD_createCCtx()
    defer { ZSTD_freeCCtx(context) }
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, checksum ? 1 : 0)
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, contentSize ? 1 : 0)
    var frame = [UInt8](repeating: 0, count: ZSTD_compressBound(content.count))
    let count = ZSTD_compress2(context, &frame, frame.count, content, content.count)
    return Array(frame[..<count])
}

/// Opens an archive in memory.
func openArchive(_ bytes: [UInt8]) throws -> Archive {
    try Archive(content: ByteView(bytes), path: "test.safetensors.zst")
}

/// Every tensor's bytes, read three ways that must agree: one by one, resident, verified where
/// there is a manifest.
func readEverything(_ archive: Archive) throws -> [[UInt8]] {
    let workers = WorkerPool(threadCount: 1)
    let resident = try archive.resident(using: workers)
    if archive.manifest != nil { try archive.verify(using: workers) }
    return try archive.tensors.map { tensor in
        let one = try archive.bytes(of: tensor).withUnsafeBytes { Array($0) }
        let other = try resident.bytes(of: tensor).withUnsafeBytes { Array($0) }
        return one == other ? one : []
    }
}

/// The rule that opening or reading `bytes` breaks; `nil` when all goes well.
func brokenRule(_ bytes: [UInt8]) -> ArchiveError.Rule? {
    do {
        _ = try readEverything(try openArchive(bytes))
        return nil
    } catch let error as ArchiveError { return error.rule } catch {
        return .manifestFrame("\(error)")
    }
}
