import Libc
import SanaModel

/// A link that takes the place of an earlier one, where that may be.
enum OutputLink {
    /// - Throws: `OutputExistsError`, or `FileError` (`create`).
    static func make(_ path: String, to target: String, replaceExisting: Bool) throws {
        guard replaceExisting else {
            guard symlink(target, path) == 0 else {
                guard errno != EEXIST else { throw OutputExistsError(path: path) }
                throw FileError(.create, path, code: errno)
            }
            return
        }
        let temporary = path.parentFolder.appendingPath(".link.tmp-\(getpid())")
        unlink(temporary)
        guard symlink(target, temporary) == 0, rename(temporary, path) == 0 else {
            let code = errno
            unlink(temporary)
            throw FileError(.create, path, code: code)
        }
    }
}
