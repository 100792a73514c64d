import SanaModel

/// SHA-256 of the source files, brought forward a stretch at a time.
final class FileHashes {
    private let files: [StoredFile]
    private let hashes: [ContentHash]
    private let byteCount: Int
    private var (file, offset, done) = (0, 0, 0)

    init(_ files: [StoredFile]) {
        self.files = files
        hashes = files.map { _ in ContentHash() }
        byteCount = files.reduce(0) { $0 + $1.fileBytes.count }
    }

    /// What is to be hashed next, until `part` of `whole` of all bytes are done; at the whole,
    /// every file is. The chains must run before the next ones do.
    func chains(to fraction: (part: Int, whole: Int)) -> [HashChain] {
        let goal =
            fraction.part == fraction.whole
            ? byteCount : byteCount / fraction.whole * fraction.part
        var chains: [HashChain] = []
        while file < files.count {
            let bytes = files[file].fileBytes
            let count = min(bytes.count - offset, goal - done)
            var chain = HashChain(hashes[file])
            chain.append(bytes.slice(offset, count), releases: true)
            chains.append(chain)
            (offset, done) = (offset + count, done + count)
            guard offset == bytes.count else { break }
            (file, offset) = (file + 1, 0)
        }
        return chains
    }

    /// The files and their hashes, in order; all chains must have run.
    var records: [Archive.Manifest.SourceFile] {
        zip(files, hashes).map {
            .init(
                name: $0.path.lastPathComponent, byteCount: $0.fileBytes.count,
                sha256: $1.digest.hexadecimal)
        }
    }
}
