import Foundation
import SanaModel
import SanaTestSupport

@testable import SanaQuant

/// A checkpoint with one tensor of each kind, small enough to mutate byte by byte.
struct TinyCheckpoint {
    let folder: TemporaryFolder
    let checkpoint: Checkpoint

    static let query = "transformer_blocks.0.attn1.to_q.weight"

    /// - Parameter edit: adds tensors.
    init(_ edit: (inout SafetensorsBuilder) -> Void = { _ in }) throws {
        var builder = SafetensorsBuilder()
        builder.add(Self.query, .bf16, [4, 20], bits: (0..<80).map { 0x3C00 + UInt16($0 * 7) })
        builder.add(
            "transformer_blocks.0.ff.conv_point.weight", [3, 8, 1, 1],
            (0..<24).map { Float($0 - 11) * 0.37 })
        builder.add(
            "transformer_blocks.0.ff.conv_depth.weight", [2, 1, 3, 3], (0..<18).map(Float.init))
        builder.add(
            "transformer_blocks.0.attn1.to_out.0.bias", .f16, [3], bits: [0x3C00, 0, 0x8001])
        builder.add("empty", .f32, [0, 4], bytes: [])
        builder.add("counter", .i64, [1], bytes: littleEndianBytes(Int64(-5)))
        edit(&builder)
        folder = try TemporaryFolder()
        try folder.write("diffusion_pytorch_model.safetensors", builder.file)
        try folder.write(
            "config.json",
            Array(#"{"_class_name": "SanaTransformer2DModel", "sample_size": 8}"#.utf8))
        checkpoint = try Checkpoint.open(folder.path)
    }

    /// Converts with frames of 32 bytes, so that most tensors take several.
    @discardableResult
    func convert(
        _ target: ConversionTarget, to name: String = "out.safetensors.zst", threads: Int = 2,
        _ edit: (inout Converter.Options) -> Void = { _ in }
    ) throws -> (path: String, result: ConversionResult) {
        var options = Converter.Options(target: target)
        options.chunkByteCount = 32
        edit(&options)
        let result = try Converter.convert(
            ConversionSource(checkpoint), to: .file(folder(name)), options: options,
            workers: WorkerPool(threadCount: threads))
        return (folder(name), result)
    }
}

extension TinyCheckpoint {
    /// Converts into a component's folder.
    @discardableResult
    func convert(
        _ target: ConversionTarget, toFolder name: String,
        _ edit: (inout Converter.Options) -> Void = { _ in }
    ) throws -> (path: String, result: ConversionResult) {
        var options = Converter.Options(target: target)
        options.chunkByteCount = 32
        edit(&options)
        try FileManager.default.createDirectory(
            atPath: folder(name), withIntermediateDirectories: true)
        let result = try Converter.convert(
            ConversionSource(checkpoint), to: .folder(folder(name)), options: options,
            workers: WorkerPool(threadCount: 2))
        return (folder(name), result)
    }
}

/// The values of a float tensor, widened without the kernels under test.
func independentValues(_ source: any TensorSource, _ name: String) throws -> [Float] {
    guard let info = source.info(name) else { return [] }
    let bytes = try source.bytes(of: info).withUnsafeBytes { Array($0) }
    switch info.dtype {
    case .f32:
        return stride(from: 0, to: bytes.count, by: 4).map { at in
            Float(
                bitPattern: bytes[at..<at + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            )
        }
    case .bf16, .f16:
        return stride(from: 0, to: bytes.count, by: 2).map { at in
            let bits = UInt16(bytes[at]) | UInt16(bytes[at + 1]) << 8
            return info.dtype == .bf16 ? Float(bitPattern: UInt32(bits) << 16) : halfValue(bits)
        }
    case .i8: return bytes.map { Float(Int8(bitPattern: $0)) }
    default: return []
    }
}

/// IEEE binary16 by its definition.
private func halfValue(_ bits: UInt16) -> Float {
    let (exponent, mantissa) = (Int(bits >> 10 & 31), Float(bits & 1023))
    let sign: Float = bits >> 15 == 0 ? 1 : -1
    switch exponent {
    case 0: return sign * mantissa * 0x1p-24
    case 31: return mantissa == 0 ? sign * .infinity : .nan
    default:
        return sign * (1 + mantissa / 1024)
            * Float(sign: .plus, exponent: exponent - 15, significand: 1)
    }
}
