import Foundation
import SanaModel

/// One forward as a timeline in the trace-event format that Perfetto and chrome://tracing open.
///
/// Modules are complete events (`X`) on the thread that runs the forward; after each module,
/// counters (`C`) tell the resident memory and what part of the time each thread was running.
package struct ExecutionTrace: Sendable {
    package private(set) var events: [JSONValue] = []

    package var json: JSONValue {
        .fields(["traceEvents": .array(events), "displayTimeUnit": .string("ms")])
    }

    /// Runs one forward that is not timed otherwise.
    ///
    /// - Throws: `InputError` when the inputs do not fit the model.
    package static func record(
        _ model: LoadedModel, _ inputs: NamedTensors, _ options: Profile.Options,
        workers: WorkerPool
    ) throws -> ExecutionTrace {
        let probe = TraceProbe()
        let context = ForwardContext(
            workers: workers, numerics: options.numerics, compute: options.compute, probe: probe)
        _ = try model.network.forward(inputs, context)
        return probe.trace(of: model.label)
    }

    fileprivate mutating func add(
        _ phase: String, _ name: String, _ more: KeyValuePairs<String, JSONValue>
    ) {
        events.append(
            .object(
                [
                    .init("ph", .string(phase)), .init("name", .string(name)),
                    .init("pid", .int(Int(getpid()))),
                ] + more.map { .init($0.key, $0.value) }))
    }
}

/// Notes when modules ran, and what the process held and did at the end of each.
private final class TraceProbe: LayerProbe {
    private struct Span {
        package let path: String
        package let start: Duration
        package let end: Duration
        package let memory: Int
        /// Processor time by thread number.
        package let threads: [Int: Int]
    }

    private let clock = ContinuousClock()
    private let origin = ContinuousClock.now
    private let threadsAtStart = ProcessThreads.times()
    private var running: [Duration] = []
    private var spans: [Span] = []

    package func begin(_ path: String) { running.append(clock.now - origin) }

    package func end(_ path: String, _ outputs: [Activation]) {
        guard let start = running.popLast() else { return }
        let end = clock.now - origin
        spans.append(
            Span(
                path: path, start: start, end: end, memory: Machine.residentBytes,
                threads: ProcessThreads.times()))
    }

    package func resume(_ path: String) { begin(path) }

    package func pause(_ path: String) { end(path, []) }

    package func trace(of model: String) -> ExecutionTrace {
        var trace = ExecutionTrace()
        let main = Int(getpid())
        let threads = Set(spans.flatMap(\.threads.keys)).sorted()
        trace.add(
            "M", "process_name",
            [
                "args": .fields(["name": .string("sana-tools \(model.printable)")])
            ])
        var names: [Int: String] = [:]
        for (index, thread) in threads.filter({ $0 != main }).enumerated() {
            names[thread] = "worker \(index + 1)"
        }
        names[main] = "forward"
        for thread in threads {
            trace.add(
                "M", "thread_name",
                [
                    "tid": .int(thread), "args": .fields(["name": .string(names[thread] ?? "")]),
                ])
        }
        for span in spans {
            trace.add(
                "X", span.path,
                [
                    "tid": .int(main), "ts": .microseconds(span.start),
                    "dur": .microseconds(span.end - span.start), "cat": .string("module"),
                ])
        }
        addCounters(&trace, threads, names)
        return trace
    }

    /// A point of each counter at the end of each module, in order of time.
    private func addCounters(
        _ trace: inout ExecutionTrace, _ threads: [Int], _ names: [Int: String]
    ) {
        var (last, before) = (Duration.zero, threadsAtStart)
        for span in spans {
            trace.add(
                "C", "resident memory",
                [
                    "ts": .microseconds(span.end),
                    "args": .fields(["MB": .double(Double(span.memory) / 1e6)]),
                ])
            let length = Double((span.end - last).inNanoseconds)
            // The kernel counts in its own steps: too short a while says nothing.
            guard length > 1e6 else { continue }
            let busy = threads.map { thread in
                JSONValue.Member(
                    names[thread] ?? "",
                    .double(
                        // A thread that has ended counts from nothing again.
                        min(
                            1,
                            Double(
                                max(
                                    0,
                                    span.threads[thread, default: 0] - before[thread, default: 0])
                            ) / length)))
            }
            trace.add(
                "C", "running threads",
                [
                    "ts": .microseconds(span.end), "args": .object(busy),
                ])
            (last, before) = (span.end, span.threads)
        }
    }
}

/// The threads of this process.
private enum ProcessThreads {
    /// Nanoseconds that each has run, by its number; empty where the system does not tell.
    package static func times() -> [Int: Int] {
        let folder = "/proc/self/task"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        var result: [Int: Int] = [:]
        for name in names {
            guard let number = Int(name),
                let text = try? String(
                    contentsOfFile: "\(folder)/\(name)/schedstat", encoding: .utf8),
                let time = text.split(separator: " ").first.flatMap({ Int($0) })
            else { continue }
            result[number] = time
        }
        return result
    }
}

extension JSONValue {
    fileprivate static func microseconds(_ duration: Duration) -> JSONValue {
        .double(Double(duration.inNanoseconds) / 1e3)
    }
}
