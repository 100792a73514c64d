import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaQuant

@Suite struct OutputFileTests {
    @Test func fileAppearsOnlyWhenCommitted() throws {
        let folder = try TemporaryFolder()
        let file = try OutputFile(folder("x"), replaceExisting: false)
        try file.write([1, 2])
        try file.write([3])
        #expect(folder.entries == [".x.tmp-\(ProcessInfo.processInfo.processIdentifier)"])
        try file.commit()
        #expect(folder.entries == ["x"])
        #expect(try fileBytes(folder("x")) == [1, 2, 3])
    }

    @Test func fileThatIsDroppedLeavesTheOldOne() throws {
        let folder = try TemporaryFolder()
        try folder.write("x", [9])
        do {
            let file = try OutputFile(folder("x"), replaceExisting: true)
            try file.write([1])
        }
        #expect(folder.entries == ["x"])
        #expect(try fileBytes(folder("x")) == [9])
    }

    @Test func outputThatAppearedMeanwhileIsNotOverwritten() throws {
        let folder = try TemporaryFolder()
        let file = try OutputFile(folder("x"), replaceExisting: false)
        try folder.write("x", [9])
        #expect(throws: OutputExistsError(path: folder("x"))) { try file.commit() }
        #expect(try fileBytes(folder("x")) == [9])
    }

    @Test func folderThatIsMissingOrInTheWayCannotBeCreated() throws {
        let folder = try TemporaryFolder()
        for path in [folder("no/x"), folder.path] {
            let error = #expect(throws: FileError.self) {
                try OutputFile(path, replaceExisting: true)
            }
            #expect(error?.category == .cannotCreate)
        }
    }

    @Test func staleTemporaryFileOfTheSameProcessIdIsReplaced() throws {
        let folder = try TemporaryFolder()
        try folder.write(".x.tmp-\(ProcessInfo.processInfo.processIdentifier)", [7])
        let file = try OutputFile(folder("x"), replaceExisting: false)
        try file.write([1])
        try file.commit()
        #expect(try fileBytes(folder("x")) == [1])
    }
}
