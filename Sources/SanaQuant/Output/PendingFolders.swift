import Libc
import SanaModel
import Synchronization

/// Folders made for outputs. Dropped without `keep()`, those that were new are removed where they
/// are empty; so they are when a signal ends the process, see `PendingOutputs`.
public final class PendingFolders {
    private var created: [(path: String, registration: PendingOutputs.Registration)] = []

    public init() {}

    /// Makes a directory and those above it where they are absent.
    ///
    /// - Throws: `FileError`.
    public func create(_ path: String) throws {
        guard !path.isFolder else { return }
        let parent = path.parentFolder
        if parent != path { try create(parent) }
        let registration = PendingOutputs.addFolder(path)
        guard mkdir(path, 0o777) == 0 else {
            let code = errno
            PendingOutputs.remove(registration)
            // Another process may have been first.
            if code == EEXIST, path.isFolder { return }
            throw FileError(.create, path, code: code)
        }
        created.append((path, registration))
    }

    /// Lets the directories stay.
    public func keep() {
        for folder in created { PendingOutputs.remove(folder.registration) }
        created = []
    }

    deinit {
        for folder in created.reversed() {
            rmdir(folder.path)
            PendingOutputs.remove(folder.registration)
        }
    }
}
