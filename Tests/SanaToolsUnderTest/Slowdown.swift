import Foundation
import SanaModel
import SanaWorkbench

/// Stands before the probe of a forward and makes one of its modules really slower.
///
/// The work is spread over everything that the module does: where a module inside begins or ends,
/// each thread takes that share more of what it took since the last time, and what waking the
/// threads took counts as paid.
final class Slowdown: LayerProbe {
    private let path: String
    private let share: Double
    private let inner: any LayerProbe
    private let workers: WorkerPool
    /// Modules around the one that begins next, down to `path`; 0 outside it.
    private var depth = 0
    /// CPU time of the pool and of this thread up to which the debt is known.
    private var counted = (all: 0, mine: 0)
    /// Nanoseconds that the pool, and this thread of it, have yet to take; below 0 where they took
    /// more than they had to.
    private var debt = (all: 0.0, mine: 0.0)
    /// Nanoseconds below which the debt waits: waking the threads takes less.
    private static let smallestDebt = 100_000.0

    var readsActivations: Bool { inner.readsActivations }

    init(_ path: String, _ share: Double, _ inner: any LayerProbe, _ workers: WorkerPool) {
        (self.path, self.share, self.inner, self.workers) = (path, share, inner, workers)
    }

    func begin(_ path: String) { enter(path) { inner.begin(path) } }

    func end(_ path: String, _ outputs: [Activation]) {
        leave { inner.end(path, outputs) }
    }

    func resume(_ path: String) { enter(path) { inner.resume(path) } }

    func pause(_ path: String) { leave { inner.pause(path) } }

    func finish(_ path: String) {
        inner.finish(path)
        if depth > 0 { counted = reading }
    }

    private func enter(_ path: String, _ tell: () -> Void) {
        if depth > 0 { pay(atLeast: Self.smallestDebt) }
        tell()
        if depth > 0 {
            depth += 1
        } else if path == self.path || self.path == Profile.totalPath {
            depth = 1
            counted = reading
        }
    }

    private func leave(_ tell: () -> Void) {
        if depth > 0 { pay(atLeast: depth == 1 ? 0 : Self.smallestDebt) }
        tell()
        if depth > 0 {
            depth -= 1
            // What the inner probe runs after a block is not the model's.
            if depth == 0 { counted = reading }
        }
    }

    private var reading: (all: Int, mine: Int) { (workers.cpuNanoseconds, Self.threadTime) }

    /// Takes `share` more of the CPU time that each thread took since the last payment, whatever
    /// else runs on the machine.
    private func pay(atLeast least: Double) {
        let before = reading
        debt.all += share * Double(before.all - counted.all)
        debt.mine += share * Double(before.mine - counted.mine)
        counted = before
        guard debt.all > least else { return }
        let theirs = (debt.all - debt.mine) / Double(max(1, workers.threadCount - 1))
        let (mine, others) = (max(0, Int(debt.mine)), max(0, Int(theirs)))
        workers.run(workers.threadCount) { index, _ in
            let end = Self.threadTime + (index == 0 ? mine : others)
            while Self.threadTime < end {}
        }
        counted = reading
        debt.all -= Double(counted.all - before.all)
        debt.mine -= Double(counted.mine - before.mine)
    }

    /// Nanoseconds that this thread has run.
    private static var threadTime: Int {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Int(time.tv_sec) * 1_000_000_000 + Int(time.tv_nsec)
    }
}
