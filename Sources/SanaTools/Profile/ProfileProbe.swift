import SanaModel

/// Takes the time of every module.
class ProfileProbe: LayerProbe {
    let readsActivations = false
    /// Whether passes are kept; a warm-up is not.
    var isRecording = true
    private let clock = ContinuousClock()
    private var running: [(wall: ContinuousClock.Instant, cpu: Int)] = []
    /// An entry for every module that ended, so that the probe does next to nothing meanwhile.
    private var spans: [(path: String, length: Duration, cpu: Int)] = []

    func begin(_ path: String) { running.append((clock.now, HostState.ownProcessorTime)) }

    func end(_ path: String, _ outputs: [Activation]) {
        guard let start = running.popLast(), isRecording else { return }
        spans.append((path, clock.now - start.wall, HostState.ownProcessorTime - start.cpu))
    }

    /// Nanoseconds of each recorded pass by module path, by the clock and of processor time.
    var samples: [String: (wall: [Int], cpu: [Int])] {
        var result: [String: (wall: [Int], cpu: [Int])] = [:]
        for span in spans {
            result[span.path, default: ([], [])].wall.append(span.length.inNanoseconds)
            result[span.path, default: ([], [])].cpu.append(span.cpu)
        }
        return result
    }

    /// Part of a forward that its probes take: modules of a pass × measured time of a begin and an
    /// end.
    func overhead(ofForward nanoseconds: Double) -> Double {
        let passes = spans.first.map { first in spans.count { $0.path == first.path } } ?? 1
        let modules = Double(spans.count) / Double(max(passes, 1))
        let (twin, count) = (ProfileProbe(), 20_000)
        let start = clock.now
        for _ in 0..<count {
            twin.begin("transformer_blocks.0.attn1.to_q")
            twin.end("transformer_blocks.0.attn1.to_q", [])
        }
        let each = Double((clock.now - start).inNanoseconds) / Double(count)
        return modules * each / nanoseconds
    }
}
