import Foundation
import GRDB
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

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
        let outcome = try Gate(store: store).outcome()
        return try ReportPage(store: store, outcome: outcome).html()
    }

    @Test func verdictComesFirstAndNothingIsFetched() throws {
        let html = try page("models/a")
        let verdict = try #require(html.range(of: "<strong>"))
        let chart = try #require(html.range(of: "<svg"))
        #expect(verdict.lowerBound < chart.lowerBound)
        let policy = #"http-equiv="Content-Security-Policy" content="default-src 'none'; style-src"#
        #expect(html.contains(policy))
        let about = try #require(html.range(of: "<dt>Models</dt><dd>models/a (BF16)</dd>"))
        #expect(about.lowerBound < verdict.lowerBound)
        for name in ["Machine", "Commit", "Runs", "History"] {
            #expect(html.contains("<dt>\(name)</dt>"), "\(name)")
        }
        for word in ["http:", "https:", "src=\"/", "<script", "@import", "url("] {
            #expect(!html.contains(word), "\(word)")
        }
        #expect(html.contains("lang=\"en\""))
        #expect(html.contains("<main>"))
        #expect(
            html.components(separatedBy: "<svg").count
                == html.components(separatedBy: "role=\"img\" aria-label=\"").count)
        #expect(html.contains("Steps: run 6"))
    }

    @Test func namesOfStrangersAreText() throws {
        let html = try page("<img src=x onerror=alert(1)>\"&")
        #expect(!html.contains("<img src=x"))
        #expect(html.contains("&lt;img src=x"))
    }

    @Test func rooflineMarksWhatNoMachineCouldDo() throws {
        let roof = Chart.Roof(peak: 100, bandwidth: 10)
        let fine = Chart.RooflinePoint(path: "a", intensity: 5, rate: 40)
        let fast = Chart.RooflinePoint(path: "b", intensity: 50, rate: 140)
        let trusted = try #require(Chart.roofline([fine], roof))
        #expect(!trusted.note.contains("not shown"))
        #expect(trusted.svg.contains("class=\"lb\""))
        #expect(!trusted.svg.contains("\"bad\""))
        #expect(trusted.svg.contains("100 GFLOP/s"))
        #expect(trusted.rows == [["a", "5.0", "40.0", "50.0"]])
        let low = try #require(Chart.roofline([fine, fast], roof))
        #expect(low.note.contains("The roofline is not shown: 1 of 2 layers"))
        #expect(!low.svg.contains("class=\"lb"))
        #expect(!low.svg.contains("100 GFLOP/s"))
        #expect(low.svg.contains("class=\"bad\"><title>b: "))
        #expect(low.rows.allSatisfy { $0[3].isEmpty })
        #expect(Chart.roofline([], roof) == nil)
    }

    /// A roof measured beside another process is lower than the one before.
    @Test func roofIsTheBestThatTheMachineShowed() throws {
        let store = try HistoryStore(path: folder("r.sqlite"), creating: true)
        func record(_ attainable: Double, threads: Int) throws {
            try store.record(
                RunRecord(
                    kind: .profile, startedAt: Date(), model: "m", modelDigest: "d", dtype: "BF16",
                    compute: "fp32", numerics: "fp32",
                    sizes: RunSizes(batch: 1, height: 8, width: 8, captionTokens: 3),
                    threads: threads, seconds: 1,
                    layers: [
                        .init(path: "total", samples: [9]),
                        .init(
                            path: "a", samples: [5],
                            work: .init(
                                kind: "Linear", operations: 10, bytes: 2,
                                attainableGFLOPS: attainable)),
                    ]))
        }
        try record(120, threads: 2)
        try record(300, threads: 4)
        try record(80, threads: 2)
        #expect(try store.roof(like: store.allRuns()[2]) == nil)
        try DatabaseQueue(path: folder("r.sqlite")).write {
            try $0.execute(sql: "UPDATE run SET read_bandwidth = 10 + id")
        }
        let roof = try #require(try store.roof(like: store.allRuns()[2]))
        #expect(roof.peak == 120)
        #expect(roof.bandwidth == 13)
    }

    @Test func tradeoffKeepsExactTypesAndLabelsApart() throws {
        let chart = try #require(
            Chart.tradeoff([
                .init(name: "F32", bytes: 400, error: 0, latency: 3e6),
                .init(name: "BF16", bytes: 200, error: 1e-6, latency: 2e6),
                .init(name: "F16", bytes: 201, error: 1.1e-6, latency: nil),
                .init(name: "I8, w8a8", bytes: 100, error: 2e-3, latency: 1e6),
                .init(name: "I8, w8a16", bytes: 100, error: 1e-3, latency: 1e6),
                .init(name: "new", bytes: 150, error: nil, latency: 1e6),
            ]))
        #expect(chart.svg.components(separatedBy: "<circle").count == 6)
        #expect(chart.svg.contains("F32, 3.00 ms"))
        #expect(chart.rows.last?[2] == "not verified")
        #expect(chart.rows.filter { $0[4] == "yes" }.map { $0[0] } == ["F32", "BF16", "I8, w8a16"])
        // No two labels of dots share a row.
        let labels = chart.svg.components(separatedBy: "<text ").dropFirst()
            .map { $0.components(separatedBy: "/text>")[0] }
            .filter { $0.contains(", ") && $0.contains(" ms<") || $0.contains(">F16<") }
        let rows = labels.compactMap { label -> Double? in
            let place = label.components(separatedBy: "y=\"").dropFirst().first
            return place.flatMap { Double($0.prefix { $0 != "\"" }) }
        }.sorted()
        #expect(rows.count == 5)
        #expect(zip(rows, rows.dropFirst()).allSatisfy { $1 - $0 >= 14 })
        #expect(Chart.tradeoff([.init(name: "F32", bytes: 4, error: 0, latency: nil)]) == nil)
    }

    @Test func smallErrorsShowBesideLargeOnes() throws {
        let chart = try #require(
            Chart.errors([("small", 1e-7, 2e-7), ("large", 1e-2, nil), ("exact", 0, 0)]))
        let widths = chart.svg.components(separatedBy: "width=\"").dropFirst()
            .compactMap { Double($0.prefix { $0 != "\"" }) }
        try #require(widths.count == 6)
        #expect(widths[0] > 20)
        #expect(widths[1] > widths[0])
        #expect(widths[2] > 500)
        #expect(widths[3] == 0)
        #expect(widths[4] == 0)
        #expect(widths[5] == 0)
        #expect(chart.svg.contains(">1e-5</text>"))
        #expect(chart.rows[1] == ["large", "1.00e-02", ""])
    }

    @Test func layersShowErrorAndLatencyAndWhatGotWorse() throws {
        let chart = try #require(
            Chart.layers(
                [
                    .init(path: "a", error: 1e-3, latency: 5e6, isWrong: true, isSlow: false),
                    .init(path: "b", error: nil, latency: 6e6, isWrong: false, isSlow: true),
                    .init(path: "c", error: 0, latency: nil, isWrong: false, isSlow: false),
                ], tolerance: 1e-2))
        for picture in [chart.svg, chart.phone] {
            #expect(picture.components(separatedBy: "class=\"limit\"").count == 2)
            #expect(picture.contains(">1e-3</text>"))
        }
        #expect(chart.svg.contains(">2.00 ms</text>"))
        #expect(chart.phone.contains(">5.00 ms</text>"))
        #expect(chart.svg.components(separatedBy: "<rect").count == 4)
        #expect(chart.svg.contains("class=\"bad\"><title>a: 1.00e-03"))
        #expect(chart.svg.contains("class=\"b\"><title>a: 5.00 ms"))
        #expect(chart.svg.contains("class=\"bad\"><title>b: 6.00 ms"))
        #expect(chart.rows.map { $0[3] } == ["error", "latency", ""])
        #expect(Chart.layers([]) == nil)
    }

    @Test func historyNamesItsSteps() throws {
        let flat = try #require(
            Chart.history(
                "m", id: "h",
                (1...8).map { run -> (String, Double) in ("run \(run)", 1e6 + Double(run % 2)) }))
        #expect(flat.note == "No step among 8 runs.")
        #expect(!flat.svg.contains("class=\"step\""))
        let step = try #require(
            Chart.history(
                "m", id: "h",
                (1...8).map { run -> (String, Double) in ("run \(run)", run < 5 ? 1e6 : 1.2e6) }))
        #expect(step.note == "Steps: run 5: +20.0 %")
        #expect(step.svg.contains("class=\"step\""))
        #expect(Chart.history("m", id: "h", [("run 1", 1)]) == nil)
        let runs = [("run 1", 1e-4), ("run 2", 2e-4)]
        let near = try #require(Chart.history("m", id: "h", runs, tolerance: 3e-4))
        #expect(near.svg.contains("class=\"limit\""))
        let far = try #require(
            Chart.history("m", id: "h", runs, tolerance: 1, format: Format.scientific))
        #expect(!far.svg.contains("class=\"limit\""))
        #expect(far.note.hasSuffix("Tolerance 1.00e+00, above the chart."))
        let share = try #require(
            Chart.history(
                "m", id: "h", [("run 1", 0.25), ("run 2", 0.5)], measure: "Part",
                format: Format.percent))
        #expect(share.head == ["Run", "Part"])
        #expect(share.rows[1] == ["run 2", "50.0 %"])
    }

    @Test("ticks are round and within the axis")
    func ticks() {
        #expect(Axis.linear(to: 1.1e6) == [0, 5e5, 1e6])
        #expect(Axis.linear(to: 8) == [0, 2, 4, 6, 8])
        #expect(Axis.linear(to: 0) == [0])
        #expect(Axis.linear(to: .infinity) == [0])
        #expect(Axis.powers(3e-8, 2e-3) == [-7, -6, -5, -4, -3])
        #expect(Axis.powers(3e-8, 2e-3, count: 3) == [-7, -5, -3])
        #expect(Axis.powers(2, 3) == [])
        #expect(Axis.powers(0, 3) == [])
    }

    @Test func eachDisturbanceIsOnItsOwn() throws {
        _ = try page("m")
        try DatabaseQueue(path: folder("h.sqlite")).write {
            try $0.execute(
                sql: "UPDATE run SET warnings = 'others took 9 %' || char(10) || 'it <swapped>'")
        }
        let store = try HistoryStore(path: folder("h.sqlite"), creating: false)
        let html = try ReportPage(store: store, outcome: Gate(store: store).outcome()).html()
        #expect(html.contains("others took 9 %; it &lt;swapped&gt;"))
        #expect(!html.contains("\\u{a}"))
    }

    @Test func picturesSayWhatTheyShow() throws {
        _ = try page("m")
        let store = try HistoryStore(path: folder("h.sqlite"), creating: false)
        var page = ReportPage(store: store, outcome: try Gate(store: store).outcome())
        #expect(try !page.html().contains("<img"))
        var strip = PictureStrip()
        let picture = Picture(width: 2, height: 1, pixels: [UInt8](repeating: 9, count: 6))
        try strip.add("source.png", picture)
        try strip.add("int8 <i>", picture)
        page.pictures = [try strip.image.file(), try PNGImage(picture).file()]
        let html = try page.html()
        #expect(html.components(separatedBy: "<img").count == 3)
        #expect(html.contains("from the left: source.png; int8 &lt;i&gt;\""))
        #expect(html.contains("<li>source.png</li><li>int8 &lt;i&gt;</li>"))
        #expect(!html.contains("<i>"))
    }

    /// A history with a run for each of `records`.
    private func page(of records: [RunRecord]) throws -> String {
        let store = try HistoryStore(path: folder("\(records.count).sqlite"), creating: true)
        for record in records { try store.record(record) }
        return try ReportPage(store: store, outcome: Gate(store: store).outcome()).html()
    }

    private func record(
        _ kind: RunRecord.Kind, _ model: String, digest: String, error: Float = 0, layers: Int = 1,
        verdict: Verdict = .pass
    ) -> RunRecord {
        let accuracy = RunRecord.Accuracy(
            comparison: Comparison(
                ErrorSums(
                    DenseTensor(shape: [1], values: FloatBuffer([1 + error])),
                    with: FloatBuffer([1])), shape: [1]), tolerance: 1, passes: verdict == .pass)
        let paths =
            (0..<layers).map { "transformer_blocks.\($0)" }
            + [kind == .profile ? Profile.totalPath : Golden.outputPrefix + "sample"]
        var record = RunRecord(
            kind: kind, startedAt: Date(timeIntervalSince1970: 60), model: model,
            modelDigest: digest, dtype: "BF16", compute: "fp32", numerics: "fp32",
            sizes: RunSizes(batch: 1, height: 8, width: 8, captionTokens: 3), threads: 2,
            seconds: 1,
            layers: paths.map {
                kind == .profile
                    ? .init(path: $0, samples: [5_000_000, 6_000_000])
                    : .init(path: $0, accuracy: accuracy)
            })
        (record.architecture, record.storedBytes) = (model, 100)
        if kind != .profile { (record.verdict, record.reference) = (verdict, "golden") }
        return record
    }

    @Test("errors of one model never stand beside latencies of another")
    func modelsAreKeptApart() throws {
        let html = try page(of: [
            record(.verify, "models/wrong", digest: "w", error: 0.5, verdict: .fail),
            record(.profile, "models/other", digest: "o"),
            // Of the same source, converted by other rules.
            record(.profile, "models/again", digest: "w"),
        ])
        #expect(html.contains("of wrong, BF16"))
        #expect(html.contains("of again, BF16"))
        let charts = html.components(separatedBy: "<svg").dropFirst().filter {
            $0.contains("transformer_blocks.0") && !$0.contains("operations per byte")
        }
        // Each is drawn for a screen and for a phone.
        #expect(charts.count == 4)
        // 0.5 is the wrong model's error, 5.5 ms the other's latency.
        let mixed = charts.filter { $0.contains("5.00e-01") && $0.contains("5.50 ms") }
        #expect(mixed.isEmpty)
        #expect(charts.contains { $0.contains("5.00e-01") })
        #expect(charts.contains { $0.contains("5.50 ms") })
    }

    @Test("types of several models are dots of their own")
    func tradeoffKeepsModelsApart() throws {
        let html = try page(of: [
            record(.verify, "models/a", digest: "a", error: 0.25),
            record(.verify, "models/b", digest: "b", error: 0.5),
            record(.profile, "models/b", digest: "b"),
        ])
        let chart = html.components(separatedBy: "Size, error and latency").dropFirst().joined()
        #expect(chart.contains("BF16 of a"))
        #expect(!chart.contains("BF16 of a, "))
        #expect(chart.contains("BF16 of b, 5.50 ms"))
    }

    @Test("what has no room in the report is counted", .tags(.slow))
    func restIsCounted() throws {
        let failed = (0..<22).map {
            record(
                .verify, "models/\($0 / 2)", digest: "d", error: 0.5, layers: 200, verdict: .fail)
        }
        let html = try page(of: failed)
        #expect(html.contains("11 of 11 verifications failed"))
        // Headings, layers of a chart, histories.
        #expect(html.contains("… and 3 more"))
        #expect(html.contains("The first 160 layers, and 40 more."))
        #expect(html.contains("3 more series are not drawn."))
        #expect(html.contains("And 10 more models, whose layers"))
        // Layers that got worse.
        let risen = try page(
            of: [0.001, 0.001, 0.5].map {
                record(.verify, "models/m", digest: "d", error: $0, layers: 30)
            })
        #expect(risen.contains("1 of 1 got less accurate"))
        #expect(risen.contains("… and 13 more"))
    }

    /// A layer's own history shows its step where the forward's time wanders.
    @Test func slowLayerIsNamedFirstAndHasAHistory() throws {
        let store = try HistoryStore(path: folder("l.sqlite"), creating: true)
        for index in 0..<12 {
            let layer = (index < 6 ? 1000 : 1500) * (index % 2 + 1)
            let forward = layer + 5000 * (index % 2 + 1)
            let samples = { (value: Int) in (0..<9).map { value + $0 } }
            var record = RunRecord(
                kind: .profile, startedAt: Date(timeIntervalSince1970: Double(index) * 60),
                model: "m", modelDigest: "d", dtype: "BF16", compute: "fp32", numerics: "fp32",
                sizes: RunSizes(batch: 1, height: 8, width: 8, captionTokens: 3), threads: 2,
                seconds: 1,
                layers: [
                    .init(path: "total", samples: samples(forward), cpu: samples(forward)),
                    .init(
                        path: "transformer_blocks.0", samples: samples(layer),
                        cpu: samples(layer)),
                ])
            record.clock = Profile.clock
            try store.record(record)
        }
        try DatabaseQueue(path: folder("l.sqlite")).write {
            try $0.execute(
                sql: """
                    WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number LIMIT 9)
                    INSERT INTO repetition SELECT id, n, 1e5, 1e5, 0.01, NULL, NULL, NULL FROM run, number
                    """)
        }
        var gate = Gate(store: store, baseline: .last(6))
        gate.candidates = 6
        let html = try ReportPage(store: store, outcome: gate.outcome()).html()
        #expect(html.contains("Worst: transformer_blocks.0 takes 4"))
        #expect(html.contains("History of transformer_blocks.0: m, BF16, latent 8×8"))
        #expect(html.contains("Steps: run 7, 1970-01-01: +"))
    }
}
