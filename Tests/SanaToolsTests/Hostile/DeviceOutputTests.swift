import Foundation
import SanaTestSupport
import Testing

/// Outputs under the names of pipes, devices and links, by the built binary.
@Suite(.tags(.process)) struct DeviceOutputTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    init() throws { program = try BuiltProgram() }

    private static let verify = [
        "verify", "fixtures/tiny/plain", "--reference", "fixtures/goldens/tiny-plain.safetensors",
        "--no-record", "--summary",
    ]

    private func isLink(_ path: String) -> Bool {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: path)) != nil
    }

    @Test(
        "--junit /dev/stdout writes to it, and it stays", arguments: ["/dev/stdout", "/dev/fd/1"])
    func standardOutput(path: String) throws {
        let wasLink = isLink("/dev/stdout")
        let command = Self.verify + ["--junit", path]
        // Into a file, behind what the command prints.
        let file = try program.run(command)
        #expect(file.code == 0, "\(file.talk)")
        #expect(file.output.contains("<testsuites"))
        #expect(file.output.contains("</testsuites>"))
        #expect(file.output.contains("verdict"), "\(file.output)")
        // Into a pipe.
        let pipe = try program.finish(
            program.launch(
                ["-c", "set -o pipefail; \"$0\" \"$@\" | cat", program.binary.path] + command,
                program: "/bin/bash"))
        #expect(pipe.code == 0, "\(pipe.talk)")
        #expect(pipe.output.contains("</testsuites>"))
        #expect(isLink("/dev/stdout") == wasLink)
    }

    @Test("a pipe is written to, a device that is full is an I/O error, and a link is refused")
    func others() throws {
        let pipe = folder("pipe")
        #expect(mkfifo(pipe, 0o600) == 0)
        let script = "cat pipe > copy & \"$0\" \"$@\"; code=$?; wait; exit $code"
        let piped = try program.finish(
            program.launch(
                ["-c", script, program.binary.path] + Self.verify + ["--junit", "pipe"],
                program: "/bin/bash"))
        #expect(piped.code == 0, "\(piped.talk)")
        #expect(String(decoding: try fileBytes(folder("copy")), as: UTF8.self).contains("</testsu"))
        var status = stat()
        #expect(lstat(pipe, &status) == 0)
        #expect(status.st_mode & S_IFMT == S_IFIFO)

        #expect(try program.run(Self.verify + ["--junit", "/dev/null"]).code == 0)
        let full = try program.run(Self.verify + ["--junit", "/dev/full"])
        #expect(full.code == 74, "\(full.talk)")
        #expect(full.talk.contains("/dev/full"))
        for (device, number) in [("/dev/null", "1:3"), ("/dev/full", "1:7")] {
            let found = try program.finish(
                program.launch(["-c", "%Hr:%Lr", device], program: "/usr/bin/stat"))
            #expect(found.output == number + "\n")
        }

        try folder.write("target", [9])
        try FileManager.default.createSymbolicLink(
            atPath: folder("link"), withDestinationPath: "target")
        let link = try program.run(Self.verify + ["--junit", "link"])
        #expect(link.code == 73, "\(link.talk)")
        #expect(link.talk.contains("is a symlink"))
        #expect(isLink(folder("link")))
        #expect(try fileBytes(folder("target")) == [9])
    }
}
