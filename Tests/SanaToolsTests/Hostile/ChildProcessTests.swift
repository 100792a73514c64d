import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// A folder of a stranger in which somebody works runs nothing and has nothing read.
@Suite(.tags(.process)) struct ChildProcessTests {
    private let program: BuiltProgram

    init() throws { program = try BuiltProgram() }

    private func executable(_ name: String, _ script: String) throws {
        let path = try program.folder.write(name, Array("#!/bin/sh\n\(script)\n".utf8))
        #expect(chmod(path, 0o755) == 0)
    }

    @Test func captureImportsNothingFromTheCurrentFolder() throws {
        let mark = program.folder("executed")
        for module in ["torch", "diffusers", "json", "struct", "safetensors", "sitecustomize"] {
            try program.folder.write(
                module + ".py", Array("open('\(mark)', 'w').close()\nraise SystemExit(0)\n".utf8))
        }
        let outcome = try program.finish(
            program.launch(
                ["capture", "fixtures/tiny/plain", "--output", "g.safetensors"],
                environment: ["PYTHONPATH": ":relative:.", "PYTHONHOME": ""]))
        #expect(!mark.pathExists)
        #expect([0, 69].contains(outcome.code), "\(outcome.talk)")
    }

    @Test func captureFindsWhatTheUserHasPointedPythonTo() throws {
        try FileManager.default.createDirectory(
            atPath: program.folder("mine"), withIntermediateDirectories: true)
        try program.folder.write(
            "mine/diffusers.py", Array("raise SystemExit(66)\n".utf8))
        let outcome = try program.finish(
            program.launch(
                ["capture", "fixtures/tiny/plain", "--output", "g.safetensors"],
                environment: ["PYTHONPATH": program.folder("mine")]))
        #expect(outcome.code == 66, "\(outcome.talk)")
    }

    @Test func interpreterIsNotLookedUpInTheCurrentFolder() throws {
        let mark = program.folder("executed")
        try executable("python3", "touch '\(mark)'")
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        for list in [":" + path, ".:" + path] {
            _ = try program.finish(
                program.launch(
                    ["capture", "fixtures/tiny/plain", "--output", "g.safetensors"],
                    environment: ["PATH": list]))
        }
        #expect(!mark.pathExists)
        #expect(ChildProcess.absoluteFolders(":/a:.:b:/c:") == ["/a", "/c"])
        #expect(throws: UsageError.self) { try ChildProcess.executable("python3", path: ".:") }
    }

    /// With an interpreter that shows what it is given.
    @Test func namesThatBeginWithADashAreNames() throws {
        try executable("python", "shift 3; for a in \"$@\"; do echo \"$a\"; done; exit 69")
        try FileManager.default.copyItem(
            atPath: Fixtures.path + "/tiny/plain", toPath: program.folder("-m"))
        let outcome = try program.run(
            "capture", "--python", "./python", "--output=-x.safetensors", "--", "-m")
        #expect(
            outcome.output.hasSuffix("}\n--output=-x.safetensors\n--\n-m\n"),
            "\(outcome.talk)")
    }

    @Test func goldenIsNoPipeOrLink() throws {
        #expect(mkfifo(program.folder("pipe"), 0o600) == 0)
        try FileManager.default.createSymbolicLink(
            atPath: program.folder("link"), withDestinationPath: "somewhere")
        for name in ["pipe", "link", "/dev/null"] {
            let outcome = try program.run(
                "capture", "fixtures/tiny/plain", "--output", name, "--force")
            #expect(outcome.code == 73, "\(outcome.talk)")
        }
    }

    @Test func commitIsAHashOrNothing() throws {
        let folder = program.folder
        let git = folder(".git")
        try FileManager.default.createDirectory(
            atPath: git + "/refs/heads", withIntermediateDirectories: true)
        let hash = String(repeating: "0a", count: 20)
        try folder.write("secret", Array("password\n".utf8))
        try folder.write("outside", Array((hash + "\n").utf8))
        try folder.write(".git/refs/heads/main", Array((hash + "\n").utf8))
        try folder.write(".git/refs/heads/odd", Array("<script>\n".utf8))
        for (head, commit) in [
            (hash, hash), ("ref: refs/heads/main", hash), ("ref: refs/heads/odd", nil),
            ("ref: ../secret", nil), ("ref: refs/../../secret", nil), ("password", nil),
            ("ref: refs/../../outside", nil), ("ref: ../outside", nil),
            ("ref: /etc/hostname", nil), ("ref: refs/heads/none", nil),
        ] as [(String, String?)] {
            try folder.write(".git/HEAD", Array((head + "\n").utf8))
            #expect(GitCommit.checkedOut(from: folder.path) == commit, "\(head)")
        }
        // One that nobody writes to would be waited for.
        try FileManager.default.removeItem(atPath: git + "/HEAD")
        #expect(mkfifo(git + "/HEAD", 0o600) == 0)
        #expect(GitCommit.checkedOut(from: folder.path) == nil)
    }
}
