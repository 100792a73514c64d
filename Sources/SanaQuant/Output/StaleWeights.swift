import Libc
import SanaModel

/// Weights in a component's folder that new ones will contradict: a single file beside an index,
/// shards that no index names, an archive of before. Variants (`.fp16`) stand for themselves.
struct StaleWeights {
    private let paths: [String]

    /// Finds them; nothing is removed yet.
    ///
    /// - Parameters:
    ///   - stem: of the component's weights, see `NetworkClass.weightsStem`.
    ///   - written: names of the files that will be written.
    ///   - sources: files that are read, which are never stale.
    /// - Throws: `OutputExistsError` when there are some and they may not be replaced,
    ///   `ConversionError` when they are the source.
    init(
        in folder: String, stem: String, writing written: [String], replaceExisting: Bool,
        sources: [String]
    ) throws {
        guard folder.isFolder else {
            paths = []
            return
        }
        paths = try folder.folderEntries().filter {
            WeightFiles.isPlainWeights($0, stem: stem) || $0 == stem + Archive.suffix
        }.filter { !written.contains($0) }.map { folder.appendingPath($0) }
        let read = Set(sources.map(\.resolvedPath))
        if let source = paths.first(where: { read.contains($0.resolvedPath) }) {
            throw ConversionError(source, .outputIsSource)
        }
        if let first = paths.first, !replaceExisting { throw OutputExistsError(path: first) }
    }

    /// Removes them, once what replaces them has its names.
    ///
    /// - Throws: `FileError`.
    func remove() throws {
        for path in paths {
            guard unlink(path) == 0 || errno == ENOENT else {
                throw FileError(.remove, path, code: errno)
            }
        }
    }
}
