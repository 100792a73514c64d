import Foundation

/// Rows of cells under a header, as aligned text or as a Markdown table.
package struct TextTable {
    package enum Alignment { case left, right }

    private let header: [(title: String, alignment: Alignment)]
    /// Titles of columns that a narrow terminal does without, the first to go first.
    private let optional: [String]
    /// Index of the column of names, which are shortened where the terminal is narrow.
    private let names: Int
    private var rows: [[String]] = []

    /// - Parameter names: title of the column whose texts may be shortened (default: the first).
    package init(
        _ header: [(title: String, alignment: Alignment)], optional: [String] = [],
        names: String? = nil
    ) {
        (self.header, self.optional) = (header, optional)
        self.names = header.firstIndex { $0.title == names } ?? 0
    }

    package mutating func append(_ row: [String]) { rows.append(row) }

    /// Columns two spaces apart, no trailing spaces; as wide as the terminal, where stdout is one.
    package var text: String { text(width: Self.terminalWidth) }

    /// Columns of the terminal that stdout is; `nil` where it is none or does not tell.
    private static let terminalWidth: Int? = {
        var size = winsize()
        guard isatty(1) == 1, ioctl(1, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else {
            return nil
        }
        return max(40, Int(size.ws_col))
    }()

    /// - Parameter width: columns of the terminal; `nil` where nothing limits lines. Columns are
    ///   left out, and named below, before text is broken between words; numbers are never broken.
    func text(width: Int?) -> String {
        let widths = header.indices.map { column in
            ([header[column].title] + rows.map { $0[column] }).map(\.columns).max() ?? 0
        }
        let layout = Layout(widths, header, optional, names: names, width: width ?? .max)
        let lines = ([header.map(\.title)] + rows).flatMap { row in
            layout.lines(row, header.map(\.alignment))
        }
        let absent = header.indices.filter { !layout.columns.contains($0) }.map { header[$0].title }
        guard !absent.isEmpty else { return lines.joined(separator: "\n") }
        let note = "(without " + absent.joined(separator: ", ") + ": the terminal is too narrow)"
        return (lines + note.wrapped(width ?? .max)).joined(separator: "\n")
    }

    /// A GitHub-flavoured table.
    package var markdown: String {
        func line(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }
        let rule = header.map { $0.alignment == .left ? "---" : "---:" }
        return
            ([header.map { Markdown.inline($0.title) }, rule]
            + rows.map { $0.map(Markdown.inline) }).map(line).joined(separator: "\n")
    }
}

extension TextTable {
    /// Which columns fit, and how wide they are.
    private struct Layout {
        /// Indexes of the columns that are shown.
        private(set) var columns: [Int]
        private var widths: [Int]
        private let names: Int

        private static let gap = 2
        /// Characters that are left of a text that is broken or shortened: as long as columns can
        /// go, and then.
        private static let (leastText, leastOfAll) = (24, 12)

        init(
            _ widths: [Int], _ header: [(title: String, alignment: Alignment)],
            _ optional: [String], names: Int, width: Int
        ) {
            (self.widths, columns) = (widths, Array(widths.indices))
            self.names = names
            guard total > width else { return }
            // A text in the last column is broken into lines, which costs no column.
            let last = widths.count - 1
            let isText = last > 0 && header[last].alignment == .left
            if isText { shrink(last, by: total - width) }
            for title in optional where total > width {
                self.widths[last] = widths[last]
                columns.removeAll { header[$0].title == title }
                if isText { shrink(last, by: total - width) }
            }
            for least in [Self.leastText, Self.leastOfAll] {
                if header[names].alignment == .left { shrink(names, by: total - width, least) }
                if isText { shrink(last, by: total - width, least) }
            }
            while total > width, columns.count > 1 {
                columns.remove(at: columns.count - (isText && columns.count > 2 ? 2 : 1))
            }
        }

        private var total: Int {
            columns.reduce(0) { $0 + widths[$1] } + Self.gap * (columns.count - 1)
        }

        private mutating func shrink(
            _ column: Int, by excess: Int, _ least: Int = Self.leastText
        ) {
            guard excess > 0, columns.contains(column) else { return }
            widths[column] = max(min(widths[column], least), widths[column] - excess)
        }

        /// The lines of a row: one, unless the last text is broken.
        func lines(_ row: [String], _ alignments: [Alignment]) -> [String] {
            var lines = [""]
            var start = 0
            for column in columns {
                let width = widths[column]
                if column > columns[0] { start += Self.gap }
                var parts = [row[column]]
                if row[column].columns > width {
                    parts =
                        column == names
                        ? [row[column].shortened(to: width)] : row[column].wrapped(width)
                }
                for (index, part) in parts.enumerated() {
                    if index == lines.count { lines.append("") }
                    let space = String(repeating: " ", count: max(0, width - part.columns))
                    let indent = String(
                        repeating: " ", count: max(0, start - lines[index].columns))
                    lines[index] +=
                        indent + (alignments[column] == .left ? part + space : space + part)
                }
                start += width
            }
            return lines.map { line in
                let end = line.utf8.reversed().prefix { $0 == 0x20 }.count
                return String(decoding: line.utf8.dropLast(end), as: UTF8.self)
            }
        }
    }
}

extension String {
    /// How many columns of a terminal the text takes: marks are on the letter before.
    fileprivate var columns: Int {
        unicodeScalars.count { scalar in
            guard scalar.value >= 0x300 else { return true }
            let category = scalar.properties.generalCategory
            return category != .nonspacingMark && category != .enclosingMark
        }
    }

    /// The beginning and the end of a name, which say more of it than its middle.
    fileprivate func shortened(to width: Int) -> String {
        let scalars = Array(unicodeScalars)
        guard scalars.count > width, width > 2 else { return self }
        let (head, tail) = ((width - 1) / 2, width / 2)
        var result = Self.UnicodeScalarView()
        result.append(contentsOf: scalars.prefix(head))
        result.append("…")
        result.append(contentsOf: scalars.suffix(tail))
        return String(result)
    }

    /// Lines of at most `width` columns, broken between words, and inside of words that are longer.
    fileprivate func wrapped(_ width: Int) -> [String] {
        var lines: [String] = []
        for word in split(separator: " ").flatMap({ Self.parts($0, of: width) }) {
            if let last = lines.last, last.columns + 1 + word.columns <= width {
                lines[lines.count - 1] = last + " " + word
            } else {
                lines.append(word)
            }
        }
        return lines.isEmpty ? [""] : lines
    }

    /// A word in parts of at most `width` columns, cut after slashes if it has any.
    private static func parts(_ word: Substring, of width: Int) -> [String] {
        var (parts, start, columns) = ([String](), word.startIndex, 0)
        var slash: Substring.Index?
        for index in word.indices {
            let added = String(word[index]).columns
            if columns + added > width, index > start {
                let cut = slash ?? index
                parts.append(String(word[start..<cut]))
                (start, columns, slash) = (cut, String(word[cut..<index]).columns, nil)
            }
            columns += added
            if word[index] == "/" { slash = word.index(after: index) }
        }
        return parts + [String(word[start...])]
    }
}
