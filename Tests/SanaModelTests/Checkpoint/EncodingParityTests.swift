import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Quantized weights as the libraries that wrote them dequantize them (`fixtures/make_encodings.py`).
@Suite struct EncodingParityTests {
    private static let folder = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("fixtures/encodings").path

    /// File names of the cases.
    static let cases: [String] =
        ((try? folder.folderEntries()) ?? []).filter {
            ($0.hasSuffix(".safetensors") || $0.hasSuffix(".gguf")) && !$0.contains(".expected.")
        }

    /// Recipes whose sums the library makes in another order: relative RMS of the difference.
    private static func bound(_ name: String) -> Double {
        name.contains("svd") || name.contains("hadamard") ? 3e-7 : 0
    }

    @Test("every method and recipe has a case")
    func casesAreComplete() {
        for method in ["bitsandbytes", "comfyui", "fp8", "gguf", "sdnq", "torchao"] {
            #expect(Self.cases.contains { $0.hasPrefix(method) }, "\(method)")
        }
        #expect(Self.cases.count > 40)
    }

    @Test(arguments: cases)
    func valuesAreThoseOfTheLibrary(_ name: String) throws {
        let path = Self.folder.appendingPath(name)
        let stem = name.hasSuffix(".gguf") ? name.dropLast(5) : name.dropLast(".safetensors".count)
        let settings = Self.folder.appendingPath(stem + ".json")
        let config: JSONValue? =
            settings.pathExists
            ? .object([.init("quantization_config", try JSONFile.read(settings))]) : nil
        let source: any TensorSource =
            name.hasSuffix(".gguf")
            ? try Checkpoint.weights(inFile: path)
            : try LogicalTensors.read(SafetensorsFile(path: path), config: config, file: path)
        let expected = try SafetensorsFile(
            path: Self.folder.appendingPath(stem + ".expected.safetensors"))
        #expect(Set(source.tensors.map(\.name)) == Set(expected.tensors.map(\.name)))
        for tensor in expected.tensors {
            let found = try #require(source.info(tensor.name), "\(tensor.name)")
            guard found.dtype != .i8 else {
                // Plain int8 stays as it is, and has its own product.
                continue
            }
            // The layout of matrix products does not keep the kernel: that is the network's to say.
            let shape = name.contains("matmul") ? Array(tensor.shape.prefix(2)) : tensor.shape
            #expect(found.shape == shape || found.shape == tensor.shape, "\(tensor.name)")
            let ours = try #require(try source.bytes(of: found).widened(from: found.dtype)?.values)
            let theirs = try #require(try expected.bytes(of: tensor).widened(from: .f32)?.values)
            try #require(ours.count == theirs.count)
            let differing = zip(ours, theirs).count { $0.bitPattern != $1.bitPattern }
            let bound = Self.bound(name)
            guard bound > 0 else {
                #expect(differing == 0, "\(tensor.name): \(differing) of \(ours.count)")
                continue
            }
            let error = zip(ours, theirs).reduce(0) { $0 + pow(Double($1.0) - Double($1.1), 2) }
            let power = theirs.reduce(0) { $0 + Double($1) * Double($1) }
            #expect(error <= bound * bound * power, "\(tensor.name)")
        }
    }

    @Test("rows that are decoded by themselves and on all threads are the same")
    func residentValuesAreTheSame() throws {
        let path = Self.folder.appendingPath("gguf.gguf")
        let source = try Checkpoint.weights(inFile: path)
        let resident = try source.resident(using: WorkerPool(threadCount: 2))
        #expect(source.computesValues)
        #expect(!resident.computesValues)
        for tensor in source.tensors {
            let (first, second) = (try source.bytes(of: tensor), try resident.bytes(of: tensor))
            #expect(first.withUnsafeBytes { Array($0) } == second.withUnsafeBytes { Array($0) })
        }
    }
}
