import Libc
import SanaModel

/// The files below a directory, and what in it cannot be looked into.
struct FolderListing {
    /// Paths below the directory, of files and of what is in the place of one.
    private(set) var files: [String] = []
    /// Directories that are not listed, by their paths below the directory, and why.
    private(set) var obstacles: [(name: String, error: any DiagnosticError)] = []

    private let folder: String
    private var count = 0

    /// Most files and directories that are listed, and how deep.
    private static let (maximumCount, maximumDepth) = (10_000, 6)

    /// Lists `folder` and the directories in it, links followed; hidden files are left out.
    ///
    /// - Throws: `FileError` for the directory itself, or `BadDataError` if it holds no model.
    init(_ folder: String) throws {
        self.folder = folder
        let all = try Self.open(folder, within: [])
        try add(all.names, of: nil, within: [all.identity])
    }

    /// - Parameters:
    ///   - parent: path below the folder of what has these entries; `nil` for the folder itself.
    ///   - ancestors: it and the directories above it.
    private mutating func add(
        _ names: [String], of parent: String?, within ancestors: [Identity]
    ) throws {
        for entry in names where !entry.hasPrefix(".") {
            count += 1
            guard count <= Self.maximumCount else {
                throw BadDataError(
                    file: folder,
                    reason: "more than \(Self.maximumCount) files, too many for a model",
                    remedy: "give the directory of the repository or snapshot")
            }
            let name = parent?.appendingPath(entry) ?? entry
            let path = folder.appendingPath(name)
            guard path.isFolder else {
                files.append(name)
                continue
            }
            let inner: (names: [String], identity: Identity)
            do { inner = try Self.open(path, within: ancestors) } catch let error
                as any DiagnosticError
            {
                obstacles.append((name, error))
                continue
            }
            try add(inner.names, of: name, within: ancestors + [inner.identity])
        }
    }

    private struct Identity: Equatable {
        let device: dev_t
        let number: ino_t
    }

    private static func open(
        _ path: String, within ancestors: [Identity]
    ) throws -> (names: [String], identity: Identity) {
        var status = stat()
        guard stat(path, &status) == 0 else { throw FileError(.open, path, code: errno) }
        let identity = Identity(device: status.st_dev, number: status.st_ino)
        guard !ancestors.contains(identity) else {
            throw BadDataError(
                file: path, reason: "is a symlink to a directory that contains it",
                remedy: "remove the link")
        }
        guard ancestors.count <= maximumDepth else {
            throw BadDataError(
                file: path, reason: "directories are nested too deeply for a model")
        }
        return (try path.folderEntries(), identity)
    }
}
