import Foundation
import SanaModel

/// A line that GitHub Actions shows as an annotation: next to a file where it names one, and on the
/// page of the run.
///
/// https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
package struct WorkflowCommand: Equatable {
    package enum Level: String { case error, warning }

    let level: Level
    let title: String
    let message: String
    /// A path from the root of the repository.
    var file: String?
    var line: Int?
    var column: Int?

    /// - Parameter path: a path from the current directory, which is named where a file is there.
    package init(_ level: Level, _ title: String, _ message: String, path: String? = nil) {
        (self.level, self.title, self.message) = (level, title, message)
        if let path, path.pathExists, !path.isFolder { file = Self.inRepository(path) }
    }

    /// An error, at the line that its description begins with, as those of sana-tools.yaml do.
    package init(_ error: any DiagnosticError) {
        self.init(.error, "sana-tools", error.fullMessage)
        guard let match = error.description.prefixMatch(of: #/([^:\n]+):(\d+):(\d+): /#) else {
            return
        }
        file = Self.inRepository(String(match.1))
        (line, column) = (Int(match.2), Int(match.3))
    }

    package var text: String {
        let fields = [
            file.map { "file=\(Self.property($0))" }, line.map { "line=\($0)" },
            column.map { "col=\($0)" }, "title=\(Self.property(title))",
        ]
        return "::\(level.rawValue) \(fields.compactMap { $0 }.joined(separator: ","))::"
            + Self.data(message)
    }

    /// Of more annotations of a level in a step GitHub shows none.
    private static let maximumCount = 10

    /// The lines of `commands`; what GitHub would leave out is counted in one of them.
    static func lines(_ commands: [WorkflowCommand]) -> [String] {
        [Level.error, .warning].flatMap { level in
            let mine = commands.filter { $0.level == level }
            guard mine.count > maximumCount else { return mine.map(\.text) }
            let rest = mine.count - maximumCount + 1
            let more = WorkflowCommand(
                level, "sana-tools", "… and \(rest) more: see the step summary")
            return mine.prefix(maximumCount - 1).map(\.text) + [more.text]
        }
    }

    /// `text` on a line that the runner takes for no command: the name of a model may begin with
    /// colons, or hold the older form of commands, which is read anywhere in a line.
    static func plain(_ text: String) -> String {
        var line = String.UnicodeScalarView()
        for scalar in text.printable.unicodeScalars {
            if scalar == "[", line.suffix(2).elementsEqual("##".unicodeScalars) {
                line.append("\\")
            }
            line.append(scalar)
        }
        let start = line.drop { $0.properties.isWhitespace }
        return (start.starts(with: "::".unicodeScalars) ? "sana-tools: " : "") + String(line)
    }

    /// What the runner reads back as `text`: on one line, and no command of its own.
    private static func data(_ text: String) -> String { escaped(text, ["%", "\n"]) }

    private static func property(_ text: String) -> String {
        escaped(text, ["%", "\n", ":", ","])
    }

    /// Works on scalars: a `Character` may be a comma with what stands before or after it.
    private static func escaped(_ text: String, _ special: Set<Unicode.Scalar>) -> String {
        var result = ""
        for scalar in text.printableLines.unicodeScalars {
            if special.contains(scalar) {
                let code = String(scalar.value, radix: 16, uppercase: true)
                result += (code.count < 2 ? "%0" : "%") + code
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func inRepository(
        _ path: String, environment: [String: String] = ProcessInfo.processInfo.environment
    ) -> String {
        let absolute = URL(fileURLWithPath: path).standardizedFileURL.path
        guard let root = environment["GITHUB_WORKSPACE"], absolute.hasPrefix(root + "/") else {
            return path
        }
        return String(absolute.dropFirst(root.count + 1))
    }
}
