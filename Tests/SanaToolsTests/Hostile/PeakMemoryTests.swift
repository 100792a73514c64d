import Foundation
import GRDB
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// Memory of `verify` on a model whose weights are most of what it needs: they stay as stored, and
/// activations do not pile up.
@Suite(.tags(.process)) struct PeakMemoryTests {
    private let program: BuiltProgram
    /// Width of the generated model, eight times that of the digits.
    private static let width = 1024
    private static let blocks = 2

    init() throws { program = try BuiltProgram() }

    /// A size of the digits in the generated model: what is proportional to the width grows with
    /// it.
    private func scaled(_ size: Int) -> Int {
        [128, 320, 640, 768].contains(size) ? size * Self.width / 128 : size
    }

    private func isKept(_ name: String) -> Bool {
        !(Self.blocks..<4).contains { name.contains("transformer_blocks.\($0).") }
            && !(Self.blocks..<4).contains { name.hasSuffix("transformer_blocks.\($0)") }
    }

    /// Writes the model, all of whose weights are alike: 0.0029 in BF16, 0.0039 in fp8.
    ///
    /// - Returns: bytes of the weights.
    private func writeModel(_ dtype: DType = .bf16) throws -> Int {
        let source = Fixtures.digits + "/transformer/"
        let file = try SafetensorsFile(path: source + "diffusion_pytorch_model.safetensors")
        var builder = SafetensorsBuilder()
        var byteCount = 0
        for tensor in file.tensors where isKept(tensor.name) {
            let shape = tensor.shape.map(scaled)
            let bytes = [UInt8](
                repeating: dtype == .bf16 ? 0x3B : 0x02,
                count: dtype.bitWidth / 8 * shape.reduce(1, *))
            builder.add(tensor.name, dtype, shape, bytes: bytes)
            byteCount += bytes.count
        }
        try FileManager.default.createDirectory(
            atPath: program.folder("model"), withIntermediateDirectories: true)
        try program.folder.write("model/diffusion_pytorch_model.safetensors", builder.file)
        var config = try JSONScanner.parse(
            String(decoding: try fileBytes(source + "config.json"), as: UTF8.self))
        for (key, value) in [
            ("num_layers", Self.blocks), ("num_attention_heads", Self.width / 32),
            ("num_cross_attention_heads", Self.width / 64), ("cross_attention_dim", Self.width),
        ] { config = config.setting(key, to: .int(value)) }
        try program.folder.write("model/config.json", Array(config.text().utf8))
        return byteCount
    }

    /// Writes a golden of ones that lists what a golden of the digits does.
    private func writeGolden(_ name: String, like fixture: String) throws {
        let file = try SafetensorsFile(path: Fixtures.path + "/goldens/\(fixture).safetensors")
        var builder = SafetensorsBuilder()
        var listed: [JSONValue] = []
        for tensor in file.tensors where isKept(tensor.name) {
            let isInput = tensor.name.hasPrefix("inputs.")
            let shape = isInput ? tensor.shape : tensor.shape.map(scaled)
            builder.add(
                tensor.name, shape, [Float](repeating: 1, count: shape.reduce(1, *)))
            if tensor.name.hasPrefix("activations.") {
                listed.append(
                    .fields([
                        "name": .string(tensor.name), "shape": .array(shape.map { .int($0) }),
                    ]))
            }
        }
        builder.metadata = Dictionary(
            uniqueKeysWithValues: file.header.metadata.map { ($0.key, $0.value) })
        let contract = try JSONScanner.parse(builder.metadata["contract"] ?? "")
        builder.metadata["contract"] =
            contract.setting("activations", to: .array(listed)).text()
        try program.folder.write(name, builder.file)
    }

    /// - Returns: peak resident memory, and the number of layers compared.
    private func measure(_ golden: String) throws -> (peak: Int, layers: Int) {
        let database = golden + ".sqlite"
        let outcome = try program.run(
            "verify", "model", "--reference", golden, "--no-isolated", "--allow-stale", "--db",
            database, "--format", "json", "--threads", "2")
        let problems = outcome.json?["problems"]?.array ?? []
        #expect(outcome.code == 1, "\(outcome.talk) \(problems)")
        #expect(problems.isEmpty, "\(outcome.talk) \(problems)")
        let peak = try DatabaseQueue(path: program.folder(database)).read {
            try Int.fetchOne($0, sql: "SELECT peak_rss_bytes FROM run")
        }
        return (try #require(peak), outcome.json?["layers"]?.array?.count ?? 0)
    }

    @Test func peakIsTheWeightsAndLittleMoreWhateverIsCaptured() throws {
        let weights = try writeModel()
        #expect(weights > 60_000_000)
        try writeGolden("default.safetensors", like: "sana-digits-b1-t1")
        try writeGolden("full.safetensors", like: "sana-digits-b1-t500-full")
        let few = try measure("default.safetensors")
        let all = try measure("full.safetensors")
        #expect(all.layers > 2 * few.layers)
        let largest = 64 * 5 * Self.width * 4
        #expect(few.peak > weights)
        #expect(few.peak < weights + Self.rest)
        // To keep them all would take over eight times the largest.
        #expect(all.peak < few.peak + 6 * largest)
    }

    @Test("weights that another program quantized are decoded a few rows at a time")
    func encodedWeightsStayAsStored() throws {
        let weights = try writeModel(.f8e4m3)
        try writeGolden("default.safetensors", like: "sana-digits-b1-t1")
        let peak = try measure("default.safetensors").peak
        #expect(peak > weights)
        #expect(4 * weights > weights + Self.rest, "decoded they would not pass")
        #expect(peak < weights + Self.rest, "\(peak >> 20) MiB for \(weights >> 20)")
    }

    /// The program itself, its history, and activations of a few layers.
    private static let rest = 64 << 20
}
