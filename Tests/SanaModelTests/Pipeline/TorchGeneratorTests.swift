import SanaTestSupport
import Testing

@testable import SanaModel

/// Random numbers against torch's.
struct TorchGeneratorTests {
    @Test("the generator of the CPU draws what torch draws, draw after draw")
    func cpu() throws {
        let file = try ArithmeticGolden()
        var seeds = 0
        for number in 0..<4 {
            let names = file.names.filter { $0.hasPrefix("randn.\(number).") }.sorted()
            let first = try #require(names.first)
            let seed = try #require(UInt64(first.split(separator: ".")[2]))
            var generator = TorchGenerator(seed: seed)
            for name in names {
                let golden = try file.floats(name)
                // Of a large draw the end is kept.
                let shape = golden.count == 1000 ? [1, 32, 32, 32] : golden.shape
                let drawn = try generator.normal(shape: shape)
                let start = drawn.count - golden.count
                for index in 0..<golden.count {
                    let (ours, torch) = (
                        drawn.values.pointer[start + index], golden.values.pointer[index]
                    )
                    #expect(abs(ours - torch) <= 2e-6 * max(1, abs(torch)), "\(name) \(index)")
                }
            }
            seeds += 1
        }
        #expect(seeds == 4)
    }

    @Test("the generator of a GPU draws what torch draws there")
    func cuda() throws {
        // torch.randn of a CUDA generator with seed 0.
        var generator = TorchGenerator(seed: 0, device: .cuda)
        let first = try generator.normal(shape: [3, 4])
        let torch = [
            -0.92466259, -0.42534415, -2.6438457, 0.14518388, -0.12086647, -0.57972564,
            -0.62285122, -0.32838709, -1.07454231, -0.36314407, -1.67105067, 2.26550497,
        ]
        for (index, value) in torch.enumerated() {
            #expect(abs(Double(first.values.pointer[index]) - value) < 1e-6)
        }
        let second = try generator.normal(shape: [3, 4])
        #expect(first.values.pointer[0] != second.values.pointer[0])
        #expect(throws: InputError.self) { try generator.normal(shape: [1, 32, 64, 64]) }
    }
}

/// What torch, diffusers and Pillow made, from `fixtures/pipelines/arithmetic.safetensors`.
struct ArithmeticGolden {
    private let file: SafetensorsFile
    let names: [String]

    init() throws {
        file = try SafetensorsFile(path: Fixtures.path + "/pipelines/arithmetic.safetensors")
        names = file.tensors.map(\.name)
    }

    func floats(_ name: String) throws -> DenseTensor {
        let info = try #require(file.info(name))
        let values = try #require(try file.bytes(of: info).widened(from: info.dtype))
        return DenseTensor(shape: info.shape, values: values)
    }

    /// A picture `[height, width, 3]`.
    func picture(_ name: String) throws -> Picture {
        let info = try #require(file.info(name))
        return Picture(
            width: info.shape[1], height: info.shape[0],
            pixels: try file.bytes(of: info).withUnsafeBytes { Array($0) })
    }

    func rows(_ name: String) throws -> [[Int]] {
        let info = try #require(file.info(name))
        let width = info.shape[1]
        return try file.bytes(of: info).withUnsafeBytes { bytes in
            (0..<info.shape[0]).map { row in
                (0..<width).map {
                    Int(
                        bytes.loadUnaligned(
                            fromByteOffset: 8 * (row * width + $0), as: Int64.self))
                }
            }
        }
    }
}
