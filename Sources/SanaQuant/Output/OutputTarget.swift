import Libc
import SanaModel

/// What exists at the path of an output.
enum OutputTarget: Equatable {
    /// Nothing, or a regular file, which may be replaced.
    case file
    /// A pipe or a device, which is written to.
    case stream
    /// An open file of this process, such as `/dev/stdout`, whatever it is.
    case descriptor(Int32)

    /// Looks at `path`.
    ///
    /// - Throws: `OutputTargetError` for links and what else cannot be written, `FileError` for a
    ///   directory.
    init(_ path: String) throws {
        if let number = Self.openFile(path) {
            self = .descriptor(number)
            return
        }
        var status = stat()
        guard lstat(path, &status) == 0 else {
            self = .file
            return
        }
        let isLink = status.st_mode & S_IFMT == S_IFLNK
        if isLink, stat(path, &status) != 0 { throw OutputTargetError(path, .link) }
        switch status.st_mode & S_IFMT {
        case S_IFDIR: throw FileError(.create, path, code: EISDIR)
        case S_IFCHR, S_IFIFO: self = .stream
        case S_IFREG where !isLink: self = .file
        case S_IFREG: throw OutputTargetError(path, .link)
        default: throw OutputTargetError(path, .other)
        }
    }

    /// Opens a pipe or a device for writing.
    ///
    /// - Throws: `FileError` (`create`).
    func open(_ path: String) throws(FileError) -> Int32 {
        let descriptor: Int32
        if case .descriptor(let number) = self {
            // Opened again, a regular file would be written from its beginning.
            descriptor = fcntl(number, F_DUPFD_CLOEXEC, 3)
        } else {
            descriptor = systemOpen(path, O_WRONLY | O_CLOEXEC | O_NOCTTY)
        }
        guard descriptor >= 0 else { throw FileError(.create, path, code: errno) }
        return descriptor
    }

    /// The number of the open file that `path` stands for.
    private static func openFile(_ path: String) -> Int32? {
        switch path {
        case "/dev/stdout": return 1
        case "/dev/stderr": return 2
        default: break
        }
        for folder in ["/dev/fd/", "/proc/self/fd/"] where path.hasPrefix(folder) {
            return Int32(path.dropFirst(folder.count))
        }
        return nil
    }
}

/// An output that cannot be written where it should be.
public struct OutputTargetError: DiagnosticError, Equatable {
    enum Obstacle {
        case link, other
        /// What is written is read back, or opened again.
        case stream
    }
    public let path: String
    private let obstacle: Obstacle

    init(_ path: String, _ obstacle: Obstacle) { (self.path, self.obstacle) = (path, obstacle) }

    /// Checks that what is written to `path` can be read again.
    ///
    /// - Throws: `OutputTargetError`, and as `OutputFile.checkAbsent`.
    public static func checkReadable(_ path: String) throws {
        guard try OutputTarget(path) == .file else { throw Self(path, .stream) }
    }

    public var category: DiagnosticCategory { .cannotCreate }
    public var description: String {
        switch obstacle {
        case .link:
            "\(path.printable): is a symlink; refusing to write through it"
        case .other: "\(path.printable): is neither a regular file nor a pipe or character device"
        case .stream: "\(path.printable): is a pipe or a device, but this output is read back"
        }
    }
    public var remedy: String? {
        switch obstacle {
        case .link: "give the file that it points to, or remove the link"
        case .other, .stream: "give a regular file"
        }
    }
}

private func systemOpen(_ path: String, _ flags: Int32) -> Int32 { open(path, flags) }
