import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

struct ExecutionTraceTests {
    /// The rules of the trace-event format for the kinds of events that are written.
    @Test func traceKeepsTheRulesOfTheFormat() throws {
        let workers = WorkerPool(threadCount: 2)
        let model = try OpenedModel.open(Fixtures.digits).load(workers: workers)
        let sizes = model.network.sizes(
            SizeRequest(batch: 1, height: 64, width: 64, tokens: 12))
        let inputs = try SyntheticInputs.make(sizes, for: model.network)
        let trace = try ExecutionTrace.record(model, inputs, .init(), workers: workers)
        let json = try JSONScanner.parse(trace.json.text())
        let events = try #require(json["traceEvents"]?.array)
        #expect(events.allSatisfy { $0["name"]?.string != nil && $0["pid"]?.int != nil })
        func phase(_ phase: String) -> [JSONValue] {
            events.filter { $0["ph"]?.string == phase }
        }
        #expect(phase("X").count + phase("C").count + phase("M").count == events.count)

        var spans: [(start: Double, end: Double)] = []
        for event in phase("X") {
            let start = try #require(event["ts"]?.double)
            let length = try #require(event["dur"]?.double)
            #expect(start >= 0)
            #expect(length >= 0)
            #expect(event["tid"]?.int != nil)
            spans.append((start, start + length))
        }
        // Events of one thread nest: two either lie apart, or one holds the other.
        let slack = 0.002
        for (index, a) in spans.enumerated() {
            for b in spans[(index + 1)...] {
                let apart = a.end <= b.start + slack || b.end <= a.start + slack
                let nested =
                    (a.start <= b.start + slack && b.end <= a.end + slack)
                    || (b.start <= a.start + slack && a.end <= b.end + slack)
                #expect(apart || nested)
            }
        }
        let paths = Set(phase("X").compactMap { $0["name"]?.string })
        let graph = try model.network.graph(sizes)
        #expect(paths.isSuperset(of: graph.measured.map(\.path)))

        for event in phase("C") {
            let values = try #require(event["args"]?.members)
            #expect(!values.isEmpty)
            #expect(event["ts"]?.double != nil)
            #expect(values.allSatisfy { ($0.value.double ?? -1) >= 0 })
        }
        #expect(
            Set(phase("C").compactMap { $0["name"]?.string })
                == ["resident memory", "running threads"])
        for event in phase("M") {
            #expect(["process_name", "thread_name"].contains(event["name"]?.string))
            #expect(event["args"]?["name"]?.string != nil)
        }
        let threads = Set(phase("M").compactMap { $0["tid"]?.int })
        #expect(threads.count >= 2)
        #expect(phase("X").allSatisfy { threads.contains($0["tid"]?.int ?? 0) })
    }
}
