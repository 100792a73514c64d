import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Archives read by everybody else: `fixtures/interop.py` with zstd, zstandard, pyzstd, safetensors,
/// diffusers and sdnq, where a Python has them.
@Suite struct InteropTests {
    /// `make interop` installs the packages into `.venv`.
    private var pythons: [String] {
        let root = URL(fileURLWithPath: Fixtures.path).deletingLastPathComponent().path
        let chosen = ProcessInfo.processInfo.environment["SANA_TOOLS_PYTHON"]
        return [chosen, root + "/.venv/bin/python", "/usr/bin/python3"].compactMap { $0 }
    }

    @Test func otherReadersAgree() throws {
        let program = try BuiltProgram()
        func run(_ python: String, _ arguments: [String]) throws -> BuiltProgram.Outcome {
            try program.finish(program.launch(arguments, program: python))
        }
        let packages = "import diffusers, pyzstd, safetensors, sdnq, torch, zstandard"
        let python = try pythons.first {
            guard FileManager.default.isExecutableFile(atPath: $0) else { return false }
            return try run($0, ["-c", packages]).code == 0
        }
        guard let python else {
            print(
                "SKIPPED: no Python with \(packages.dropFirst(7)), so what others make of our "
                    + "archives was not tested; 'make interop' installs them")
            return
        }
        let outcome = try run(
            python, [Fixtures.path + "/interop.py", "--binary", program.binary.path])
        #expect(outcome.code == 0, "\(outcome.output)\(outcome.talk)")
        #expect(outcome.output.contains("pyzstd.SeekableZstdFile"))
    }
}
