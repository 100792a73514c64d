import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// Tables on terminals of any width.
@Suite struct TextTableTests {
    private func table() -> TextTable {
        var table = TextTable(
            [
                ("layer", .left), ("median", .right), ("MAD", .right), ("share", .right),
                ("remarks", .left),
            ], optional: ["MAD", "share"])
        table.append([
            "transformer_blocks.0.attn1", "123456.789", "0.001", "99.5 %",
            "FAIL would pass at 1.23e-02 relative_power",
        ])
        table.append(["proj_out", "1.5", "0.002", "0.5 %", ""])
        return table
    }

    @Test("without a width every column is shown in full")
    func full() {
        let text = table().text(width: nil)
        #expect(text.split(separator: "\n").count == 3)
        #expect(text.contains("would pass at 1.23e-02 relative_power"))
        #expect(text.contains("0.001"))
        #expect(table().text(width: 200) == text)
    }

    @Test("lines fit the width and numbers stay whole", arguments: [110, 90, 80, 70, 60, 50, 40])
    func widths(_ width: Int) {
        let text = table().text(width: width)
        for line in text.split(separator: "\n") {
            #expect(line.unicodeScalars.count <= width, "\(line)")
        }
        #expect(text.contains("123456.789"))
        #expect(text.contains("1.23e-02") || text.contains("without") && text.contains("remarks"))
    }

    @Test("columns go in the order of their rank, and are named")
    func ranks() {
        let narrower = table().text(width: 75)
        #expect(!narrower.contains("0.001"))
        #expect(narrower.contains("99.5 %"))
        #expect(narrower.contains("(without MAD: the terminal is too narrow)"))
        let narrow = table().text(width: 66)
        #expect(!narrow.contains("99.5 %"))
        #expect(narrow.contains("transformer_blocks.0.attn1"))
    }

    @Test("a long name keeps its beginning and its end")
    func names() {
        let text = table().text(width: 40)
        #expect(text.contains(/trans\S*…\S*attn1/))
        #expect(!table().markdown.contains("…"))
    }

    @Test("names in another column are shortened before it goes", arguments: [70, 60])
    func otherNames(_ width: Int) {
        var table = TextTable(
            [("run", .right), ("started", .left), ("model", .left), ("outcome", .left)],
            names: "model")
        table.append([
            "1", "2026-11-27T14:33:05Z", "archives/sana-digits-int8.safetensors.zst",
            "pass, 5.83e-05",
        ])
        let text = table.text(width: width)
        for line in text.split(separator: "\n") {
            #expect(line.unicodeScalars.count <= width, "\(line)")
        }
        #expect(text.contains(/arch\S*…\S*\.zst/), "\(text)")
        #expect(text.contains("2026-11-27T14:33:05Z"))
    }

    @Test("a path longer than its column is broken after a slash", arguments: [60, 40])
    func paths(_ width: Int) {
        var table = TextTable([("check", .left), ("status", .left), ("detail", .left)])
        let path = "fixtures/goldens/sana-digits-b1-t500-full.safetensors"
        table.append(["golden", "ok", path + ", good"])
        table.append(["cache", "ok", "no " + String(repeating: "x", count: 90)])
        let lines = table.text(width: width).split(separator: "\n")
        for line in lines { #expect(line.unicodeScalars.count <= width, "\(line)") }
        #expect(lines.contains { $0.hasSuffix(" fixtures/goldens/") }, "\(lines)")
        #expect(lines.reduce(0) { $0 + $1.count { $0 == "x" } } == 91)
    }
}
