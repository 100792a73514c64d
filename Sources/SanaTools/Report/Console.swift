import Foundation

/// stdout is data, stderr is talk.
enum Console {
    /// Writes a line of data.
    static func data(_ text: String) { write(text, to: .standardOutput) }

    /// Writes a line of talk.
    static func talk(_ text: String) { write(text, to: .standardError) }

    /// Whether stderr is a terminal, where progress may be drawn.
    static let stderrIsTerminal = isatty(2) == 1

    private static func write(_ text: String, to handle: FileHandle) {
        // A closed pipe (`| head`) is not our failure.
        try? handle.write(contentsOf: Data((text + "\n").utf8))
    }
}

/// A progress line on stderr: drawn on terminals only, at most ten times a second, erased at the
/// end.
final class ProgressLine: @unchecked Sendable {
    private let title: String
    private let lock = NSLock()
    private var lastDraw = ContinuousClock.now - .seconds(1)
    private var drawn = false

    init(_ title: String) { self.title = title }

    /// Shows `completed` of `total`; may be called from any thread.
    func update(_ completed: Int, of total: Int) {
        guard Console.stderrIsTerminal, total > 0 else { return }
        lock.withLock {
            let now = ContinuousClock.now
            guard now - lastDraw > .milliseconds(100) else { return }
            (lastDraw, drawn) = (now, true)
            let width = 30
            let filled = min(width, width * completed / total)
            let bar =
                String(repeating: "█", count: filled)
                + String(repeating: "·", count: width - filled)
            FileHandle.standardError.write(
                Data("\r\u{1B}[K\(title) \(bar) \(100 * completed / total) %".utf8))
        }
    }

    /// Erases the line.
    func finish() {
        lock.withLock {
            if drawn { FileHandle.standardError.write(Data("\r\u{1B}[K".utf8)) }
            drawn = false
        }
    }
}
