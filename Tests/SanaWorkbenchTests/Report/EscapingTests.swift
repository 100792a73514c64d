import SanaModel
import Testing

@testable import SanaWorkbench

/// Names of strangers in HTML, XML, Markdown, CSV and on terminals: every scalar that is more than
/// itself before and after every one that has a meaning there.
struct EscapingTests {
    /// Of every scalar but ideographs, Hangul syllables and planes without letters: those that make
    /// one Character with a letter, format text or are ASCII, and every tenth of the others, which
    /// are all alike.
    private static let scalars: [Unicode.Scalar] = {
        let ranges: [ClosedRange<UInt32>] = [
            0x0...0x33FF, 0xA000...0xABFF, 0xD7B0...0xD7FF, 0xF800...0x13FFF, 0x16000...0x16FFF,
            0x1B000...0x1FFFF, 0xE0000...0xE0FFF,
        ]
        return ranges.joined().compactMap { Unicode.Scalar($0) }.filter { scalar in
            if scalar.isASCII || scalar.value % 10 == 0 { return true }
            if [.control, .format].contains(scalar.properties.generalCategory) { return true }
            return "\(scalar)a".count == 1 || "a\(scalar)".count == 1
        }
    }()

    /// `special` with every scalar before and after it.
    private static func surrounded(_ special: Unicode.Scalar) -> String {
        var text = String.UnicodeScalarView()
        for scalar in scalars { text += [scalar, special, scalar] }
        return String(text)
    }

    /// What a reader sees of `text` where hidden scalars are shown as escapes.
    private static func shown(_ text: String) -> [UInt8] {
        var result: [UInt8] = []
        for scalar in text.unicodeScalars {
            result += Array((scalar.isHidden ? scalar.escape : String(scalar)).utf8)
        }
        return result
    }

    /// `text` with entities of HTML, and the backslashes of Markdown, as a reader takes them.
    private static func read(_ text: String, backslashes: Bool) throws -> [UInt8] {
        let entities: [String: UInt8] = [
            "amp": 38, "lt": 60, "gt": 62, "quot": 34, "#39": 39, "#9": 9, "#10": 10, "#13": 13,
            "#124": 124,
        ]
        var result: [UInt8] = []
        let bytes = Array(text.utf8)
        var index = 0
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "&") {
                let name = bytes[(index + 1)...].prefix { $0 != UInt8(ascii: ";") }
                result.append(try #require(entities[String(decoding: name, as: UTF8.self)]))
                index = name.endIndex + 1
                continue
            }
            if backslashes, bytes[index] == UInt8(ascii: "\\") { index += 1 }
            result.append(bytes[index])
            index += 1
        }
        return result
    }

    @Test(arguments: ["<", ">", "&", "\"", "'"] as [Unicode.Scalar])
    func markupIsText(_ special: Unicode.Scalar) throws {
        let text = Self.surrounded(special)
        let escaped = Markup.escaped(text)
        let raw = escaped.utf8.filter { "<>\"'".utf8.contains($0) }
        #expect(raw.isEmpty)
        let expected = text.unicodeScalars.flatMap { scalar -> [UInt8] in
            let isBreak = "\t\n\r".unicodeScalars.contains(scalar)
            return Array(
                (scalar.isHidden && !isBreak ? scalar.escape : String(scalar)).utf8)
        }
        #expect(try Self.read(escaped, backslashes: false) == expected)
    }

    @Test(arguments: ["|", "\\", "`", "*", "_", "<", "[", "]", "&", "@"] as [Unicode.Scalar])
    func markdownIsText(_ special: Unicode.Scalar) throws {
        let text = Self.surrounded(special)
        let escaped = Markdown.inline(text)
        let raw = escaped.utf8.filter { "|<>\n".utf8.contains($0) }
        #expect(raw.isEmpty)
        #expect(try Self.read(escaped, backslashes: true) == Self.shown(text))
        // Of those that begin something each has a backslash of its own.
        var isEscaped = false
        var bare = 0
        for byte in escaped.utf8 {
            if !isEscaped, "`*[]~$@".utf8.contains(byte) { bare += 1 }
            isEscaped = !isEscaped && byte == UInt8(ascii: "\\")
        }
        #expect(bare == 0)
    }

    @Test(arguments: [
        ("a\\|b", "a\\\\&#124;b"), ("[x](javascript:alert(1))", "\\[x\\]\\(javascript:alert(1))"),
        ("![i](http://e/x.png)", "!\\[i\\]\\(http\\://e/x.png)"), ("www.e.org", "www\\.e.org"),
        ("<img src=x>", "&lt;img src=x&gt;"), ("blocks.0.to_q", "blocks.0.to_q"),
        ("_a_ a_", "\\_a\\_ a\\_"), ("a\nb", "a\\\\u{a}b"),
    ])
    func markdownNamesAreNames(_ name: String, _ markdown: String) {
        #expect(Markdown.inline(name) == markdown)
    }

    @Test func paragraphsOfMarkdownStayParagraphs() {
        #expect(
            Markdown.paragraph("a\n  - b\n# c\n1. d\n12) e\n=\n    f\n7 g")
                == "a\n\\- b\n\\# c\n1\\. d\n12\\) e\n\\=\nf\n7 g")
        #expect(Markdown.code("a") == "`a`")
        #expect(Markdown.code("`x` ``y``") == "``` `x` ``y`` ```")
    }

    @Test(arguments: [",", "\"", "\n", "\r"] as [Unicode.Scalar])
    func fieldsOfCSVStayFields(_ special: Unicode.Scalar) {
        var wrong: [Unicode.Scalar] = []
        for scalar in Self.scalars {
            let fields = [
                String(String.UnicodeScalarView([scalar, special, scalar])), "a",
                String(String.UnicodeScalarView([special, scalar])),
            ]
            let read = Self.record(CSV.line(fields))
            if read != fields.map({ Array($0.utf8) }) { wrong.append(scalar) }
        }
        #expect(wrong.isEmpty)
    }

    /// The fields of one record as RFC 4180 reads bytes; a second record is a field of its own.
    private static func record(_ line: String) -> [[UInt8]] {
        var fields: [[UInt8]] = [[]]
        var isQuoted = false
        let bytes = Array(line.utf8)
        for (index, byte) in bytes.enumerated() {
            switch byte {
            case UInt8(ascii: "\""):
                // Of a pair within quotes the second stands for both.
                if !isQuoted, index > 0, bytes[index - 1] == byte {
                    fields[fields.count - 1] += [byte]
                }
                isQuoted.toggle()
            case UInt8(ascii: ",") where !isQuoted, 0x0A where !isQuoted, 0x0D where !isQuoted:
                fields.append([])
            default: fields[fields.count - 1].append(byte)
            }
        }
        return fields
    }

    @Test(
        "titles and messages of commands stay what they are",
        arguments: [",", ":", "%", "\n", "\r"])
    func commandsStayCommands(_ special: Unicode.Scalar) throws {
        let text = Self.surrounded(special)
        let start = Array("::error title=".utf8)
        let command = Array(WorkflowCommand(.error, text, text).text.utf8)
        #expect(command.starts(with: start))
        // As the runner reads it: what comes behind the first pair of colons is the message.
        let rest = Array(command.dropFirst(start.count))
        let colon = UInt8(ascii: ":")
        let end = try #require(
            rest.indices.dropLast().first { rest[$0] == colon && rest[$0 + 1] == colon })
        let (title, message) = (rest[..<end], rest[(end + 2)...])
        let raw = title.filter { ",:\n\r".utf8.contains($0) }
        #expect(raw.isEmpty)
        let breaks = message.filter { "\n\r".utf8.contains($0) }
        #expect(breaks.isEmpty)
        let expected = Array(text.printableLines.utf8)
        #expect(try Self.unescaped(title) == expected)
        #expect(try Self.unescaped(message) == expected)
    }

    /// Bytes with a percent sign and two digits for some of them.
    private static func unescaped(_ bytes: ArraySlice<UInt8>) throws -> [UInt8] {
        var result: [UInt8] = []
        var index = bytes.startIndex
        while index < bytes.endIndex {
            var byte = bytes[index]
            if byte == UInt8(ascii: "%") {
                let digits = bytes[(index + 1)...].prefix(2)
                byte = try #require(UInt8(String(decoding: digits, as: UTF8.self), radix: 16))
                index += 2
            }
            result.append(byte)
            index += 1
        }
        return result
    }

    @Test(arguments: [
        "=cmd|calc", "+1", "-1", "@SUM(1)", "\tx", "\rx", "\nx", "\u{FF1D}1", "\u{FF20}A",
    ])
    func formulasAreText(_ name: String) {
        #expect(CSV.field(name) == "'" + name)
        #expect(CSV.field("a" + name) == "a" + name)
        #expect(CSV.field("=\u{301}1") == "'=\u{301}1")
    }

    @Test func hiddenScalarsAreShown() throws {
        for scalar in Self.scalars where scalar.isHidden {
            let text = "a\(scalar)b"
            let json = JSONValue.string(text).text()
            let raw = json.unicodeScalars.filter(\.isHidden)
            #expect(raw.isEmpty)
            #expect(try JSONScanner.parse(json) == .string(text))
            #expect(text.printable == "a\(scalar.escape)b")
        }
        #expect("a\u{1B}[31m\nb\u{202E}\r\n".printableLines == "a\\u{1b}[31m\nb\\u{202e}\\u{d}\n")
        let isHidden = { (value: UInt32) in Unicode.Scalar(value)?.isHidden ?? false }
        for value: UInt32 in [0x1B, 0x7F, 0x9B, 0x200B, 0x2028, 0x202E, 0xFE0F, 0xFEFF, 0xE0041] {
            #expect(isHidden(value))
        }
        for value: UInt32 in [0x20, 0x41, 0xA0, 0xE9, 0x301, 0xD4E, 0x4E00, 0x1F600] {
            #expect(!isHidden(value))
        }
    }

    @Test func tablesAlignNamesWithMarks() {
        var table = TextTable([("name", .left), ("n", .right)])
        table.append(["\u{301}e\u{301}", "1"])
        table.append(["abc", "2"])
        #expect(table.text == "name  n\n\u{301}e\u{301}     1\nabc   2")
    }
}
