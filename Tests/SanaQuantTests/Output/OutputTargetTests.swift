import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaQuant

/// What stands under the name of an output is never swapped for a file, unless it is one.
struct OutputTargetTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func write(_ path: String, replaceExisting: Bool = true) throws {
        let file = try OutputFile(path, replaceExisting: replaceExisting)
        try file.write([1, 2, 3])
        try file.commit()
    }

    @Test(arguments: [true, false])
    func pipeIsWrittenTo(replaceExisting: Bool) throws {
        let path = folder("pipe")
        #expect(mkfifo(path, 0o600) == 0)
        // Both ends, so that neither waits for the other.
        let reader = open(path, O_RDWR | O_NONBLOCK)
        defer { close(reader) }
        try write(path, replaceExisting: replaceExisting)
        var bytes = [UInt8](repeating: 0, count: 8)
        #expect(read(reader, &bytes, 8) == 3)
        #expect(Array(bytes[..<3]) == [1, 2, 3])
        var status = stat()
        #expect(lstat(path, &status) == 0)
        #expect(status.st_mode & S_IFMT == S_IFIFO)
        #expect(throws: OutputTargetError.self) { try OutputTargetError.checkReadable(path) }
        #expect(folder.entries == ["pipe"])
    }

    @Test func linkIsNeitherReplacedNorWrittenThrough() throws {
        try folder.write("file", [9])
        for (name, target) in [("link", "file"), ("dangling", "nothing")] {
            try FileManager.default.createSymbolicLink(
                atPath: folder(name), withDestinationPath: folder(target))
            let error = #expect(throws: OutputTargetError.self) { try write(folder(name)) }
            #expect(error?.category == .cannotCreate)
            #expect(error?.description.contains("symlink") == true)
        }
        #expect(try fileBytes(folder("file")) == [9])
        #expect(folder.entries == ["dangling", "file", "link"])
    }

    @Test func linkToADeviceIsTheDevice() throws {
        try FileManager.default.createSymbolicLink(
            atPath: folder("null"), withDestinationPath: "/dev/null")
        try write(folder("null"))
        try write("/dev/null")
        #expect(folder.entries == ["null"])
    }

    @Test func openFileIsWrittenWhereItStands() throws {
        let path = try folder.write("log", Array("before".utf8))
        let log = open(path, O_WRONLY | O_APPEND)
        defer { close(log) }
        try write("/dev/fd/\(log)")
        #expect(try fileBytes(path) == Array("before".utf8) + [1, 2, 3])
        #expect(throws: FileError.self) { try write("/dev/fd/9999") }
    }

    @Test func socketIsRefused() throws {
        let path = folder("s")
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else { return }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        #expect(bound == 0)
        #expect(throws: OutputTargetError.self) { try write(path) }
    }
}
