import Foundation
import SanaTestSupport
import Testing

@testable import SanaModel

struct ProcessorQuotaTests {
    @Test(
        arguments: [
            ("400000 100000\n", 4), ("250000 100000", 2), ("50000 100000\n", 1),
            ("max 100000\n", nil),
            ("", nil), ("100000", nil), ("0 100000", nil), ("100000 0", nil), ("-1 100000", nil),
            ("1 2 3", nil),
        ] as [(String, Int?)])
    func quotaIsWholeProcessors(_ text: String, _ expected: Int?) {
        #expect(ProcessorQuota.processors(text) == expected)
    }

    @Test func theLeastOfTheGroupsAroundCounts() throws {
        let folder = try TemporaryFolder()
        try FileManager.default.createDirectory(
            atPath: folder("a/b"), withIntermediateDirectories: true)
        for (path, text) in [("a/b/cpu.max", "max 100000"), ("a/cpu.max", "300000 100000")] {
            try folder.write(path, Array(text.utf8))
        }
        #expect(ProcessorQuota.count(of: "/a/b", below: folder.path) == 3)
        #expect(ProcessorQuota.count(of: "/", below: folder.path) == nil)
        try folder.write("cpu.max", Array("200000 100000".utf8))
        #expect(ProcessorQuota.count(of: "/a/b", below: folder.path) == 2)
        #expect(ProcessorQuota.count(of: "/elsewhere/c", below: folder.path) == 2)
    }
}
