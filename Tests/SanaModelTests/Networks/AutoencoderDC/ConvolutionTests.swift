import SanaTestSupport
import Testing

@testable import SanaModel

/// 3×3 convolutions against their definition in fp64.
struct ConvolutionTests {
    struct Case: Sendable {
        let sampling: Convolution3x3.Sampling
        let height: Int
        let width: Int
        let channels: (input: Int, output: Int)
    }

    /// Around edges that are copied, segments, panels and squares.
    static let cases: [Case] = table.map {
        Case(sampling: $0.0, height: $0.1, width: $0.2, channels: $0.3)
    }
    private static let table: [(Convolution3x3.Sampling, Int, Int, (input: Int, output: Int))] = [
        (.none, 1, 1, (3, 5)), (.none, 5, 2, (4, 33)), (.none, 3, 150, (7, 4)),
        (.none, 9, 31, (3, 100)), (.none, 1, 1, (32, 32)), (.none, 5, 7, (33, 40)),
        (.none, 6, 300, (32, 97)), (.halved, 1, 1, (3, 5)), (.halved, 7, 9, (5, 34)),
        (.halved, 4, 270, (3, 8)), (.interpolated, 1, 1, (3, 5)), (.interpolated, 3, 2, (40, 33)),
        (.interpolated, 3, 140, (5, 9)), (.shuffled, 1, 1, (3, 5)), (.shuffled, 4, 131, (33, 6)),
        (.halved, 7, 9, (6, 34)), (.halved, 4, 270, (4, 8)), (.interpolated, 3, 140, (6, 9)),
        (.shuffled, 4, 131, (34, 6)),
    ]

    private func scope(_ weight: [Float], _ bias: [Float], _ channels: Int) throws -> WeightScope {
        var builder = SafetensorsBuilder()
        builder.add("weight", [bias.count, channels, 3, 3], weight)
        builder.add("bias", [bias.count], bias)
        let file = try SafetensorsFile(content: ByteView(builder.file), path: "convolution")
        return WeightScope(file, label: "convolution")
    }

    /// The convolution's output at a pixel before its channels are shuffled.
    private func sum(
        _ x: [Float], _ weight: [Float], _ item: Case, _ row: Int, _ column: Int, _ channel: Int
    ) -> Double {
        let factor = item.sampling == .interpolated ? 2 : 1
        let (height, width) = (item.height * factor, item.width * factor)
        var sum = 0.0
        for tap in 0..<9 {
            let (y, x0) = (row + tap / 3 - 1, column + tap % 3 - 1)
            guard (0..<height).contains(y), (0..<width).contains(x0) else { continue }
            let pixel = (y / factor * item.width + x0 / factor) * item.channels.input
            for input in 0..<item.channels.input {
                sum +=
                    Double(x[pixel + input])
                    * Double(weight[(channel * item.channels.input + input) * 9 + tap])
            }
        }
        return sum
    }

    @Test(arguments: cases, [ComputeMode.fp32, .bf16])
    func matchesItsDefinition(_ item: Case, _ compute: ComputeMode) throws {
        let (input, output) = item.channels
        let rows = item.sampling == .shuffled ? 4 * output : output
        let weight = RandomAutoencoder.noise(rows * input * 9, 3)
        let bias = RandomAutoencoder.noise(rows, 4)
        let values = RandomAutoencoder.noise(item.height * item.width * input, 5)
        let convolution = try Convolution3x3(
            scope(weight, bias, input), in: input, out: output, sampling: item.sampling)
        let (height, width) = (
            convolution.outputSize(item.height), convolution.outputSize(item.width)
        )
        let y = Matrix(rows: height * width, columns: output)
        let context = ForwardContext(workers: WorkerPool(threadCount: 2), compute: compute)
        context.convolve(
            Matrix(FloatBuffer(values), rows: item.height * item.width, columns: input),
            convolution, into: y,
            TokenGrid(batch: 1, height: item.height, width: item.width))
        var (error, power) = (0.0, 0.0)
        for pixel in 0..<height * width {
            let (row, column) = (pixel / width, pixel % width)
            for channel in 0..<output {
                let expected: Double
                switch item.sampling {
                case .none, .interpolated:
                    expected =
                        sum(values, weight, item, row, column, channel) + Double(bias[channel])
                case .halved:
                    expected =
                        sum(values, weight, item, 2 * row, 2 * column, channel)
                        + Double(bias[channel])
                case .shuffled:
                    let stored = 4 * channel + row % 2 * 2 + column % 2
                    expected =
                        sum(values, weight, item, row / 2, column / 2, stored)
                        + Double(bias[stored])
                }
                let difference = Double(y.row(pixel)[channel]) - expected
                (error, power) = (error + difference * difference, power + expected * expected)
            }
        }
        let isRounded = compute == .bf16 && input % 2 == 0
        #expect((error / power).squareRoot() < (isRounded ? 1e-2 : 6e-7))
        #expect(!isRounded || error / power > 1e-8)
    }
}
