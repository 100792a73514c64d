/// Rows of cells under a header, as aligned text or as a Markdown table.
package struct TextTable {
    package enum Alignment { case left, right }

    private let header: [(title: String, alignment: Alignment)]
    private var rows: [[String]] = []

    package init(_ header: [(title: String, alignment: Alignment)]) { self.header = header }

    package mutating func append(_ row: [String]) { rows.append(row) }

    /// Columns two spaces apart, no trailing spaces.
    package var text: String {
        let widths = header.indices.map { column in
            ([header[column].title] + rows.map { $0[column] }).map(\.columns).max() ?? 0
        }
        return ([header.map(\.title)] + rows).map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.columns)
                if column > 0 { line += "  " }
                line += header[column].alignment == .left ? cell + padding : padding + cell
            }
            let end = line.utf8.reversed().prefix { $0 == 0x20 }.count
            return String(decoding: line.utf8.dropLast(end), as: UTF8.self)
        }.joined(separator: "\n")
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

extension String {
    /// How many columns of a terminal the text takes: marks lie on the letter before.
    fileprivate var columns: Int {
        unicodeScalars.count { scalar in
            guard scalar.value >= 0x300 else { return true }
            let category = scalar.properties.generalCategory
            return category != .nonspacingMark && category != .enclosingMark
        }
    }
}
