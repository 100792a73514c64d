import Foundation
import SanaTestSupport

@testable import SanaModel

/// Autoencoders of any configuration with weights that depend on names alone.
enum RandomAutoencoder {
    static func make(_ config: AutoencoderDCConfig) throws -> AutoencoderDC {
        let empty = try source([])
        do {
            _ = try AutoencoderDC(config, source: empty, label: "random")
        } catch let error as BindingError {
            // What is missing from nothing is everything.
            return try AutoencoderDC(config, source: source(error.missing), label: "random")
        }
        preconditionFailure("an autoencoder without tensors")
    }

    static func config(_ json: String) throws -> AutoencoderDCConfig {
        let document = try JSONScanner.parse(json)
        return try AutoencoderDCConfig(json: document, file: "config.json")
    }

    private static func source(_ tensors: [BindingError.Missing]) throws -> SafetensorsFile {
        var builder = SafetensorsBuilder()
        for tensor in tensors {
            if tensor.name.hasSuffix("num_batches_tracked") {
                builder.add(tensor.name, .i64, [], bytes: [UInt8](repeating: 1, count: 8))
                continue
            }
            let count = tensor.shape.reduce(1, *)
            let inputs = Float(max(1, tensor.shape.dropFirst().reduce(1, *)))
            let isVector = tensor.shape.count == 1
            let center: Float = isVector && !tensor.name.hasSuffix("bias") ? 1 : 0
            let spread = isVector ? 0.3 : 2 / inputs.squareRoot()
            builder.add(
                tensor.name, tensor.shape,
                noise(count, tensor.name.utf8.reduce(7) { $0 &* 31 &+ UInt32($1) }).map {
                    center + spread * $0
                })
        }
        return try SafetensorsFile(content: ByteView(builder.file), path: "random")
    }

    /// Numbers between −1 and 1.
    static func noise(_ count: Int, _ seed: UInt32) -> [Float] {
        var state = seed
        return (0..<count).map { _ in
            state = state &* 1_664_525 &+ 1_013_904_223
            return Float(Int32(bitPattern: state)) / Float(Int32.max)
        }
    }

    static func input(_ shape: [Int]) -> DenseTensor {
        DenseTensor(shape: shape, values: FloatBuffer(noise(shape.reduce(1, *), 99)))
    }
}

extension DenseTensor {
    var bitPatterns: [UInt32] { (0..<count).map { values.pointer[$0].bitPattern } }
}

/// Keeps nothing, but reads activations, so that every one comes to be.
final class ReadingProbe: LayerProbe {
    func begin(_ path: String) {}
    func end(_ path: String, _ outputs: [Activation]) {}
}
