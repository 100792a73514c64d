import Foundation
import SanaModel
import SanaWorkbench
import Synchronization

/// Results go to stdout, messages to stderr.
enum Console {
    /// Writes a line of data.
    ///
    /// - Throws: `FileError` when it cannot be written; a reader that has gone (`| head`) is no
    ///   failure.
    static func data(_ text: String) throws {
        hasData.store(true, ordering: .relaxed)
        // write(2), because FileHandle's errors do not say which one it was.
        var rest = Array((text + "\n").utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno == EPIPE {
                return
            } else if errno != EINTR {
                throw FileError(.write, "stdout", code: errno)
            }
        }
    }

    /// Whether anything was written to stdout.
    static let hasData = Atomic<Bool>(false)

    /// Whether only data and errors are written: `--quiet`.
    static let isQuiet = Atomic<Bool>(false)

    /// Writes a message that `--quiet` suppresses.
    static func note(_ text: String) {
        if !isQuiet.load(ordering: .relaxed) { message(text) }
    }

    /// Writes a message to stderr.
    static func message(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data((text + "\n").utf8))
    }

    /// Warns about something that may be unintended; the command continues.
    static func warn(_ text: String) { message("sana-tools: warning: \(text)") }

    /// Reports an error with its hint.
    static func report(_ error: any DiagnosticError) {
        Self.error(error.fullMessage.printableLines)
    }

    /// Writes what is wrong, and what may help.
    static func error(_ text: String) {
        let word = Colour.onStderr ? Colour.red.paint("error:") : "error:"
        message("sana-tools: \(word) \(text)")
    }

    /// Whether stderr is a terminal, where progress may be drawn.
    static let stderrIsTerminal = isatty(2) == 1

    /// Whether results and messages go to one place: the same terminal, file or pipe. An error
    /// among the results is not repeated there.
    static let isOneStream: Bool = {
        var (results, messages) = (stat(), stat())
        return fstat(1, &results) == 0 && fstat(2, &messages) == 0
            && results.st_dev == messages.st_dev && results.st_ino == messages.st_ino
    }()

    /// Whether people read results as they are printed.
    static let stdoutIsTerminal = isatty(1) == 1
}

/// Shows the notices of SanaWorkbench's runners on stderr.
struct ConsoleListener: NoticeListener {
    func note(_ text: String) { Console.note(text) }
    func warn(_ text: String) { Console.warn(text) }
    func progress(_ title: String) -> any ProgressDisplay { ProgressLine(title) }
}

/// A progress line on stderr: drawn on terminals only, at most ten times a second, erased at the
/// end.
final class ProgressLine: ProgressDisplay, @unchecked Sendable {
    private let title: String
    private let lock = NSLock()
    private var lastDraw = ContinuousClock.now - .seconds(1)
    private var drawn = false
    private let start = ContinuousClock.now

    init(_ title: String) { self.title = title }

    /// Shows `completed` of `total`; may be called from any thread.
    func update(_ completed: Int, of total: Int) {
        guard total > 0 else { return }
        let width = 30
        let filled = min(width, width * completed / total)
        let bar =
            String(repeating: "█", count: filled)
            + String(repeating: "·", count: width - filled)
        let elapsed = (ContinuousClock.now - start).inSeconds
        show("\(bar) \(100 * completed / total) %" + Self.rest(completed, total, elapsed))
    }

    /// The time that the rest takes at the speed until now; empty until there is one.
    static func rest(_ completed: Int, _ total: Int, _ seconds: Double) -> String {
        guard completed > 0, completed < total, seconds >= 2 else { return "" }
        let rest = seconds * Double(total - completed) / Double(completed)
        return switch rest {
        case ..<90: ", \(max(1, Int(rest.rounded()))) s left"
        case ..<5400: ", \(Int((rest / 60).rounded())) min left"
        default: ", \(Format.decimal(rest / 3600, digits: 1)) h left"
        }
    }

    /// Shows a text; may be called from any thread.
    func show(_ text: String) {
        guard Console.stderrIsTerminal, !Console.isQuiet.load(ordering: .relaxed) else { return }
        lock.withLock {
            let now = ContinuousClock.now
            guard now - lastDraw > .milliseconds(100) else { return }
            (lastDraw, drawn) = (now, true)
            draw("\(title) \(text)")
        }
    }

    /// Erases the line.
    func finish() {
        lock.withLock {
            if drawn { draw("") }
            drawn = false
        }
    }

    /// Replaces the line; a terminal that is gone does not matter.
    private func draw(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data("\r\u{1B}[K\(text)".utf8))
    }
}
