import Libc

/// A directory in which this process alone gives files their names, until the lock is dropped.
///
/// Two conversions to one folder may write files of different names, so that neither finds its own
/// names taken. Where a file system has no locks, or another program keeps one for minutes, none is
/// taken: a single name still goes to one process alone.
final class FolderLock {
    private let descriptor: Int32
    /// How long other processes are waited for.
    private static let patience = Duration.seconds(120)

    init(_ folder: String) {
        descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        let end = ContinuousClock.now + Self.patience
        while descriptor >= 0, flock(descriptor, LOCK_EX | LOCK_NB) != 0,
            errno == EINTR || errno == EWOULDBLOCK, ContinuousClock.now < end
        {
            usleep(10_000)
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }
}

extension [OutputFile] {
    /// Gives the files their names, in order: all of them or, where something appeared meanwhile
    /// that may not be replaced, none.
    ///
    /// - Parameters:
    ///   - folder: directory of all files; `nil` for a single file, which needs no lock.
    ///   - stale: finds the weights in the directory that the files contradict; they are removed.
    /// - Throws: `FileError`, `OutputExistsError`.
    func commit(in folder: String?, stale: () throws -> StaleWeights? = { nil }) throws {
        let lock = folder.map(FolderLock.init)
        defer { withExtendedLifetime(lock) {} }
        let old = try stale()
        for file in self { try file.checkAbsent() }
        for file in self { try file.commit() }
        try old?.remove()
    }
}
