import Libc

/// What kind of trouble an error is, for whoever must turn it into an exit code.
public enum DiagnosticCategory: Sendable {
    /// The input exists but breaks a rule of its format.
    case badData
    /// The input does not exist.
    case noInput
    /// The output cannot be created, or exists already.
    case cannotCreate
    /// The operating system failed while reading or writing.
    case inputOutput
    /// The request itself makes no sense.
    case usage
    /// A defect of the program.
    case internalError
}

/// An error that a user can act on: what is wrong, where, and what to do next.
public protocol DiagnosticError: Error, CustomStringConvertible {
    /// The kind of trouble.
    var category: DiagnosticCategory { get }
    /// One sentence that says what to do next; `nil` when nothing sensible can be said.
    var remedy: String? { get }
    /// Where the documentation says more; `nil` when the remedy says everything.
    var page: HelpPage? { get }
}

extension DiagnosticError {
    public var remedy: String? { nil }
    public var page: HelpPage? { nil }

    /// The remedy, ending in the page that says more.
    public var hint: String? {
        guard let page else { return remedy }
        return remedy.map { "\($0) (see \(page.rawValue))" } ?? "see \(page.rawValue)"
    }

    /// `description` followed by the hint.
    public var fullMessage: String {
        hint.map { "\(description)\n  hint: \($0)" } ?? description
    }
}

/// Bad data in a file, described in one sentence.
public struct BadDataError: DiagnosticError {
    /// The file.
    public let file: String
    /// What is wrong.
    public let reason: String
    public let remedy: String?
    public let page: HelpPage?

    public init(file: String, reason: String, remedy: String? = nil, page: HelpPage? = nil) {
        self.file = file
        self.reason = reason
        self.remedy = remedy
        self.page = page
    }

    public var category: DiagnosticCategory { .badData }
    public var description: String { "\(file.printable): \(reason)" }
}

/// Memory that the system does not give.
public struct MemoryError: DiagnosticError {
    public let description: String

    /// - Parameter description: what there is not enough of, and for what.
    public init(_ description: String) { self.description = description }

    public var category: DiagnosticCategory { .inputOutput }
    public var remedy: String? {
        "raise the memory limit (ulimit -v), use fewer --threads, or use another machine"
    }
    public var page: HelpPage? { .memory }
}

/// A file operation that the operating system refused.
public struct FileError: DiagnosticError {
    /// What was being done.
    public enum Operation: String, Sendable {
        case open, read, map, create, write, rename, remove
    }
    public let operation: Operation
    public let path: String
    /// `errno` of the failed call.
    public let code: Int32

    public init(_ operation: Operation, _ path: String, code: Int32) {
        self.operation = operation
        self.path = path
        self.code = code
    }

    public var category: DiagnosticCategory {
        switch operation {
        case .open where code == ENOENT || code == ENOTDIR: .noInput
        case .create: .cannotCreate
        default: .inputOutput
        }
    }
    public var description: String {
        "\(path.printable): cannot \(operation.rawValue): \(String(cString: strerror(code)))"
    }
    public var remedy: String? {
        switch code {
        case ENOENT, ENOTDIR:
            operation == .open
                ? "check the path; nothing exists there"
                : "check the directory that should contain it"
        case EACCES, EPERM, EROFS: "check the permissions of the file and its directory"
        case ENOSPC, EDQUOT: "free space on the disk, or write elsewhere"
        case EEXIST where operation == .create: "a file of that name already exists; choose another"
        case EISDIR: "this is a directory; give a file"
        case EFBIG: "raise the file size limit (ulimit -f)"
        case ELOOP: "the symlink is part of a loop; give the file itself"
        default: nil
        }
    }
}
