import Foundation
import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// How the script of `capture` writes a golden, run in Python without the packages that it imports.
@Suite(.tags(.process)) struct CaptureOutputTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private static let python = Python.having("unittest.mock")

    /// Runs `code` behind the script, as a program that has it as the module `capture`.
    ///
    /// - Returns: what it printed.
    private func run(_ code: String) throws -> [String] {
        let python = try #require(Self.python)
        try folder.write("capture.py", Array(CaptureScript.source(ofPipelines: false)))
        try folder.write("output", [])
        let start = """
            import errno, os, sys
            from pathlib import Path
            from unittest.mock import MagicMock
            for name in ("diffusers", "torch", "safetensors", "safetensors.torch"):
                sys.modules[name] = MagicMock()
            sys.path.insert(0, os.getcwd())
            import capture
            golden = Path("g.safetensors")

            def write(content, replace=False):
                try:
                    capture.write_file(golden, iter(content), replace)
                    return 0
                except capture.CaptureError as error:
                    assert golden.name in str(error), error
                    return error.code

            """
        let process = try SpawnedProcess(
            python, ["-I", "-c", start + code], in: folder.path,
            output: FileHandle(forWritingAtPath: folder("output")))
        process.waitUntilExit()
        #expect(process.exitCode == 0)
        return String(decoding: try fileBytes(folder("output")), as: UTF8.self)
            .split(separator: "\n").map(String.init)
    }

    /// What appears while a golden is computed or written is not replaced without --force.
    @Test(.enabled(if: python != nil, "no Python here"), arguments: [false, true])
    func whatAppearsMeanwhileStays(isWithoutHardLinks: Bool) throws {
        let refusal = """
            def refuse(*arguments):
                raise OSError(errno.EPERM, "no hard links")
            os.link = refuse

            """
        let output = try run(
            (isWithoutHardLinks ? refusal : "") + """
                def chunks(appears):
                    yield b"ours"
                    if appears:
                        golden.write_bytes(b"theirs")

                print(write(chunks(False)), golden.read_bytes())
                golden.unlink()
                print(write(chunks(True)), golden.read_bytes())
                print(write(chunks(True), replace=True), golden.read_bytes())
                golden.unlink()
                golden.symlink_to("elsewhere")
                print(write(chunks(False)), write(chunks(False), replace=True), os.readlink(golden))
                print(sorted(name for name in os.listdir() if "safetensors" in name))
                """)
        #expect(
            output == [
                "0 b'ours'", "73 b'theirs'", "0 b'ours'", "73 73 elsewhere", "['g.safetensors']",
            ])
    }

    @Test("of several captures at once one succeeds", .enabled(if: python != nil, "no Python here"))
    func captureRace() throws {
        let output = try run(
            """
            for round in range(50):
                golden.unlink(missing_ok=True)
                waiting, go = os.pipe()
                children = []
                for number in range(4):
                    if (child := os.fork()) == 0:
                        os.close(go)

                        def content():
                            yield b"%d" % number
                            # Ends when all are here.
                            os.read(waiting, 1)

                        os._exit(write(content()))
                    children.append(child)
                os.close(go)
                codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
                os.close(waiting)
                assert sorted(codes) == [0, 73, 73, 73], codes
                assert golden.read_bytes() == b"%d" % codes.index(0), codes
            print("done")
            """)
        #expect(output == ["done"])
    }
}
