import CSanaKernels
import Testing

/// Transforms of squares: every instruction set against the portable twin, bit for bit. What they
/// compute together is tested as a convolution.
struct WinogradKernelTests {
    private func values(_ count: Int, seed: UInt32) -> [Float] {
        var state = seed
        return (0..<count).map { _ in
            state = state &* 1_664_525 &+ 1_013_904_223
            return Float(Int32(bitPattern: state)) / Float(Int32.max)
        }
    }

    private func expectTwins(_ name: String, _ body: (sk_kernels) -> [Float]) {
        let expected = body(KernelTests.portable)
        for set in KernelTests.others {
            #expect(
                body(set).map(\.bitPattern) == expected.map(\.bitPattern),
                "\(name) of \(String(cString: set.name))")
        }
    }

    /// Calls `body` with the addresses of parts of `x`, `nil` for those that are absent.
    private func withParts<Result>(
        of x: [Float], _ count: Int, length: Int, absent: Set<Int>,
        _ body: ([UnsafePointer<Float>?]) -> Result
    ) -> Result {
        x.withUnsafeBufferPointer { x in
            body(
                (0..<count).map { part in
                    absent.contains(part) ? nil : x.baseAddress.map { $0 + part * length }
                })
        }
    }

    @Test(arguments: [(1, 1), (5, 16), (8, 35), (9, 64)])
    func transformsAgree(_ width: Int, _ channels: Int) {
        let squares = (width + 1) / 2
        let x = values(4 * width * channels, seed: 1)
        let zeros = [Float](repeating: 0, count: channels)
        for absent in [[], [0], [2, 3]] as [Set<Int>] {
            expectTwins("winograd_input") { set in
                var y = [Float](repeating: -1, count: 16 * squares * channels)
                withParts(of: x, 4, length: width * channels, absent: absent) { lines in
                    set.winograd_input(
                        lines, width, channels, 0, squares, zeros, &y, squares * channels)
                }
                return y
            }
        }
        let m = values(16 * squares * channels, seed: 2)
        let bias = values(channels, seed: 3)
        for rows in 1...2 {
            expectTwins("winograd_output") { set in
                var y = [Float](repeating: -1, count: 2 * width * channels)
                y.withUnsafeMutableBufferPointer { y in
                    let lines = (0..<2).map { row in
                        row < rows ? y.baseAddress.map { $0 + row * width * channels } : nil
                    }
                    bias.withUnsafeBufferPointer {
                        set.winograd_output(
                            m, squares * channels, squares, channels,
                            rows == 1 ? nil : $0.baseAddress, lines, width, channels)
                    }
                }
                if rows == 1 { #expect(y.suffix(width * channels).allSatisfy { $0 == -1 }) }
                return y
            }
        }
        let taps = values(9 * channels, seed: 4)
        expectTwins("winograd_weights") { set in
            var y = [Float](repeating: -1, count: 16 * channels)
            set.winograd_weights(taps, channels, &y, channels)
            return y
        }
    }
}
