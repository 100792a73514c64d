import CFileNames
import Libc
import SanaModel
import Synchronization

/// A file that appears under its name complete, or not at all.
///
/// Where a pipe or a device stands under the name, it is written to; a link is never replaced nor
/// written through, see `OutputTarget`.
///
/// It is written as `.NAME.tmp-PID` in the target directory, then synced and renamed. Of several
/// processes that make a file of one name and may not replace it, one succeeds. A named file rather
/// than `O_TMPFILE`, because replacing takes a rename from a name and not every file system has
/// nameless files. A file that is dropped without `commit()` is removed; for signals see
/// `PendingOutputs`. What a killed process left is removed by the next one that writes the same
/// file: a writer holds a lock on its temporary file, which ends with the process.
public final class OutputFile {
    /// The final path.
    public let path: String
    /// The path until `commit()`.
    public let temporaryPath: String
    /// Whether this writes to a pipe or a device, which cannot be read back.
    public let isStream: Bool
    private static let syncedByteCount = 64 << 20
    private let replacesExisting: Bool
    private var descriptor: Int32
    private var isPending = false
    private var registration: PendingOutputs.Registration?
    /// Bytes that were written since the disk was last asked to take some.
    private var unsyncedByteCount = 0
    private let disk = Disk()

    /// Creates the temporary file.
    ///
    /// - Throws: `OutputExistsError`, or `FileError` (`create`).
    public init(_ path: String, replaceExisting: Bool) throws {
        let target = try Self.check(path, replaceExisting: replaceExisting)
        self.path = path
        replacesExisting = replaceExisting
        isStream = target != .file
        guard target == .file else {
            temporaryPath = path
            descriptor = try target.open(path)
            return
        }
        temporaryPath = path.parentFolder.appendingPath(
            ".\(path.lastPathComponent).tmp-\(getpid())")
        Self.removeAbandoned(beside: path)
        registration = PendingOutputs.addFile(temporaryPath)
        descriptor = Self.createLocked(temporaryPath)
        guard descriptor >= 0 else {
            let code = errno
            PendingOutputs.remove(registration)
            throw FileError(.create, path, code: code)
        }
        isPending = true
    }

    /// Creates a file and locks it.
    ///
    /// - Returns: the descriptor, or a negative number with `errno` set.
    private static func createLocked(_ path: String) -> Int32 {
        while true {
            let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
            guard descriptor >= 0 else { return descriptor }
            // Waits for one that looks whether the file is abandoned. Where a file system has no
            // locks, none are taken and none are found.
            while flock(descriptor, LOCK_EX) != 0, errno == EINTR {}
            var (named, opened) = (stat(), stat())
            if lstat(path, &named) == 0, fstat(descriptor, &opened) == 0,
                named.st_ino == opened.st_ino, named.st_dev == opened.st_dev
            {
                return descriptor
            }
            // Taken for abandoned between its creation and the lock.
            close(descriptor)
        }
    }

    /// Removes temporary files for `path` that no process holds a lock on.
    private static func removeAbandoned(beside path: String) {
        let prefix = ".\(path.lastPathComponent).tmp-"
        for name in (try? path.parentFolder.folderEntries()) ?? [] where name.hasPrefix(prefix) {
            let file = path.parentFolder.appendingPath(name)
            let descriptor = open(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
            guard descriptor >= 0 else { continue }
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { unlink(file) }
            close(descriptor)
        }
    }

    deinit {
        disk.wait()
        if descriptor >= 0 { close(descriptor) }
        if isPending {
            unlink(temporaryPath)
            PendingOutputs.remove(registration)
        }
    }

    /// Checks that `path` may be written.
    ///
    /// - Throws: `OutputExistsError`, `OutputTargetError`, or `FileError` when a directory stands
    ///   there.
    public static func checkAbsent(_ path: String, replaceExisting: Bool) throws {
        _ = try check(path, replaceExisting: replaceExisting)
    }

    private static func check(_ path: String, replaceExisting: Bool) throws -> OutputTarget {
        var status = stat()
        guard lstat(path, &status) == 0 else { return .file }
        let target = try OutputTarget(path)
        guard target != .file || replaceExisting else { throw OutputExistsError(path: path) }
        return target
    }

    /// Appends `bytes`.
    ///
    /// - Throws: `FileError` (`write`).
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while let start = rest.baseAddress, rest.count > 0 {
            let written = systemWrite(descriptor, start, rest.count)
            if written < 0 {
                if errno == EINTR { continue }
                throw FileError(.write, path, code: errno)
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[written...])
        }
        if isStream { return }
        unsyncedByteCount += bytes.count
        if unsyncedByteCount >= Self.syncedByteCount { startSyncing() }
    }

    /// Appends `bytes`.
    public func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }

    /// Starts to flush what was written to disk; `commit()` reports errors.
    public func startSyncing() {
        if isStream { return }
        unsyncedByteCount = 0
        disk.startSyncing(descriptor)
    }

    /// Syncs the file, gives it its final name and syncs the directory.
    ///
    /// - Throws: `FileError`, `OutputExistsError`; nothing is left under a new name then.
    public func commit() throws {
        if isStream { return }
        disk.wait()
        disk.startSyncing(descriptor)
        let code = disk.wait()
        guard code == 0 else { throw FileError(.write, path, code: code) }
        try publish()
        isPending = false
        PendingOutputs.finish(registration)
        let folder = open(path.parentFolder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        // Some file systems cannot sync directories; the rename itself stands.
        if folder >= 0 {
            fsync(folder)
            close(folder)
        }
    }

    /// Checks that the file may still have its name.
    ///
    /// - Throws: see `checkAbsent`.
    func checkAbsent() throws {
        if !isStream { try Self.checkAbsent(path, replaceExisting: replacesExisting) }
    }

    private func publish() throws {
        if replacesExisting {
            guard try Self.check(path, replaceExisting: true) == .file else {
                throw FileError(.create, path, code: EEXIST)
            }
            guard rename(temporaryPath, path) == 0 else {
                throw FileError(.rename, path, code: errno)
            }
        } else if rename_to_free_name(temporaryPath, path, RENAME_AT_ONCE) != 0 {
            let code = errno
            // Says what has the name.
            try checkAbsent()
            guard code != EEXIST else { throw OutputExistsError(path: path) }
            throw FileError(.rename, path, code: code)
        }
    }
}

/// Flushes a file to disk, on a thread of its own.
///
/// Without memory for a thread it is done at once; Dispatch would wait forever for memory. One
/// caller at a time.
private final class Disk: @unchecked Sendable {
    private var thread: pthread_t?
    private let isBusy = Atomic<Bool>(false)
    /// The first error: the system reports it once.
    private let failure = Atomic<Int32>(0)

    /// Does nothing while the disk is still busy with what was written before.
    func startSyncing(_ descriptor: Int32) {
        guard !isBusy.load(ordering: .acquiring) else { return }
        wait()
        isBusy.store(true, ordering: .relaxed)
        let task = Unmanaged.passRetained(SyncTask(disk: self, descriptor: descriptor))
        var created = pthread_t()
        let refusal = pthread_create(
            &created, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<SyncTask>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, task.toOpaque())
        if refusal == 0 { thread = created } else { task.takeRetainedValue().run() }
    }

    /// Waits for the disk.
    ///
    /// - Returns: the error, or 0.
    @discardableResult
    func wait() -> Int32 {
        if let thread { pthread_join(thread, nil) }
        thread = nil
        return failure.load(ordering: .relaxed)
    }

    fileprivate func sync(_ descriptor: Int32) {
        if fsync(descriptor) != 0, failure.load(ordering: .relaxed) == 0 {
            failure.store(errno, ordering: .relaxed)
        }
        isBusy.store(false, ordering: .releasing)
    }
}

/// What the thread is handed.
private final class SyncTask: Sendable {
    private let disk: Disk
    private let descriptor: Int32

    init(disk: Disk, descriptor: Int32) { (self.disk, self.descriptor) = (disk, descriptor) }

    func run() { disk.sync(descriptor) }
}

/// An output that exists already and may not be replaced.
public struct OutputExistsError: DiagnosticError, Equatable {
    public let path: String
    public var category: DiagnosticCategory { .cannotCreate }
    public var description: String { "\(path.printable): already exists" }
    public var remedy: String? { "choose another --output, or replace it with --force" }
    public var page: HelpPage? { .exists }
}

private func systemWrite(_ descriptor: Int32, _ start: UnsafeRawPointer, _ count: Int) -> Int {
    write(descriptor, start, count)
}
