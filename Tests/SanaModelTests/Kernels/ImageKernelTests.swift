import CSanaKernels
import Foundation
import Testing

/// Kernels for the pixels of images: every instruction set against the portable twin, bit for bit,
/// and the twin against plain arithmetic in fp64.
struct ImageKernelTests {
    private func values(_ count: Int, seed: UInt32) -> [Float] {
        var state = seed
        return (0..<count).map { index in
            state = state &* 1_664_525 &+ 1_013_904_223
            return Float(Int32(bitPattern: state)) / Float(Int32.max) * [0.1, 1, 9][index % 3]
        }
    }

    private func expectTwins(_ name: String, _ body: (sk_kernels) -> [Float]) -> [Float] {
        let expected = body(KernelTests.portable)
        for set in KernelTests.others {
            #expect(
                body(set).map(\.bitPattern) == expected.map(\.bitPattern),
                "\(name) of \(String(cString: set.name))")
        }
        return expected
    }

    private func expectNear(_ actual: [Float], _ expected: [Double], within limit: Double = 1e-6) {
        for (value, reference) in zip(actual, expected) {
            #expect(abs(Double(value) - reference) <= limit * max(1, abs(reference)))
        }
    }

    @Test(arguments: [1, 3, 16, 31, 128, 513])
    func norms(_ n: Int) {
        let (x, w, b, r) = (
            values(n, seed: 1), values(n, seed: 2), values(n, seed: 3), values(n, seed: 4)
        )
        let power = x.reduce(0) { $0 + Double($1) * Double($1) } / Double(n)
        for residual in [false, true] {
            let result = expectTwins("rms_norm_add") { set in
                var y = [Float](repeating: 0, count: n)
                r.withUnsafeBufferPointer {
                    set.rms_norm_add(x, w, b, residual ? $0.baseAddress : nil, &y, n, 1e-5)
                }
                return y
            }
            expectNear(
                result,
                (0..<n).map {
                    Double(x[$0]) / (power + 1e-5).squareRoot() * Double(w[$0]) + Double(b[$0])
                        + (residual ? Double(r[$0]) : 0)
                }, within: 3e-6)
        }
        let clipped = expectTwins("at_least") { set in
            var y = [Float](repeating: 0, count: n)
            set.at_least(x, w, &y, n)
            return y
        }
        #expect(clipped == zip(x, w).map { max($0, $1) })
    }

    @Test func activations() {
        let x = (-400...400).map { Float($0) * 0.1 } + [100, -100, 1e30, -1e30]
        func run(_ kernel: @escaping (sk_kernels, UnsafeMutablePointer<Float>) -> Void) -> (
            sk_kernels
        )
            -> [Float]
        {
            { set in
                var y = x
                y.withUnsafeMutableBufferPointer {
                    if let start = $0.baseAddress { kernel(set, start) }
                }
                return y
            }
        }
        let gelu = expectTwins("gelu", run { $0.gelu($1, x.count) })
        expectNear(gelu, x.map { 0.5 * Double($0) * (1 + erf(Double($0) / 2.0.squareRoot())) })
        let mish = expectTwins("mish", run { $0.mish($1, x.count) })
        expectNear(
            mish,
            x.map { value in
                let v = Double(value)
                return v * tanh(v > 30 ? v : log1p(exp(v)))
            })
    }

    @Test(arguments: [1, 2, 3, 8]) func gatheredMeans(_ group: Int) {
        let n = 37
        let (x, y) = (values(n * group, seed: 5), values(n, seed: 6))
        let index = (0..<n * group).map { Int32($0 * 7 % (n * group)) }
        let result = expectTwins("add_gathered") { set in
            var sums = y
            set.add_gathered(&sums, x, index, group, n)
            return sums
        }
        expectNear(
            result,
            (0..<n).map { i in
                let total = (0..<group).reduce(0.0) { $0 + Double(x[Int(index[i * group + $1])]) }
                return Double(y[i]) + total / Double(group)
            })
    }

    @Test(arguments: [(1, 1, 5), (3, 2, 33), (5, 9, 40), (7, 3, 64)])
    func depthwiseRows(_ kernel: Int, _ width: Int, _ channels: Int) {
        let rows = (0..<kernel).map { values(width * channels, seed: UInt32($0 + 1)) }
        let weight = values(kernel * kernel * channels, seed: 50)
        // The first row, but of a kernel of one, lies outside of the image.
        let absent = kernel > 1 ? 1 : 0
        let result = expectTwins("depthwise_row") { set in
            var y = [Float](repeating: -1, count: width * channels)
            let buffers = rows.map { row in
                let copy = UnsafeMutablePointer<Float>.allocate(capacity: row.count)
                copy.update(from: row, count: row.count)
                return copy
            }
            defer { buffers.forEach { $0.deallocate() } }
            let lines = buffers.enumerated().map { $0 < absent ? nil : UnsafePointer($1) }
            set.depthwise_row(lines, kernel, width, channels, weight, &y)
            return y
        }
        var expected: [Double] = []
        for x in 0..<width {
            for c in 0..<channels {
                var sum = 0.0
                for dy in absent..<kernel {
                    for dx in 0..<kernel where (0..<width).contains(x + dx - kernel / 2) {
                        sum +=
                            Double(rows[dy][(x + dx - kernel / 2) * channels + c])
                            * Double(weight[(dy * kernel + dx) * channels + c])
                    }
                }
                expected.append(sum)
            }
        }
        expectNear(result, expected, within: 1e-5)
    }

    @Test(arguments: [(1, 1, 1), (15, 40, 33), (30, 1025, 7), (14, 96, 96)])
    func addedProductsGoOnFromWhatIsThere(_ tokens: Int, _ columns: Int, _ rows: Int) {
        let (x, w) = (values(tokens * columns, seed: 7), values(rows * columns, seed: 8))
        let start = values(tokens * rows, seed: 9)
        let result = expectTwins("multiply_add_f32") { set in
            var panel = [Float](repeating: 0, count: set.panel_floats(rows, columns))
            set.pack_f32(w, rows, columns, columns, &panel)
            var y = start
            set.multiply_add_f32(
                x, columns, tokens, columns, panel, rows, &y, rows, nil, 0)
            return y
        }
        for token in 0..<tokens {
            for row in 0..<rows {
                var (sum, size) = (Double(start[token * rows + row]), 1.0)
                for column in 0..<columns {
                    let term =
                        Double(x[token * columns + column]) * Double(w[row * columns + column])
                    (sum, size) = (sum + term, size + abs(term))
                }
                #expect(abs(Double(result[token * rows + row]) - sum) <= 1e-6 * size)
            }
        }
    }
}
