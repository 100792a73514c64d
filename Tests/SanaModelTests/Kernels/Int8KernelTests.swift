import CSanaKernels
import Foundation
import Testing

@testable import SanaModel

/// Products of int8 weights with int8 activations: every instruction set against plain integer
/// arithmetic.
struct Int8KernelTests {
    struct Shape: Sendable { let tokens: Int, columns: Int, rows: Int }

    /// Around the tiles (6 tokens × 16 rows, 12 × 32), blocks of 48 and 96 tokens, groups of two
    /// and four columns, and the 64 columns that are packed at once.
    static let shapes: [Shape] = [
        [1, 1, 1], [1, 2, 16], [2, 3, 17], [5, 31, 15], [6, 32, 16], [7, 33, 192], [47, 5, 31],
        [49, 64, 33], [100, 129, 48], [1, 2241, 7], [12, 63, 32], [13, 65, 64], [97, 130, 47],
        [200, 192, 96], [0, 8, 8], [3, 0, 4], [4, 8, 0],
    ].map { Shape(tokens: $0[0], columns: $0[1], rows: $0[2]) }

    private struct Case {
        let weights: [Int8]
        /// Of each token, which all have a largest value of 127: rounding then changes none.
        let values: [Int8]
        let tokenScale: [Float]
        let rowScale: [Float]
        let bias: [Float]

        /// Full-range weights and activations.
        init(_ shape: Shape) {
            var state = UInt64(shape.tokens * 31 + shape.columns * 7 + shape.rows + 1)
            func next() -> Int {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return Int(state >> 33)
            }
            weights = (0..<shape.rows * shape.columns).map { _ in Int8(next() % 255 - 127) }
            values = (0..<shape.tokens * shape.columns).map {
                $0 % shape.columns == 0 ? 127 : Int8(next() % 255 - 127)
            }
            tokenScale = (0..<shape.tokens).map { _ in Float(next() % 1000 + 1) / 777 }
            rowScale = (0..<shape.rows).map { _ in Float(next() % 1000 + 1) / 333 }
            bias = (0..<shape.rows).map { _ in Float(next() % 2000 - 1000) / 99 }
        }
    }

    private func product(
        _ set: sk_kernels, _ data: Case, _ shape: Shape,
        bias: Bool
    ) -> [Float] {
        // Bytes beyond each end, to see what is written there.
        let guardBytes = 64
        var panel = [UInt8](
            repeating: 99, count: set.panel_bytes(shape.rows, shape.columns) + 2 * guardBytes)
        panel.withUnsafeMutableBytes {
            if let start = $0.baseAddress {
                set.pack_i8(data.weights, shape.rows, shape.columns, start + guardBytes)
            }
        }
        #expect(panel.prefix(guardBytes).allSatisfy { $0 == 99 })
        #expect(panel.suffix(guardBytes).allSatisfy { $0 == 99 })
        let tokenBytes = set.token_bytes(shape.columns)
        var tokens = [UInt8](repeating: 99, count: shape.tokens * tokenBytes + guardBytes)
        tokens.withUnsafeMutableBytes { target in
            guard let start = target.baseAddress else { return }
            for token in 0..<shape.tokens {
                let x = data.values[token * shape.columns..<(token + 1) * shape.columns]
                let scale = set.quantize_token(
                    x.map(Float.init), shape.columns, start + token * tokenBytes)
                #expect(scale == (shape.columns > 0 ? 1 : 0))
            }
        }
        #expect(tokens.suffix(guardBytes).allSatisfy { $0 == 99 })
        // Rows of y lie three floats apart from each other.
        let stride = shape.rows + 3
        var y = [Float](repeating: -1, count: shape.tokens * stride)
        panel.withUnsafeBytes { panel in
            tokens.withUnsafeBytes { tokens in
                y.withUnsafeMutableBufferPointer { y in
                    guard let panel = panel.baseAddress, let target = y.baseAddress else { return }
                    data.bias.withUnsafeBufferPointer { values in
                        set.multiply_i8(
                            tokens.baseAddress, shape.tokens, shape.columns, panel + guardBytes,
                            shape.rows, data.tokenScale, data.rowScale,
                            bias ? values.baseAddress : nil, target, stride,
                            tokens.baseAddress, bias ? tokens.count : 0)
                    }
                }
            }
        }
        return y
    }

    @Test(arguments: shapes) func sumsAreExact(_ shape: Shape) {
        let data = Case(shape)
        for hasBias in [false, true] {
            var expected = [Float](repeating: -1, count: shape.tokens * (shape.rows + 3))
            for token in 0..<shape.tokens {
                for row in 0..<shape.rows {
                    let sum = (0..<shape.columns).reduce(0) {
                        $0 + Int(data.values[token * shape.columns + $1])
                            * Int(data.weights[row * shape.columns + $1])
                    }
                    let value = Float(sum) * data.tokenScale[token] * data.rowScale[row]
                    expected[token * (shape.rows + 3) + row] =
                        hasBias ? value + data.bias[row] : value
                }
            }
            for set in [KernelTests.portable] + KernelTests.others {
                #expect(product(set, data, shape, bias: hasBias) == expected)
            }
        }
    }

    /// A token's steps, read through a product with the identity.
    private func rounded(
        _ values: [Float], _ set: sk_kernels
    ) -> (scale: Float, steps: [Float]) {
        let count = values.count
        var identity = [Int8](repeating: 0, count: count * count)
        for index in 0..<count { identity[index * count + index] = 1 }
        var panel = [UInt8](repeating: 0, count: set.panel_bytes(count, count) + 1)
        set.pack_i8(identity, count, count, &panel)
        var token = [UInt8](repeating: 55, count: set.token_bytes(count) + 1)
        let scale = set.quantize_token(values, count, &token)
        #expect(token.last == 55)
        var steps = [Float](repeating: 0, count: count + 1)
        let ones = [Float](repeating: 1, count: count + 1)
        set.multiply_i8(token, 1, count, panel, count, ones, ones, nil, &steps, count, nil, 0)
        return (scale, Array(steps.dropLast()))
    }

    @Test func tokensAreRoundedToTheNearestStep() {
        let cases: [[Float]] = [
            [], [0, 0, 0], [1], [-127, 63.5, 0.5, 1.5, 127], [1e-30, -3e-31], [3e38, -1e38],
            [.nan, 1], [1, .infinity, 2], [Float(bitPattern: 7), 0],
            (0..<77).map { Float($0 * $0 % 19) - 9.25 },
        ]
        for values in cases {
            for set in [KernelTests.portable] + KernelTests.others {
                let rounded = self.rounded(values, set)
                let scale = rounded.scale
                guard values.allSatisfy(\.isFinite) else {
                    #expect(scale.isNaN)
                    #expect(rounded.steps.allSatisfy { $0 == 0 })
                    continue
                }
                let maximum = values.map(abs).max() ?? 0
                #expect(scale == (maximum > 1e-36 ? maximum / 127 : 0))
                for (value, step) in zip(values, rounded.steps) where scale > 0 {
                    let exact = Double(value) / Double(maximum) * 127
                    #expect(abs(Double(step) - exact) <= 0.5 + 1e-4)
                }
            }
        }
    }

    /// The layer as a whole: rounding errors of the size that 8 bits give, alike for every number
    /// of threads, and NaN handed on.
    @Test func linearLayerInInt8IsCloseAndIndependentOfThreads() {
        let (tokens, columns, rows) = (530, 77, 200)
        let bytes = ByteView((0..<rows * columns).map { UInt8(truncatingIfNeeded: $0 * 37 % 251) })
        let scale = FloatBuffer((0..<rows).map { 0.001 + Float($0) * 1e-5 })
        let weight = Weight(
            storage: .int8(bytes, scale: scale), rows: rows, columns: columns)
        let bias = FloatBuffer((0..<rows).map { Float($0) / 100 })
        let x = Matrix(rows: tokens, columns: columns)
        for index in 0..<x.count { x.pointer[index] = sin(Float(index)) }
        func run(_ compute: ComputeMode, threads: Int) -> [Float] {
            let y = Matrix(rows: tokens, columns: rows)
            ForwardContext(workers: WorkerPool(threadCount: threads), compute: compute)
                .multiply(x, weight, bias: bias, into: y)
            return y.values
        }
        let integer = run(.int8, threads: 1)
        #expect(integer == run(.int8, threads: 3))
        let dequantized = run(.fp32, threads: 2)
        let error = zip(integer, dequantized).reduce(0) { $0 + pow(Double($1.0 - $1.1), 2) }
        let power = dequantized.reduce(0) { $0 + pow(Double($1), 2) }
        #expect(error > 0)
        #expect(error / power < 1e-4)
        x.pointer[5 * columns + 1] = .nan
        let broken = run(.int8, threads: 2)
        for token in 0..<tokens {
            #expect(broken[token * rows].isNaN == (token == 5))
        }
    }
}
