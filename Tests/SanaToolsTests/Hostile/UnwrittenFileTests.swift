import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Weights whose end a download has not written, without a downloader's leftover beside them.
@Suite(.tags(.process)) struct UnwrittenFileTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    init() throws {
        program = try BuiltProgram()
        try FileManager.default.copyItem(
            atPath: Fixtures.digits + "/transformer", toPath: folder("model"))
    }

    private static let weights = "model/diffusion_pytorch_model.safetensors"

    /// Leaves zeros in place of the last matrix, or of some of its values.
    private func blank(wholeWeight: Bool) throws {
        let content = try fileBytes(folder(Self.weights))
        var count = 0
        for tensor in try SafetensorsFile(path: folder(Self.weights)).tensors.reversed() {
            let isMatrix = tensor.name.hasSuffix(".weight") && tensor.shape.count > 1
            guard !isMatrix || tensor.byteCount <= 4096 else {
                count += wholeWeight ? tensor.byteCount : 4096
                break
            }
            count += tensor.byteCount
        }
        try folder.write(
            Self.weights, content.dropLast(count) + [UInt8](repeating: 0, count: count))
    }

    @Test("zeros in a part of a weight are a warning of every command")
    func part() throws {
        try blank(wholeWeight: false)
        for command in [
            ["convert", "model", "--dtype", "int8", "--output", "out.safetensors.zst"],
            ["profile", "model", "--latent", "8x8", "--repeat", "1", "--no-record"],
            ["diff", "model", "model"],
        ] {
            let outcome = try program.run(command)
            #expect(outcome.code == 0, "\(command): \(outcome.talk)")
            #expect(outcome.talk.contains("zero bytes"), "\(command): \(outcome.talk)")
        }
        let inspection = try program.run("inspect", "model")
        #expect(inspection.code == 0)
        #expect(inspection.output.contains("file-zero-end"), "\(inspection.output)")
        #expect(try program.run("inspect", "model", "--strict").code == 1)
    }

    @Test("the weights alone are inspected, too")
    func file() throws {
        try blank(wholeWeight: true)
        let inspection = try program.run("inspect", Self.weights)
        #expect(inspection.code == 1, "\(inspection.talk)")
        #expect(inspection.output.contains("file-unwritten"), "\(inspection.output)")
        let conversion = try program.run(
            "convert", Self.weights, "--dtype", "int8", "--output", "out.safetensors.zst")
        #expect(conversion.code == 65)
        #expect(conversion.talk.contains("zero bytes"), "\(conversion.talk)")
    }
}
