import Foundation
import SanaModel

/// Takes the time of every module.
///
/// The wall clock is a read of memory; processor time is a call of the system, which in a virtual
/// machine takes a microsecond. So it is read for outermost modules, blocks and their parts alone,
/// since the gate judges none of the many below, and once where one module begins as another ends.
final class ProfileProbe: LayerProbe {
    let readsActivations = false
    /// Whether passes are kept; a warm-up is not.
    var isRecording = true
    private var running: [(wall: Int, cpu: Int?)] = []
    /// An entry for every module that ended, so that the probe does next to nothing meanwhile.
    private var spans: [(path: String, nanoseconds: Int, cpu: Int?)] = []
    /// Modules within modules whose processor time is read.
    private static let depthWithCPU = 2
    /// The last reading of processor time, and when that was.
    private var latest = (wall: 0, cpu: 0)
    /// Nanoseconds after which it is read again.
    private static let freshness = 2000
    /// Readings while passes were kept.
    private var readings = 0

    func begin(_ path: String) {
        let wall = Self.now
        running.append((wall, running.count < Self.depthWithCPU ? processorTime(at: wall) : nil))
    }

    func end(_ path: String, _ outputs: [Activation]) {
        let wall = Self.now
        guard let start = running.popLast() else { return }
        let cpu = start.cpu.map { processorTime(at: wall) - $0 }
        if isRecording { spans.append((path, wall - start.wall, cpu)) }
    }

    private func processorTime(at wall: Int) -> Int {
        if wall - latest.wall > Self.freshness {
            latest = (wall, HostState.ownProcessorTime)
            if isRecording { readings += 1 }
        }
        return latest.cpu
    }

    /// Nanoseconds of a clock that nobody sets.
    private static var now: Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int(time.tv_sec) * 1_000_000_000 + Int(time.tv_nsec)
    }

    /// Nanoseconds of each recorded pass by module path, by the clock and of processor time, the
    /// latter empty for modules deep inside.
    var samples: [String: (wall: [Int], cpu: [Int])] {
        var result: [String: (wall: [Int], cpu: [Int])] = [:]
        for span in spans {
            result[span.path, default: ([], [])].wall.append(span.nanoseconds)
            if let cpu = span.cpu { result[span.path, default: ([], [])].cpu.append(cpu) }
        }
        return result
    }

    /// Part of a forward that its probes take: modules of a pass × measured time of a begin and an
    /// end, and readings of processor time × that of one.
    func overhead(ofForward nanoseconds: Double) -> Double {
        let passes = spans.first.map { first in spans.count { $0.path == first.path } } ?? 1
        let twin = ProfileProbe()
        for _ in 0..<Self.depthWithCPU { twin.begin("transformer_blocks.0") }
        let module = Self.cost {
            twin.begin("transformer_blocks.0.attn1.to_q")
            twin.end("transformer_blocks.0.attn1.to_q", [])
        }
        let reading = Self.cost { twin.latest.cpu = HostState.ownProcessorTime }
        let total = Double(spans.count) * module + Double(readings) * reading
        return total / Double(max(passes, 1)) / nanoseconds
    }

    /// Nanoseconds that `body` takes: the median of batches, since other processes cut some in two.
    private static func cost(_ body: () -> Void) -> Double {
        let count = 500
        return (0..<40).map { _ in
            let start = now
            for _ in 0..<count { body() }
            return Double(now - start) / Double(count)
        }.median
    }
}
