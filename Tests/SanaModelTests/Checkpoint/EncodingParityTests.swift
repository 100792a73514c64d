import Foundation
import SanaTestSupport
import Testing

@testable import SanaModel

/// Quantized weights as the libraries that wrote them dequantize them
/// (`fixtures/make_encodings.py`, `make_svdquant.py`).
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
        name.contains("-svd") || name.contains("hadamard") ? 3e-7 : 0
    }

    private static func stem(_ name: String) -> String {
        String(name.dropLast(name.hasSuffix(".gguf") ? 5 : ".safetensors".count))
    }

    private static func source(_ name: String) throws -> any TensorSource {
        let path = folder.appendingPath(name)
        // These describe themselves.
        guard !name.hasSuffix(".gguf"), !name.hasPrefix("svdquant") else {
            return try Checkpoint.weights(inFile: path)
        }
        let settings = folder.appendingPath(stem(name) + ".json")
        let config: JSONValue? =
            settings.pathExists
            ? .object([.init("quantization_config", try JSONFile.read(settings))]) : nil
        return try LogicalTensors.read(SafetensorsFile(path: path), config: config, file: path)
    }

    @Test("every method and recipe has a case")
    func casesAreComplete() {
        for method in [
            "bitsandbytes", "comfyui", "fp8", "gguf", "sdnq", "svdquant-fp4", "svdquant-int4",
            "torchao",
        ] {
            #expect(Self.cases.contains { $0.hasPrefix(method) }, "\(method)")
        }
        #expect(Self.cases.count > 40)
    }

    @Test(arguments: cases)
    func valuesAreThoseOfTheLibrary(_ name: String) throws {
        let source = try Self.source(name)
        let expected = try SafetensorsFile(
            path: Self.folder.appendingPath(Self.stem(name) + ".expected.safetensors"))
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

    @Test("rows are decoded alike a few at a time and all at once", arguments: cases)
    func rowsByThemselves(_ name: String) throws {
        let source = try Self.source(name)
        var count = 0
        for tensor in source.tensors {
            guard let rows = try source.rows(of: tensor) else { continue }
            count += 1
            let all = tensor.shape[0]
            let width = tensor.elementCount / all
            let whole = try source.bytes(of: tensor).withUnsafeBytes { Array($0) }
            for step in [1, 3] {
                let parts = stride(from: 0, to: all, by: step).map {
                    rows.values($0..<min($0 + step, all), width: width)
                }
                let joined = parts.flatMap { part in part.withUnsafeBytes { Array($0) } }
                #expect(joined == whole, "\(tensor.name) by \(step)")
            }
        }
        #expect(count > 0 || name == "sdnq-int8.safetensors")
    }

    // MARK: Contradictions

    /// What the weights of a case are with a key of the settings changed.
    private static func read(
        _ name: String, _ key: String, _ value: JSONValue
    ) throws -> any TensorSource {
        let path = folder.appendingPath(name + ".safetensors")
        let settings = try JSONFile.read(folder.appendingPath(name + ".json"))
        return try LogicalTensors.read(
            SafetensorsFile(path: path),
            config: .object([
                .init("quantization_config", settings.setting(key, to: value))
            ]), file: path)
    }

    @Test(
        "settings of SDNQ that change what stored numbers mean are compared with what is stored",
        arguments: [
            ("sdnq-uint4-svd", "use_svd", JSONValue.bool(false)),
            ("sdnq-uint4", "use_svd", .bool(true)),
            ("sdnq-uint4-codebook", "use_codebook", .bool(false)),
            ("sdnq-uint4", "use_codebook", .bool(true)),
            ("sdnq-uint4-scales", "scale_dtype", .null),
            ("sdnq-uint4", "scale_dtype", .string("uint8")),
            ("sdnq-int8-groups", "use_codebook", .bool(true)),
            ("sdnq-uint4", "weights_dtype", .string("uint5")),
        ])
    func contradictions(_ name: String, _ key: String, _ value: JSONValue) throws {
        let error = #expect(throws: (any Error).self) {
            _ = try Self.read(name, key, value)
        }
        #expect(error is any DiagnosticError)
        // As it was written, it is read.
        _ = try Self.source(name + ".safetensors")
    }

    @Test(
        "what a file of nunchaku says of its recipe is compared with what is stored",
        arguments: [
            (#""dtype": "int4""#, #""dtype": "fp4_e2m1_all""#, "fp4_e2m1_all"),
            (#""group_size": 64"#, #""group_size": 32"#, "groups of 32"),
            ("svdquant", "gptq", "gptq"),
        ])
    func contradictionsInMetadata(_ old: String, _ new: String, _ words: String) throws {
        let path = Self.folder.appendingPath("svdquant-int4.safetensors")
        let file = try SafetensorsFile(path: path)
        let settings = try #require(file.metadata[QuantizationCheck.key])
        let config = try JSONScanner.parse(try #require(file.metadata["config"])).setting(
            QuantizationCheck.key, to: try JSONScanner.parse(settings.replacing(old, with: new)))
        let error = #expect(throws: QuantizationError.self) {
            _ = try LogicalTensors.read(file, config: config, file: path)
        }
        #expect(error?.finding.kind == .contradiction)
        #expect(error?.description.contains(words) == true, "\(String(describing: error))")
        // Without a configuration nothing tells what is padding.
        #expect(throws: BadDataError.self) {
            _ = try LogicalTensors.read(file, config: nil, file: path)
        }
    }

    /// Old releases of bitsandbytes stored int8 as a kernel of theirs took it.
    @Test("int8 of bitsandbytes in the layout of a kernel is named")
    func tiledInt8() throws {
        let path = Self.folder.appendingPath("bitsandbytes-int8.safetensors")
        for (number, words) in [(UInt8(0), nil), (2, "int8 in the layout col_turing")] {
            let builder = try SafetensorsBuilder(copying: path) { tensor, bytes in
                let isFormat = tensor.name.hasSuffix(".weight_format")
                return (tensor.name, tensor.shape, isFormat ? [number] : bytes)
            }
            let file = try SafetensorsFile(content: ByteView(builder.file), path: "m")
            guard let words else {
                #expect(try LogicalTensors.read(file, config: nil, file: "m").computesValues)
                continue
            }
            let error = #expect(throws: QuantizationError.self) {
                _ = try LogicalTensors.read(file, config: nil, file: "m")
            }
            #expect(error?.finding.kind == .unsupported)
            #expect(error?.description.contains(words) == true, "\(String(describing: error))")
        }
    }

    @Test("scales that are packed do not keep their shape, and are named")
    func packedScales() throws {
        let error = #expect(throws: QuantizationError.self) {
            _ = try Self.read("sdnq-uint4", "scale_dtype", .string("uint4"))
        }
        #expect(error?.finding.kind == .unsupported)
        #expect(error?.description.contains("with quantized scales (uint4)") == true)
    }
}
