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
        if wall - latest.wall > Self.freshness { latest = (wall, HostState.ownProcessorTime) }
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

    /// Part of a forward that its probes take, at most: modules of a pass × measured time of a begin
    /// and an end.
    func overhead(ofForward nanoseconds: Double) -> Double {
        let passes = spans.first.map { first in spans.count { $0.path == first.path } } ?? 1
        let withCPU = Double(spans.count { $0.cpu != nil }) * Self.cost(atDepth: 0)
        let without = Double(spans.count { $0.cpu == nil }) * Self.cost(atDepth: Self.depthWithCPU)
        return (withCPU + without) / Double(max(passes, 1)) / nanoseconds
    }

    /// Nanoseconds that a begin and an end take, where each reads what it reads anew.
    private static func cost(atDepth depth: Int) -> Double {
        let (twin, count) = (ProfileProbe(), 20_000)
        for _ in 0..<depth { twin.begin("transformer_blocks.0") }
        let start = now
        for _ in 0..<count {
            twin.latest.wall = 0
            twin.begin("transformer_blocks.0.attn1.to_q")
            twin.latest.wall = 0
            twin.end("transformer_blocks.0.attn1.to_q", [])
        }
        return Double(now - start) / Double(count)
    }
}
