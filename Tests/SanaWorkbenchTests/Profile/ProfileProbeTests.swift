import SanaModel
import Testing

@testable import SanaWorkbench

struct ProfileProbeTests {
    @Test func forwardsThatAreLeftOutTakeTheirSamplesWithThem() throws {
        let probe = ProfileProbe(WorkerPool(threadCount: 1))
        func forward(_ passes: Int) {
            probe.startForward()
            for _ in 0..<passes {
                probe.begin("a")
                probe.begin("a.b")
                probe.end("a.b", [])
                probe.end("a", [])
            }
        }
        probe.isRecording = false
        forward(5)
        probe.isRecording = true
        forward(1)
        forward(2)
        let first = try #require(probe.samples["a"]?.wall.first)
        probe.keepForwards([true, false])
        #expect(probe.samples["a"]?.wall == [first])
        forward(3)
        probe.keepForwards([false, true])
        #expect(probe.samples["a"]?.wall.count == 3)
        #expect(probe.samples["a.b"]?.wall.count == 3)
        #expect(probe.samples["a"]?.cpu.count == 3)
    }
}
