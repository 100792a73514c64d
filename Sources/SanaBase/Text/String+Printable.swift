extension Unicode.Scalar {
    /// Whether a scalar shows nothing of its own or drives what shows it: controls, line breaks,
    /// bidirectional and other formatting, invisible fillers, private use, noncharacters.
    public var isHidden: Bool {
        if value < 0x7F { return value < 0x20 }
        if value & 0xFFFE == 0xFFFE || (0xFDD0...0xFDEF).contains(value) { return true }
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .surrogate:
            return true
        default: return properties.isDefaultIgnorableCodePoint
        }
    }

    /// The scalar as `\u{202e}`.
    public var escape: String { "\\u{\(String(value, radix: 16))}" }
}

extension String {
    /// The text on one line, hidden scalars escaped: names in a checkpoint are untrusted and must
    /// not drive the terminal. Long names are cut at 200 scalars.
    public var printable: String {
        var result = ""
        var rest = unicodeScalars[...]
        for scalar in rest.prefix(200) { result.append(scalar) }
        rest = rest.dropFirst(200)
        return rest.isEmpty ? result : result + "…"
    }

    /// Text of several lines with hidden scalars other than line feeds escaped, as whole as it is.
    public var printableLines: String {
        guard unicodeScalars.contains(where: { $0.isHidden && $0 != "\n" }) else { return self }
        var result = ""
        for scalar in unicodeScalars {
            if scalar == "\n" { result += "\n" } else { result.append(scalar) }
        }
        return result
    }

    /// Appends the scalar, or its escape where it is hidden.
    private mutating func append(_ scalar: Unicode.Scalar) {
        if scalar.isHidden { self += scalar.escape } else { unicodeScalars.append(scalar) }
    }
}
