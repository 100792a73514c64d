import Testing

@testable import SanaTools

@Suite struct ProgressTests {
    @Test("progress says how long the rest takes once it can know")
    func rest() {
        #expect(ProgressLine.rest(0, 10, 60) == "")
        #expect(ProgressLine.rest(1, 10, 1) == "")
        #expect(ProgressLine.rest(5, 10, 30) == ", 30 s left")
        #expect(ProgressLine.rest(1, 10, 60) == ", 9 min left")
        #expect(ProgressLine.rest(1, 101, 360) == ", 10.0 h left")
        #expect(ProgressLine.rest(10, 10, 60) == "")
    }
}
