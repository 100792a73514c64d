import Foundation
import SanaWorkbench

/// Colours of verdicts, on terminals only; text that is read by programs never has any.
///
/// `NO_COLOR` (https://no-color.org) with any value turns them off, `CLICOLOR_FORCE` on where
/// output is no terminal; `NO_COLOR` wins.
enum Colour: Int {
    case red = 31
    case green = 32
    case yellow = 33

    static let onStdout = isWanted(isTerminal: isatty(1) == 1)
    static let onStderr = isWanted(isTerminal: isatty(2) == 1)

    static func isWanted(
        isTerminal: Bool, environment: [String: String] = ProcessInfo.processInfo.environment
    ) -> Bool {
        func isSet(_ name: String) -> Bool { !(environment[name] ?? "").isEmpty }
        if isSet("NO_COLOR") { return false }
        if isSet("CLICOLOR_FORCE"), environment["CLICOLOR_FORCE"] != "0" { return true }
        return isTerminal && environment["TERM"] != "dumb"
    }

    func paint(_ text: some StringProtocol) -> String { "\u{1B}[\(rawValue)m\(text)\u{1B}[0m" }

    private static let words: [Substring: Colour] = [
        "pass": .green, "PASS": .green, "ok": .green, "fail": .red, "FAIL": .red, "regress": .red,
        "REGRESS": .red, "error": .red, "ERROR": .red, "wrong": .red, "missing": .red,
        "inconclusive": .yellow,
        "INCONCLUSIVE": .yellow, "warning": .yellow,
    ]

    /// A report with its verdicts painted: words that begin a line or are the last cell of a
    /// table's row.
    static func paintVerdicts(_ report: String) -> String {
        report.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            var parts: [String] = []
            var rest = line[...]
            if let first = line.prefix(while: { $0 != " " && $0 != ":" }) as Substring?,
                let colour = words[first], first.count < line.count
            {
                parts.append(colour.paint(first))
                rest = rest.dropFirst(first.count)
            }
            // Nothing before the last cell: text of a cell that goes on from the line above.
            if let gap = rest.range(of: "  ", options: .backwards),
                let colour = words[rest[gap.upperBound...]],
                !line[..<gap.lowerBound].allSatisfy(\.isWhitespace)
            {
                parts += [String(rest[..<gap.upperBound]), colour.paint(rest[gap.upperBound...])]
            } else {
                parts.append(String(rest))
            }
            return parts.joined()
        }.joined(separator: "\n")
    }
}
