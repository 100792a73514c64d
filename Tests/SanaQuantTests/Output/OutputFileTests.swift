import Foundation
import SanaModel
import SanaTestSupport
import Synchronization
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

    /// Another program makes and removes the file all the time; what it made is never replaced.
    @Test func whatAppearsInTheLastMomentIsNotOverwritten() throws {
        let folder = try TemporaryFolder()
        let race = Race(target: folder("x"), theirs: try folder.write("theirs", [9]))
        DispatchQueue.concurrentPerform(iterations: 2) { $0 == 0 ? race.other() : race.write() }
        #expect(race.replaced.load(ordering: .relaxed) == 0)
        #expect(race.written.load(ordering: .relaxed) > 0)
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

/// Two programs that give files one name.
private final class Race: Sendable {
    private let isDone = Atomic<Bool>(false)
    /// How often a program found the file of the other in place of its own.
    let replaced = Atomic<Int>(0)
    /// How often ours was written.
    let written = Atomic<Int>(0)
    private let target: String
    private let theirs: String

    init(target: String, theirs: String) { (self.target, self.theirs) = (target, theirs) }

    private func inode(_ path: String) -> ino_t {
        var status = stat()
        return lstat(path, &status) == 0 ? status.st_ino : 0
    }

    /// Gives its file the name and takes it away again.
    func other() {
        let own = inode(theirs)
        while !isDone.load(ordering: .relaxed) {
            guard link(theirs, target) == 0 else { continue }
            if inode(target) == own {
                unlink(target)
            } else {
                replaced.add(1, ordering: .relaxed)
            }
        }
    }

    /// Writes ours a hundred times.
    func write() {
        let end = ContinuousClock.now + .seconds(10)
        while written.load(ordering: .relaxed) < 100, replaced.load(ordering: .relaxed) == 0,
            ContinuousClock.now < end
        {
            guard let file = try? OutputFile(target, replaceExisting: false),
                (try? file.commit()) != nil
            else { continue }
            written.add(1, ordering: .relaxed)
            // The other program removes what it has made itself.
            if unlink(target) != 0 { replaced.add(1, ordering: .relaxed) }
        }
        isDone.store(true, ordering: .relaxed)
    }
}
