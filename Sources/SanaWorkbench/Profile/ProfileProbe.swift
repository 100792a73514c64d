import Foundation
import SanaModel

/// Takes the time of every module, and runs the canary between blocks.
///
/// The wall clock is a read of memory; CPU time is a call of the system for every thread. So it is
/// read for outer modules, blocks and their parts alone, since the gate judges none of the many
/// below, and once where one module begins as another ends.
package final class ProfileProbe: LayerProbe {
    package let readsActivations = false
    /// Whether passes are kept; a warm-up is not.
    package var isRecording = true
    private let workers: WorkerPool
    private var canary: HostCanary?
    /// What the canary has taken since `startForward`.
    package private(set) var canaryTime = CanaryTime()
    private var running: [(wall: Int, cpu: Int?)] = []
    /// An entry for every module that ended, so that the probe does next to nothing meanwhile.
    private var spans: [(path: String, nanoseconds: Int, cpu: Int?)] = []
    /// Where in `spans` each recorded forward begins.
    private var starts: [Int] = []
    /// Modules within modules whose CPU time is read.
    private static let depthWithCPU = 2
    /// The last reading of CPU time, and when that was.
    private var latest = (wall: 0, cpu: 0)
    /// Nanoseconds after which it is read again.
    private static let freshness = 2000
    /// Readings while passes were kept.
    private var readings = 0
    /// Of modules that run in pieces: when the one at work began, and what those before it took.
    private var pieces: [String: (start: (wall: Int, cpu: Int), wall: Int, cpu: Int)] = [:]
    /// Pieces while passes were kept.
    private var pieceCount = 0

    /// Nanoseconds that slices of the canary took.
    package struct CanaryTime: Sendable, Equatable {
        package var slices = 0
        package var wall = 0
        /// CPU time of all threads.
        package var cpu = 0
    }

    /// - Parameter canary: runs after each block; its time is nobody's.
    package init(_ workers: WorkerPool, canary: HostCanary? = nil) {
        (self.workers, self.canary) = (workers, canary)
    }

    /// Another canary runs from now on.
    package func replaceCanary(_ canary: HostCanary) { self.canary = canary }

    /// Another forward begins.
    package func startForward() {
        canaryTime = CanaryTime()
        if isRecording { starts.append(spans.count) }
    }

    /// Forgets the passes of recorded forwards.
    ///
    /// - Parameter isKept: one for each of them.
    package func keepForwards(_ isKept: [Bool]) {
        let old = (spans: spans, starts: starts)
        let ends = old.starts.dropFirst() + [old.spans.count]
        (spans, starts) = ([], [])
        for (index, range) in zip(old.starts, ends).enumerated() where isKept[index] {
            starts.append(spans.count)
            spans += old.spans[range.0..<range.1]
        }
    }

    package func begin(_ path: String) {
        let wall = Self.now
        running.append((wall, running.count < Self.depthWithCPU ? cpuTime(at: wall) : nil))
    }

    package func end(_ path: String, _ outputs: [Activation]) {
        let wall = Self.now
        guard let start = running.popLast() else { return }
        // The time of threads that look for work is taken off when they stop, maybe after they were
        // read.
        let cpu = start.cpu.map { max(0, cpuTime(at: wall) - $0) }
        if isRecording { spans.append((path, wall - start.wall, cpu)) }
        if running.isEmpty, ModuleLevel(path: path) == .block { runCanary() }
    }

    package func resume(_ path: String) {
        let wall = Self.now
        pieces[path, default: ((0, 0), 0, 0)].start = (wall, cpuTime(at: wall))
    }

    package func pause(_ path: String) {
        let wall = Self.now
        let cpu = cpuTime(at: wall)
        guard var piece = pieces[path] else { return }
        piece.wall += wall - piece.start.wall
        piece.cpu += max(0, cpu - piece.start.cpu)
        pieces[path] = piece
        if isRecording { pieceCount += 1 }
    }

    package func finish(_ path: String) {
        guard let piece = pieces.removeValue(forKey: path) else { return }
        if isRecording { spans.append((path, piece.wall, piece.cpu)) }
        if running.isEmpty, ModuleLevel(path: path) == .block { runCanary() }
    }

    /// Runs a slice of the canary, where there is one.
    package func runCanary() {
        guard let canary else { return }
        let start = (wall: Self.now, cpu: workers.cpuNanoseconds)
        canary.run()
        latest = (Self.now, workers.cpuNanoseconds)
        canaryTime.slices += 1
        canaryTime.wall += latest.wall - start.wall
        canaryTime.cpu += latest.cpu - start.cpu
    }

    private func cpuTime(at wall: Int) -> Int {
        if wall - latest.wall > Self.freshness {
            latest = (wall, workers.cpuNanoseconds)
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

    /// Nanoseconds of each recorded pass by module path: wall time, and CPU time, the latter empty
    /// for modules deep inside.
    package var samples: [String: (wall: [Int], cpu: [Int])] {
        var result: [String: (wall: [Int], cpu: [Int])] = [:]
        for span in spans {
            result[span.path, default: ([], [])].wall.append(span.nanoseconds)
            if let cpu = span.cpu { result[span.path, default: ([], [])].cpu.append(cpu) }
        }
        return result
    }

    /// Part of a forward that its probes take: modules of a pass × measured time of a begin and an
    /// end, and readings of CPU time × that of one.
    package func overhead(ofForward nanoseconds: Double) -> Double {
        let passes = spans.first.map { first in spans.count { $0.path == first.path } } ?? 1
        let twin = ProfileProbe(workers)
        for _ in 0..<Self.depthWithCPU { twin.begin("blocks.0") }
        let module = Self.cost {
            twin.begin("blocks.0.attention.to_q")
            twin.end("blocks.0.attention.to_q", [])
        }
        let reading = Self.cost { twin.latest.cpu = workers.cpuNanoseconds }
        let total =
            Double(spans.count + pieceCount) * module + Double(readings) * reading
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
