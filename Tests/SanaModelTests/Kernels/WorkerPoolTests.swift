import Foundation
import SanaModel
import Synchronization
import SanaTestSupport
import Testing

struct WorkerPoolTests {
    @Test(arguments: [1, 2, 5])
    func everyIndexRunsOnceAndWorkersDoNotOverlap(_ threads: Int) {
        let pool = WorkerPool(threadCount: threads)
        let busy = (0..<threads).map { _ in Counter() }
        for count in [0, 1, 2, 3, 1000] {
            let calls = (0..<count).map { _ in Counter() }
            pool.run(count) { index, worker in
                #expect(busy[worker].add(1) == 0)
                calls[index].add(1)
                busy[worker].add(-1)
            }
            #expect(calls.allSatisfy { $0.value == 1 })
        }
    }

    /// Workers once kept a reference to the closure after the loop was reported done, which
    /// trapped.
    @Test(.tags(.slow)) func manyShortLoopsInARow() {
        let pool = WorkerPool(threadCount: 4)
        let total = Counter()
        for _ in 0..<20000 { pool.run(4) { _, _ in total.add(1) } }
        #expect(total.value == 80000)
    }

    /// A worker that looks for the next loop must not keep the pool: it would have to wait for
    /// itself.
    @Test func poolMayGoAwayWhileWorkersLook() {
        let total = Counter()
        for _ in 0..<3000 { WorkerPool(threadCount: 3).run(3) { _, _ in total.add(1) } }
        #expect(total.value == 9000)
    }

    /// The process's clock counts other running threads at ticks of 4 ms only: of equal pieces of
    /// work it reads one as 0.1 ms and the next as 4.
    @Test func cpuTimeOfShortWorkOnOtherThreadsIsRead() {
        let pool = WorkerPool(threadCount: 2)
        func spend(_ nanoseconds: Int) -> Int {
            let start = pool.cpuNanoseconds
            pool.run(2) { _, _ in
                let end = threadNanoseconds() + nanoseconds
                while threadNanoseconds() < end {}
            }
            return pool.cpuNanoseconds - start
        }
        _ = spend(1_000_000)
        let readings = (0..<40).map { _ in spend(300_000) }.sorted()
        #expect(readings[4] >= 500_000, "\(readings)")
        #expect(readings[35] <= 800_000, "\(readings)")
    }

    /// Threads that wait for each other look for work a while, which is not the work.
    @Test func lookingForWorkIsNotCounted() {
        let pool = WorkerPool(threadCount: 9)
        pool.run(9) { _, _ in }
        // One thread works 0.2 ms; eight end at once, look for 0.05 ms each, and sleep. Waking
        // costs more beside other tests, so the least of several rounds counts; with the looks it
        // would be 0.6 ms at least.
        let each = (0..<10).map { _ in
            let start = pool.cpuNanoseconds
            for _ in 0..<10 {
                pool.run(9) { index, _ in
                    let end = threadNanoseconds() + (index == 0 ? 200_000 : 0)
                    while threadNanoseconds() < end {}
                }
            }
            return (pool.cpuNanoseconds - start) / 10
        }
        let least = each.min() ?? 0
        #expect(least >= 195_000, "\(each)")
        #expect(least <= 550_000, "\(each)")
    }

    @Test func mapKeepsOrderAndThrowsTheFirstError() throws {
        struct Failure: Error, Equatable { let index: Int }
        let pool = WorkerPool(threadCount: 3)
        #expect(try pool.map(100) { $0 * $0 } == (0..<100).map { $0 * $0 })
        #expect(throws: Failure(index: 7)) {
            try pool.map(100) { index in
                if index >= 7 { throw Failure(index: index) }
                return index
            }
        }
    }
}

/// CPU time of the current thread.
private func threadNanoseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Int(time.tv_sec) * 1_000_000_000 + Int(time.tv_nsec)
}

/// A counter that threads may share.
private final class Counter: Sendable {
    private let storage = Atomic<Int>(0)
    var value: Int { storage.load(ordering: .sequentiallyConsistent) }

    /// Adds and returns the value before.
    @discardableResult
    func add(_ amount: Int) -> Int {
        storage.wrappingAdd(amount, ordering: .sequentiallyConsistent).oldValue
    }
}
