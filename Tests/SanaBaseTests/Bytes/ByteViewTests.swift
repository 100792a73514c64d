import SanaBase
import SanaTestSupport
import Testing

struct ByteViewTests {
    private func sum(_ view: ByteView) -> Int {
        view.withUnsafeBytes { $0.reduce(0) { $0 + Int($1) } }
    }

    @Test func releasedPagesLeaveMemoryAndReadTheSameAgain() throws {
        let folder = try TemporaryFolder()
        let bytes = (0..<3_000_001).map { UInt8(truncatingIfNeeded: $0 * 7 + $0 / 251) }
        let view = try ByteView(mapping: folder.write("mapped", bytes))
        let total = sum(view)
        #expect(try #require(residentByteCount(ofMapping: view)) >= bytes.count)
        // A part in the middle, neither end on a page. Huge pages go as a whole, so more may go.
        view.slice(1_000_001, 1_000_000).releasePages()
        #expect(try #require(residentByteCount(ofMapping: view)) <= bytes.count - 990_000)
        view.slice(2_999_999, 2).releasePages()
        view.releasePages()
        #expect(residentByteCount(ofMapping: view) == 0)
        #expect(sum(view) == total)
    }

    @Test func allocatedBytesAreKept() {
        let view = ByteView([UInt8](repeating: 5, count: 1 << 20))
        view.releasePages()
        view.slice(4096, 8192).releasePages()
        ByteView([]).releasePages()
        #expect(sum(view) == 5 << 20)
    }
}
