import CFileNames
import Foundation
import SanaTestSupport
import Synchronization
import Testing

/// However a file system lets a file have a free name, of several that want it one gets it.
struct FreeNameTests {
    /// - Returns: 0, or why the file did not get the name.
    private func rename(
        _ name: String, _ target: String, _ means: rename_means, in folder: TemporaryFolder
    ) -> Int32 {
        rename_to_free_name(folder(name), target, means) == 0 ? 0 : errno
    }

    static let means = [RENAME_AT_ONCE, RENAME_BY_LINK, RENAME_BY_CLAIM]

    @Test(.tags(.slow), arguments: means)
    func oneOfManyGetsTheName(means: rename_means) throws {
        let folder = try TemporaryFolder()
        let writers = 8
        for round in 0..<50 {
            for writer in 0..<writers { try folder.write("from\(writer)", [UInt8(writer)]) }
            let target = folder("to\(round)")
            let codes = Mutex([Int32](repeating: -1, count: writers))
            DispatchQueue.concurrentPerform(iterations: writers) { writer in
                let code = rename("from\(writer)", target, means, in: folder)
                codes.withLock { $0[writer] = code }
            }
            let found = codes.withLock { $0 }
            #expect(found.sorted() == [0] + [Int32](repeating: EEXIST, count: writers - 1))
            let winner = try #require(found.firstIndex(of: 0))
            #expect(try fileBytes(target) == [UInt8(winner)])
            #expect(!folder.entries.contains("from\(winner)"))
        }
    }

    @Test(arguments: means)
    func whateverHasTheNameKeepsIt(means: rename_means) throws {
        let folder = try TemporaryFolder()
        try folder.write("from", [1])
        try folder.write("file", [2])
        try FileManager.default.createSymbolicLink(
            atPath: folder("dangling"), withDestinationPath: "nothing")
        try FileManager.default.createDirectory(
            atPath: folder("folder"), withIntermediateDirectories: false)
        for name in ["file", "dangling", "folder"] {
            #expect(rename("from", folder(name), means, in: folder) == EEXIST, "\(name)")
        }
        #expect(try fileBytes(folder("file")) == [2])
        #expect(folder.entries == ["dangling", "file", "folder", "from"])
    }

    @Test(arguments: means)
    func whatIsNotThereLeavesNothing(means: rename_means) throws {
        let folder = try TemporaryFolder()
        #expect(rename("absent", folder("to"), means, in: folder) == ENOENT)
        #expect(folder.entries.isEmpty)
    }
}
