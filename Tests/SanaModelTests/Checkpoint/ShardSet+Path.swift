@testable import SanaModel

extension ShardSet {
    /// The shards of an index on disk.
    init(index path: String) throws {
        let folder = path.parentFolder
        try self.init(index: ByteView(mapping: path), path: path) {
            try SafetensorsFile(path: folder.appendingPath($0))
        }
    }
}
