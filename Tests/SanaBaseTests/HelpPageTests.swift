import Foundation
import SanaBase
import SanaTestSupport
import Testing

/// Pages that hints end in.
@Suite struct HelpPageTests {
    /// Anchors of a page: those written into it, and those that GitHub gives its headings.
    private func anchors(_ text: String) -> Set<String> {
        let written = text.matches(of: #/<a id="([^"]+)"/#).map { String($0.1) }
        let headings = text.split(separator: "\n").filter { $0.hasPrefix("#") }.map { line in
            line.drop { $0 == "#" }.drop { $0 == " " }.lowercased()
                .filter { $0.isLetter || $0.isNumber || "- _".contains($0) }
                .replacing(" ", with: "-")
        }
        return Set(written + headings)
    }

    @Test("every page that a hint names is in the documentation", arguments: HelpPage.allCases)
    func pagesExist(_ page: HelpPage) throws {
        let parts = page.rawValue.split(separator: "#").map(String.init)
        let root = URL(fileURLWithPath: Fixtures.path).deletingLastPathComponent()
        let text = try String(
            contentsOf: root.appendingPathComponent(parts[0]), encoding: .utf8)
        if parts.count > 1 { #expect(anchors(text).contains(parts[1])) }
    }

    @Test("a hint ends in its page, with a remedy and without")
    func hints() {
        let both = BadDataError(file: "f", reason: "r", remedy: "do it", page: .pickle)
        #expect(both.hint == "do it (see docs/troubleshooting.md#pickle)")
        #expect(both.fullMessage == "f: r\n  hint: do it (see docs/troubleshooting.md#pickle)")
        let page = BadDataError(file: "f", reason: "r", page: .pickle)
        #expect(page.hint == "see docs/troubleshooting.md#pickle")
        #expect(BadDataError(file: "f", reason: "r").hint == nil)
    }
}
