import Foundation
import SanaModel
import SanaQuant

/// The files of a directory with their hashes, and whether these are what they should be.
///
/// A Hugging Face cache says what they should be: a file of a snapshot is a link to a blob called
/// by its hash, and `hf download --local-dir` leaves the hash in
/// `.cache/huggingface/download/NAME.metadata`.
package struct FileDigests: Sendable {
    package struct Entry: Sendable {
        /// Path below the directory.
        package let name: String
        package let byteCount: Int
        /// `nil` where the file cannot be read, as behind a link that leads nowhere.
        package let hash: BlobHash?
        /// `nil` where nothing tells.
        package let expected: BlobHash?
        /// What the file says of its own parts.
        package var own = OwnChecks()

        /// What keeps the file from being read.
        package var problem: String?

        package var isWrong: Bool {
            problem == nil && (expected.map { $0 != hash } ?? false) || !own.damages.isEmpty
                || own.fault != nil
        }
        /// Whether anything tells what the file should be.
        package var isKnown: Bool { expected != nil || own.isThere }

        /// What is wrong, for a reader of messages; `nil` for a file that is not.
        ///
        /// - Parameter path: of the file.
        package func error(_ path: String) -> (any DiagnosticError)? {
            guard isWrong else { return nil }
            if let fault = own.fault { return fault }
            guard let damage = own.damages.first else {
                return BadDataError(
                    file: path,
                    reason: "has hash \(hash?.text ?? ""), but the cache or the download says "
                        + (expected?.text ?? ""),
                    remedy: "delete the file and download it again")
            }
            let others = own.damages.count - 1
            return BadDataError(
                file: path,
                reason: "entry '\(damage.entry.printable)' has CRC-32 "
                    + "\(damage.found.hexadecimal), but the file says "
                    + damage.stated.hexadecimal
                    + (others > 0
                        ? "; \(others) more \(others == 1 ? "entry is" : "entries are") damaged"
                        : ""),
                remedy: "download the file again")
        }
    }

    /// Checksums that a file carries inside: an archive's hashes, a zip file's CRC-32.
    package struct OwnChecks: Sendable {
        package var isThere = false
        package var damages: [ZipFile.Damage] = []
        /// Why the file is not what its name says, or not whole.
        package var fault: (any DiagnosticError)?

        package init(isThere: Bool = false) { self.isThere = isThere }

        /// Those of a zip file; none where it was written without them.
        package init(_ zip: ZipFile, workers: WorkerPool) throws {
            isThere = zip.hasChecksums
            if isThere { damages = try zip.damages(using: workers) }
        }
    }

    package let entries: [Entry]

    /// Files that cannot be read.
    package var unreadable: [Entry] { entries.filter { $0.problem != nil } }

    /// Hashes every file of `folder` and its directories, archives also against their own hashes;
    /// hidden files are left out, see `FolderListing`. What cannot be read is an entry with a
    /// problem.
    ///
    /// - Throws: `FileError` for the directory itself, or `BadDataError` if it holds no model.
    package static func run(
        folder: String, workers: WorkerPool, progress: (Int, Int) -> Void
    ) throws -> FileDigests {
        let listing = try FolderListing(folder)
        let files = listing.files
        // Large files first, so that the last thread is not left with one.
        let sizes = files.map { (try? ByteView(mapping: folder.appendingPath($0)).count) ?? 0 }
        let order = files.indices.sorted { sizes[$0] > sizes[$1] }
        var found: [Entry] = []
        let run = max(1, workers.threadCount)
        for start in stride(from: 0, to: order.count, by: run) {
            let part = order[start..<min(start + run, order.count)]
            let entries = try workers.map(part.count) { index in
                let name = files[part[part.startIndex + index]]
                do { return try entry(name, in: folder) } catch let error as any DiagnosticError {
                    // The other files are worth knowing of all the same.
                    return unreadable(name, in: folder, error)
                }
            }
            for var entry in entries {
                if entry.problem == nil {
                    // With all workers, one file after the other.
                    let path = folder.appendingPath(entry.name)
                    do { entry.own = try ownChecks(path, workers: workers) } catch let error
                        as any DiagnosticError
                    {
                        entry.problem = error.description
                    }
                }
                found.append(entry)
            }
            progress(found.count, files.count)
        }
        found += listing.obstacles.map { unreadable($0.name, in: folder, $0.error) }
        return FileDigests(
            entries: found.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) })
    }

    private static func unreadable(
        _ name: String, in folder: String, _ error: any DiagnosticError
    ) -> Entry {
        Entry(
            name: name, byteCount: 0, hash: nil,
            expected: blobName(folder.appendingPath(name)) ?? downloadRecord(name, in: folder),
            problem: error.description)
    }

    /// Hashes one file.
    package static func run(file: String, workers: WorkerPool) throws -> FileDigests {
        var entry = try entry(file.lastPathComponent, in: file.parentFolder)
        entry.own = try ownChecks(file, workers: workers)
        return FileDigests(entries: [entry])
    }

    /// - Throws: `FileError`; what is wrong with the file itself is its fault.
    private static func ownChecks(_ path: String, workers: WorkerPool) throws -> OwnChecks {
        do {
            return try checked(path, workers: workers)
        } catch let error as any DiagnosticError where error.category == .badData {
            var checks = OwnChecks()
            checks.fault = error
            return checks
        }
    }

    private static func checked(_ path: String, workers: WorkerPool) throws -> OwnChecks {
        try UnfinishedDownload.checkName(path)
        if path.hasSuffix(Archive.suffix) {
            try Archive(path: path).verify(using: workers)
            return OwnChecks(isThere: true)
        }
        if path.hasSuffix(".safetensors") {
            _ = try ZeroTail.check(SafetensorsFile(path: path))
            return OwnChecks()
        }
        let content = try ByteView(mapping: path)
        if ZipFile.isZip(content), packed.contains(where: path.hasSuffix) {
            return try OwnChecks(ZipFile(content: content, path: path), workers: workers)
        }
        if path.hasSuffix(".json") || packed.contains(where: path.hasSuffix) {
            try checkContent(content, path)
        }
        return OwnChecks()
    }

    /// - Throws: `BadDataError` for a web page or a pointer in place of settings or weights.
    private static func checkContent(_ content: ByteView, _ path: String) throws {
        guard let foreign = ForeignContent(content) else { return }
        switch foreign {
        case .text, .pickle: return
        // Weights are opened by what they are.
        case .gguf where !path.hasSuffix(".json"): return
        default:
            throw BadDataError(
                file: path, reason: "is \(foreign.description)", remedy: foreign.remedy,
                page: foreign.page)
        }
    }

    /// What zip files of torch.save and pipelines are called.
    private static let packed = [".pth", ".pt", ".ckpt", ".bin", ".dduf"]

    private static func entry(_ name: String, in folder: String) throws -> Entry {
        let path = folder.appendingPath(name)
        let content = try ByteView(mapping: path)
        let expected = blobName(path) ?? downloadRecord(name, in: folder)
        return Entry(
            name: name, byteCount: content.count,
            hash: (expected ?? .sha256("")).ofSameKind(content), expected: expected)
    }

    /// The hash in the name of the blob that a snapshot's link leads to.
    private static func blobName(_ path: String) -> BlobHash? {
        guard let target = try? FileManager.default.destinationOfSymbolicLink(atPath: path),
            target.parentFolder.lastPathComponent == "blobs"
        else { return nil }
        return BlobHash(target.lastPathComponent)
    }

    /// The hash that `hf download --local-dir` noted: the second line of the record.
    private static func downloadRecord(_ name: String, in folder: String) -> BlobHash? {
        let record = folder.appendingPath(".cache/huggingface/download/\(name).metadata")
        guard let text = try? ByteView(mapping: record), text.count < 4096 else { return nil }
        let lines = text.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
            .split(separator: "\n", omittingEmptySubsequences: false)
        return lines.count > 1 ? BlobHash(String(lines[1])) : nil
    }
}

extension UInt32 {
    /// Eight digits.
    fileprivate var hexadecimal: String {
        let digits = String(self, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}
