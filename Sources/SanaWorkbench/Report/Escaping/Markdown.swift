import SanaModel

/// Text in GitHub-flavoured Markdown, where untrusted names are text: no HTML, link, picture,
/// emphasis or column of theirs.
package enum Markdown {
    /// Text within a line, a heading or a cell of a table.
    package static func inline(_ text: String) -> String {
        let scalars = Array(text.unicodeScalars)
        var result = ""
        for (index, scalar) in scalars.enumerated() {
            let before = index > 0 ? scalars[index - 1] : nil
            let after = index + 1 < scalars.count ? scalars[index + 1] : nil
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            // Readers of tables do not agree on what a backslash before it means.
            case "|": result += "&#124;"
            case "\\", "`", "*", "[", "]", "~", "$", "@": result += "\\\(scalar)"
            case "_" where !(isWord(before) && isWord(after)): result += "\\_"
            case "(" where before == "]": result += "\\("
            // Addresses become links by themselves.
            case ":" where after == "/": result += "\\:"
            case "." where before == "w" || before == "W": result += "\\."
            case _ where scalar.isHidden: result += "\\" + scalar.escape
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    /// Lines of a paragraph: none begins a list, a heading or a block of code.
    package static func paragraph(_ text: String) -> String {
        text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .map { line in
                let line = inline(String(decoding: line.drop { $0 == 0x20 }, as: UTF8.self))
                let digits = line.utf8.prefix { (0x30...0x39).contains($0) }.count
                let mark = line.utf8.dropFirst(digits).first.map { Unicode.Scalar($0) }
                let begins: [Unicode.Scalar] = digits > 0 ? [".", ")"] : ["#", "+", "-", "="]
                guard let mark, begins.contains(mark) else { return line }
                return String(decoding: line.utf8.prefix(digits), as: UTF8.self) + "\\"
                    + String(decoding: line.utf8.dropFirst(digits), as: UTF8.self)
            }.joined(separator: "\n")
    }

    /// A name as code, outside of tables; see `String.printable`.
    package static func code(_ name: String) -> String {
        let text = name.printable
        let tick = UInt8(ascii: "`")
        let longest = text.utf8.split { $0 != tick }.map(\.count).max() ?? 0
        let fence = String(repeating: "`", count: longest + 1)
        let edge = text.utf8.first == tick || text.utf8.last == tick ? " " : ""
        return fence + edge + text + edge + fence
    }

    private static func isWord(_ scalar: Unicode.Scalar?) -> Bool {
        guard let value = scalar?.value else { return false }
        return (0x30...0x39).contains(value) || (0x41...0x5A).contains(value)
            || (0x61...0x7A).contains(value)
    }
}

/// How a report is laid out: for people at a terminal, or as Markdown.
package enum ReportStyle {
    case text, markdown

    package func show(_ table: TextTable) -> String { self == .text ? table.text : table.markdown }
    package func show(_ paragraph: String) -> String {
        self == .text ? paragraph : Markdown.paragraph(paragraph)
    }
}
