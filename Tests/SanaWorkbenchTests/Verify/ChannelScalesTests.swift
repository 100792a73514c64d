import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

struct ChannelScalesTests {
    /// Recorded scales of which a model has none were compared with nothing: that is no agreement.
    @Test func scalesOfOtherTensorsAreNotCompared() throws {
        let source = try Checkpoint.open(Fixtures.digits).source
        #expect(try ChannelScales.compare(source, with: ["absent.scale": [1, 2]]) == nil)
    }
}
