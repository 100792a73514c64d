import GRDB
import Libc
import SanaModel

/// Trouble with the history's database.
package enum HistoryError: DiagnosticError {
    case newerSchema(String)
    case notDatabase(String, reason: String)
    case cannotWrite(String, reason: String)
    /// A copy is read where reading in place would write next to the file; it has no place.
    case cannotCopy(String, to: String, code: Int32)
    case failed(String, reason: String)
    case noSuchRun(String, Int64?)
    case absent(String)
    case noSuchBaseline(String, String)

    package init(_ error: DatabaseError, _ path: String, isWriting: Bool) {
        let reason = error.message ?? "SQLite error \(error.resultCode.rawValue)"
        self =
            switch error.resultCode {
            case .SQLITE_NOTADB, .SQLITE_CORRUPT, .SQLITE_ERROR, .SQLITE_CONSTRAINT, .SQLITE_TOOBIG,
                .SQLITE_MISMATCH:
                .notDatabase(path, reason: reason)
            case .SQLITE_INTERRUPT:
                .notDatabase(path, reason: "reading it takes too long for its size")
            case .SQLITE_CANTOPEN, .SQLITE_READONLY, .SQLITE_PERM:
                isWriting
                    ? .cannotWrite(path, reason: reason) : .failed(path, reason: reason)
            default: .failed(path, reason: reason)
            }
    }

    package var category: DiagnosticCategory {
        switch self {
        case .newerSchema, .notDatabase: .badData
        case .cannotWrite: .cannotCreate
        case .failed, .cannotCopy: .inputOutput
        case .noSuchRun, .noSuchBaseline, .absent: .noInput
        }
    }

    package var description: String {
        switch self {
        case .absent(let path): "\(path.printable): no history yet"
        case .newerSchema(let path):
            "\(path.printable): history was written by a newer sana-tools"
        case .noSuchBaseline(let path, let name):
            "\(path.printable): no baseline '\(name.printable)'"
        case .notDatabase(let path, let reason):
            "\(path.printable): not a usable history database: \(reason.printable)"
        case .cannotWrite(let path, let reason):
            "\(path.printable): cannot write the history: \(reason.printable)"
        case .cannotCopy(let path, let folder, let code):
            "\(path.printable): cannot copy it to \(folder.printable): "
                + String(cString: strerror(code))
        case .failed(let path, let reason): "\(path.printable): \(reason.printable)"
        case .noSuchRun(let path, let id):
            "\(path.printable): " + (id.map { "no run \($0)" } ?? "no run recorded yet")
        }
    }

    package var remedy: String? {
        switch self {
        case .newerSchema: "update sana-tools, or choose another file with --db"
        case .notDatabase: "restore the file from a backup, or choose another one with --db"
        case .cannotWrite:
            "choose another file with --db, or do not record the run with --no-record"
        case .cannotCopy: "set TMPDIR to a directory that has room for it"
        case .failed: nil
        case .noSuchBaseline: "'sana-tools history baseline list' shows them"
        case .absent:
            "'sana-tools verify' and 'profile' record their runs there; name another with --db"
        case .noSuchRun: "'sana-tools history list' shows the runs"
        }
    }

    package var page: HelpPage? {
        switch self {
        case .absent: .history
        case .newerSchema, .notDatabase, .cannotWrite, .cannotCopy, .failed, .noSuchRun,
            .noSuchBaseline:
            nil
        }
    }
}
