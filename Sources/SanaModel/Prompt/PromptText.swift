/// What diffusers does to the text of a prompt before it is tokenized.
public enum PromptText {
    /// Python's `text.lower().strip()`: diffusers lower-cases every prompt.
    ///
    /// Letters that Unicode got after version 14, which Python 3.11 has, are lower-cased here and
    /// not there.
    public static func preprocessed(_ text: String) -> String { stripped(lowercased(text)) }

    /// Python's `str.lower()`: Unicode's full mapping, "Σ" to "ς" at the end of a word.
    static func lowercased(_ text: String) -> String {
        let scalars = Array(text.unicodeScalars)
        var result = String.UnicodeScalarView()
        for (index, scalar) in scalars.enumerated() {
            if scalar == "Σ" {
                result.append(endsWord(scalars, index) ? "ς" : "σ")
            } else {
                result.append(contentsOf: scalar.properties.lowercaseMapping.unicodeScalars)
            }
        }
        return String(result)
    }

    /// Unicode's `Final_Sigma`: a cased letter before, none after, ignorable ones skipped.
    private static func endsWord(_ scalars: [Unicode.Scalar], _ index: Int) -> Bool {
        func isCased(_ scalar: Unicode.Scalar?) -> Bool { scalar?.properties.isCased ?? false }
        func isSignificant(_ scalar: Unicode.Scalar) -> Bool { !scalar.properties.isCaseIgnorable }
        return isCased(scalars[..<index].last(where: isSignificant))
            && !isCased(scalars[(index + 1)...].first(where: isSignificant))
    }

    /// Python's `str.strip()`, which takes the separators U+001C to U+001F for space, too.
    static func stripped(_ text: String) -> String {
        let scalars = text.unicodeScalars
        guard let first = scalars.firstIndex(where: { !isSpace($0) }),
            let last = scalars.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(scalars[first...last])
    }

    /// Python's `str.isspace()` of one character.
    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F,
            0x205F, 0x3000:
            true
        default: false
        }
    }
}
