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

    @Test("the canary runs after each block, and nowhere else")
    func canaryRunsBetweenBlocks() {
        let workers = WorkerPool(threadCount: 1)
        let probe = ProfileProbe(
            workers, canary: HostCanary(workers: workers, operations: 0, slices: 1))
        probe.startForward()
        // Not as many others as blocks.
        let blocks = ["transformer_blocks.0", "transformer_blocks.1"]
        for path in ["patch_embed"] + blocks + ["norm_out", "proj_out"] {
            probe.begin(path)
            probe.begin(path + ".part")
            probe.end(path + ".part", [])
            probe.end(path, [])
        }
        #expect(probe.canaryTime.slices == 2)
        #expect(probe.canaryTime.wall > 0)
        #expect(probe.canaryTime.cpu > 0)
        probe.startForward()
        #expect(probe.canaryTime.slices == 0)
    }
}
