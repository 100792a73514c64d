import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools

struct ReportPageTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func page(_ name: String, runs: Int = 9) throws -> String {
        let store = try HistoryStore(path: folder("h.sqlite"), creating: true)
        for index in 0..<runs {
            let ns = index < 5 ? 1000 : 1300
            try store.record(
                RunRecord(
                    kind: .profile, startedAt: Date(timeIntervalSince1970: Double(index) * 60),
                    model: name, modelDigest: "d", dtype: "BF16", compute: "fp32", numerics: "fp32",
                    sizes: RunSizes(batch: 1, height: 8, width: 8, captionTokens: 3), threads: 2,
                    seconds: 1,
                    layers: [
                        .init(path: "total", samples: [ns + index, ns + 2, ns + 1]),
                        .init(path: name, samples: [9, 8, 7]),
                    ]))
        }
        let judgements = try Gate(store: store).judge()
        return try ReportPage(store: store, judgements: judgements).html()
    }

    @Test func verdictComesFirstAndNothingIsFetched() throws {
        let html = try page("models/a")
        let verdict = try #require(html.range(of: "<strong>"))
        let chart = try #require(html.range(of: "<svg"))
        #expect(verdict.lowerBound < chart.lowerBound)
        for word in ["http:", "https:", "src=\"/", "<script", "@import", "url("] {
            #expect(!html.contains(word), "\(word)")
        }
        #expect(html.contains("lang=\"en\"") && html.contains("<main>"))
        #expect(
            html.components(separatedBy: "<svg").count
                == html.components(separatedBy: "role=\"img\" aria-label=\"").count)
        #expect(html.contains("Steps: run 6"))
    }

    @Test func namesOfStrangersAreText() throws {
        let html = try page("<img src=x onerror=alert(1)>\"&")
        #expect(!html.contains("<img src=x") && html.contains("&lt;img src=x"))
    }
}
