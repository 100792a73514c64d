import Synchronization

/// How far apart the cores are that a pool's threads run on: the time that a cache line takes from
/// one thread to another and back.
///
/// A hypervisor, or the system's scheduler, may move threads to cores that share no cache. Then
/// what one thread wrote reaches the other five times as slowly, and since threads that wait for
/// memory count as busy, the forward of a small model takes 1.6 times as much CPU time.
public final class CoreDistance {
    private let workers: WorkerPool
    private let line = SharedLine()

    public init(workers: WorkerPool) { self.workers = workers }

    private static let (batches, trips) = (6, 8)
    /// Other threads that the caller's exchanges the line with, at most.
    private static let mostOthers = 6
    /// How long the other thread is waited for; one that has to be woken takes 50 µs and more.
    private static let patience = Duration.milliseconds(1)

    /// Nanoseconds of a round trip, as the mean over several of the other threads: on a large
    /// CPU, some threads are always far apart. `nil` if there is only one thread, or
    /// none is running.
    public func measure() -> Double? {
        let others = workers.threadCount - 1
        guard others > 0 else { return nil }
        let step = (others + Self.mostOthers - 1) / Self.mostOthers
        let times = stride(from: 1, through: others, by: step).compactMap(distance)
        return times.isEmpty ? nil : times.reduce(0, +) / Double(times.count)
    }

    /// The best of a few batches, so that an interrupt does not count.
    private func distance(to other: Int) -> Double? {
        line.turn.store(0, ordering: .releasing)
        var best: Duration?
        workers.run(workers.threadCount) { index, _ in
            if index == 0 { best = ask() } else if index == other { answer() }
        }
        return best.map { $0.inSeconds * 1e9 / Double(Self.trips) }
    }

    /// Sends the line away and waits for it.
    private func ask() -> Duration? {
        var best: Duration?
        var turn = 0
        // The first batch waits for the other thread to wake up.
        for batch in 0...Self.batches {
            let start = ContinuousClock.now
            for _ in 0..<Self.trips {
                line.turn.store(turn + 1, ordering: .releasing)
                guard line.wait(for: turn + 2, patience: Self.patience) else { return best }
                turn += 2
            }
            let time = ContinuousClock.now - start
            if batch > 0 { best = best.map { min($0, time) } ?? time }
        }
        return best
    }

    /// Sends the line back whenever it comes.
    private func answer() {
        for trip in 0..<(Self.batches + 1) * Self.trips {
            guard line.wait(for: 2 * trip + 1, patience: Self.patience) else { return }
            line.turn.store(2 * trip + 2, ordering: .releasing)
        }
    }
}

/// The number that two threads write in turn.
private final class SharedLine: Sendable {
    let turn = Atomic<Int>(0)

    /// Looks until it is `value`, for so long at most.
    func wait(for value: Int, patience: Duration) -> Bool {
        let start = ContinuousClock.now
        repeat {
            for _ in 0..<1000 where turn.load(ordering: .acquiring) == value { return true }
        } while ContinuousClock.now - start < patience
        return false
    }
}
