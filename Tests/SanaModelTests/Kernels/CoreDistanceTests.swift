import Testing

@testable import SanaModel

struct CoreDistanceTests {
    @Test func lineGoesToAnotherThreadAndBack() {
        let distance = CoreDistance(workers: WorkerPool(threadCount: 3))
        // Threads that share a CPU at the moment tell nothing; some of many do not, however busy
        // the machine is.
        let patience = ContinuousClock.now + .seconds(10)
        var known: [Double] = []
        repeat {
            known += (0..<200).compactMap { _ in distance.measure() }
        } while known.isEmpty && ContinuousClock.now < patience
        if WorkerPool.processorCount > 1 { #expect(!known.isEmpty) }
        #expect(known.allSatisfy { $0 > 1 && $0 < 1e6 })
    }

    @Test func oneThreadHasNoDistance() {
        #expect(CoreDistance(workers: WorkerPool(threadCount: 1)).measure() == nil)
    }
}
