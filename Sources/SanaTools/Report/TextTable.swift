/// Rows of cells under a header, as aligned text or as a Markdown table.
struct TextTable {
    enum Alignment { case left, right }

    private let header: [(title: String, alignment: Alignment)]
    private var rows: [[String]] = []

    init(_ header: [(title: String, alignment: Alignment)]) { self.header = header }

    mutating func append(_ row: [String]) { rows.append(row) }

    /// Columns two spaces apart, no trailing spaces.
    var text: String {
        let widths = header.indices.map { column in
            ([header[column].title] + rows.map { $0[column] }).map(\.count).max() ?? 0
        }
        return ([header.map(\.title)] + rows).map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                if column > 0 { line += "  " }
                line += header[column].alignment == .left ? cell + padding : padding + cell
            }
            while line.last == " " { line.removeLast() }
            return line
        }.joined(separator: "\n")
    }

    /// A GitHub-flavoured table.
    var markdown: String {
        func line(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }
        let rule = header.map { $0.alignment == .left ? "---" : "---:" }
        return ([header.map(\.title), rule] + rows.map { $0.map(Self.escaped) })
            .map(line).joined(separator: "\n")
    }

    private static func escaped(_ cell: String) -> String {
        cell.map { $0 == "|" ? "\\|" : String($0) }.joined()
    }
}
