/// Texts that readers, terminals and reports take for something else than text.
enum OddText {
    /// Pieces of names.
    static let pieces: [String] = [
        // Joins what comes after it to one Character.
        "\u{D4E}", "\u{600}", "\u{200D}",
        // Is joined to what comes before it.
        "\u{301}", "\u{338}", "\u{FE0F}", "\u{315}\u{300}",
        // The same text to people, others to programs.
        "\u{E9}", "e\u{301}", "\u{212B}", "\u{FB01}", "\u{1100}\u{1161}", "\u{AC00}",
        // Drives what shows it.
        "\u{1B}[31m", "\u{9B}31m", "\u{202E}", "\u{2066}", "\u{7}", "\u{7F}", "\u{85}", "\u{2028}",
        "\u{FEFF}", "\u{E0041}", "\u{FFFE}", "\u{10FFFF}", "\u{F8FF}", "\u{115F}",
        // Markup, tables, formulas, formats, paths.
        "<script>", "&amp;", "]]>", "|", "\\|", "`", "[x](y)", ",", "\"", "'", "=1+1", "-", "%s%n",
        "$(x)",
        "../", "..", "/", "\\", "*", "?", ".", " ", "\u{0}", "\n", "\r\n", "\t",
        // Numbers and words.
        "__metadata__", "null", "-1", "transformer_blocks.99999999999999999999.", ".weight",
    ]

    /// Bytes that are no UTF-8, or are it in more bytes than needed.
    static let brokenUTF8: [[UInt8]] = [
        [0xFF], [0xC0, 0xAF], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE0, 0xB5], [0x80],
    ]

    /// Escapes of JSON that stand for no scalar, or for one that is awkward.
    static let escapes = [
        "\\u0000", "\\ud800", "\\udc00\\ud800", "\\ud83d\\ude00", "\\u202e", "\\u001b", "\\x",
        "\\/",
    ]
}
