import CSanaCanary

/// Frozen work with a transformer's mix of operations, which a model's CPU time is divided by: what
/// the host does to the one it does to the other.
///
/// It runs in slices between the blocks of a forward, on the pool's threads, and shares no code
/// with the model, so a build whose products got slower is slower against it.
public final class HostCanary {
    /// SHA-256 of Sources/CSanaCanary/canary_2.c. Runs with another canary are another series.
    public static let identity =
        "0fcf0a5c16a57544c2750f8edcf3c6179972cfaa91fbfb1d3eb260857e7ec355"

    private let workers: WorkerPool
    private let memory: [FloatBuffer]
    /// Rounds of each slice.
    public let rounds: Int
    /// Rounds that have run, per thread.
    private var place = 0
    private let checks: FloatBuffer

    /// - Parameters:
    ///   - operations: those of the forward that it accompanies.
    ///   - slices: how often it runs in each forward.
    public init(workers: WorkerPool, operations: Int, slices: Int) {
        self.workers = workers
        let threads = workers.threadCount
        memory = (0..<threads).map { _ in
            let buffer = FloatBuffer(count: Int(SC_FLOATS))
            sc_fill(buffer.pointer)
            return buffer
        }
        checks = FloatBuffer(count: threads)
        // By the sizes alone, so that all runs of a series do the same.
        let all = min(Self.share * Double(operations), Self.most)
        let each = Double(threads) * Self.roundOperations
        rounds = max(1, Int(all / Double(max(1, slices)) / each))
    }

    /// Part of the forward's operations that all slices of it have together. What a neighbour takes
    /// comes and goes within milliseconds, so that short slices meet too little of it.
    private static let share = 0.2
    /// Operations that are enough for any forward, however long.
    private static let most = 1e10
    private static let roundOperations = Double(SC_ROUND_OPERATIONS)

    /// Billions of operations of one slice.
    public var gflop: Double {
        Double(workers.threadCount * rounds) * Self.roundOperations / 1e9
    }

    /// Runs one slice.
    public func run() {
        let (start, rounds) = (place, rounds)
        place += rounds
        workers.run(workers.threadCount) { index, _ in
            checks.pointer[index] = sc_run(memory[index].pointer, start, rounds)
        }
    }
}
