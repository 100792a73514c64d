import SanaModel
import Synchronization
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
    @Test func manyShortLoopsInARow() {
        let pool = WorkerPool(threadCount: 4)
        let total = Counter()
        for _ in 0..<20000 { pool.run(4) { _, _ in total.add(1) } }
        #expect(total.value == 80000)
    }

    /// A worker that looks for the next loop must not keep the pool: it would have to wait for itself.
    @Test func poolMayGoAwayWhileWorkersLook() {
        let total = Counter()
        for _ in 0..<3000 { WorkerPool(threadCount: 3).run(3) { _, _ in total.add(1) } }
        #expect(total.value == 9000)
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
