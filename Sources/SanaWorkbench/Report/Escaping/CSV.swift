import SanaModel

/// Comma-separated values as in RFC 4180.
///
/// Works on bytes: a `Character` may be a comma with a mark on it, and is no comma then.
package enum CSV {
    package static func line(_ fields: [String]) -> String {
        fields.map(quoted).joined(separator: ",")
    }

    /// A field; what a spreadsheet would take for a formula is preceded by an apostrophe, which
    /// makes it text there. Some take the wide forms of East Asian keyboards for the same.
    package static func field(_ text: String) -> String {
        switch text.unicodeScalars.first {
        case "=", "+", "-", "@", "\t", "\r", "\n", "\u{FF1D}", "\u{FF0B}", "\u{FF0D}", "\u{FF20}":
            "'" + text
        default: text
        }
    }

    private static func quoted(_ field: String) -> String {
        guard field.utf8.contains(where: { ",\"\n\r".utf8.contains($0) }) else { return field }
        var result = "\""
        for scalar in field.unicodeScalars {
            result.unicodeScalars.append(scalar)
            if scalar == "\"" { result += "\"" }
        }
        return result + "\""
    }
}
