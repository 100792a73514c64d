import Crypto
import SanaModel

/// SHA-256 of the source files, brought forward a stretch at a time.
final class FileHashes {
    private let files: [SafetensorsFile]
    private let byteCount: Int
    private var (file, offset, done) = (0, 0, 0)
    private var hash = SHA256()
    /// Files hashed to their end, in order.
    private(set) var records: [Archive.Manifest.SourceFile] = []

    init(_ files: [SafetensorsFile]) {
        self.files = files
        byteCount = files.reduce(0) { $0 + $1.fileBytes.count }
    }

    /// Hashes on until `part` of `whole` of all bytes are done; at the whole, every file is.
    func advance(to fraction: (part: Int, whole: Int)) {
        let goal =
            fraction.part == fraction.whole
            ? byteCount : byteCount / fraction.whole * fraction.part
        while file < files.count {
            let bytes = files[file].fileBytes
            let count = min(bytes.count - offset, goal - done)
            bytes.slice(offset, count).stream { hash.update(bufferPointer: $0) }
            (offset, done) = (offset + count, done + count)
            guard offset == bytes.count else { return }
            records.append(
                .init(
                    name: files[file].path.lastPathComponent, byteCount: bytes.count,
                    sha256: Array(hash.finalize()).hexadecimal))
            (file, offset, hash) = (file + 1, 0, SHA256())
        }
    }
}
