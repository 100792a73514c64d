import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Archives read by everybody else: `fixtures/interop.py` with zstd, zstandard, pyzstd,
/// safetensors, diffusers and sdnq, where a Python has them.
@Suite(.tags(.process)) struct InteropTests {
    private static let packages = "diffusers, pyzstd, safetensors, sdnq, torch, zstandard"

    /// A Python that has them; `make interop` installs them into `.venv`.
    private static let python = Python.having(packages)

    @Test(
        .enabled(
            if: python != nil,
            "no Python with \(packages), so what others make of our archives is not tested; 'make interop' installs them"
        ))
    func otherReadersAgree() throws {
        let program = try BuiltProgram()
        let outcome = try program.finish(
            program.launch(
                [Fixtures.path + "/interop.py", "--binary", program.binary.path],
                program: Self.python))
        #expect(outcome.code == 0, "\(outcome.output)\(outcome.talk)")
        #expect(outcome.output.contains("pyzstd.SeekableZstdFile"))
        #expect(outcome.output.contains("our forward against diffusers'"))
    }
}
