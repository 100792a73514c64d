import CSanaKernels
import Foundation
import Testing

/// Passes of a text encoder: every instruction set against the portable twin, bit for bit, and the
/// twin against fp64.
struct TextKernelTests {
    nonisolated(unsafe) private static let portable = sk_kernels_portable().pointee

    private func values(_ count: Int, seed: Int, special: Bool = false) -> [Float] {
        var state = UInt32(truncatingIfNeeded: 977 + seed * 7919 + count)
        return (0..<count).map { index in
            state = state &* 1_664_525 &+ 1_013_904_223
            let unit = Float(Int32(bitPattern: state)) / Float(Int32.max)
            if special, index % 7 == 3 {
                return [.infinity, -.infinity, .nan, -0.0, 0.625, 1e-30][index / 7 % 6]
            }
            return unit * [0.01, 0.7, 5, 300][index % 4]
        }
    }

    private func run(
        _ x: [Float], _ body: (UnsafeMutablePointer<Float>) -> Void
    ) -> [Float] {
        var copy = x
        copy.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { body(base) } }
        return copy
    }

    private func results(_ set: sk_kernels, _ n: Int) -> [[Float]] {
        let (x, y) = (values(n, seed: 0, special: true), values(n, seed: 1))
        let pairs = n / 2
        return [
            run(x) { set.multiply($0, y, n) },
            run(x) { set.gated_gelu(y, x, $0, n) },
            run(x) { set.gated_gelu(y, $0, $0, n) },
            run(x) { set.rms_norm($0, y, $0, n, 1e-6) },
            run(x) { set.soft_cap($0, 0.3, 50, n) },
            run(x) { set.rotate($0, y, y.reversed(), pairs) },
        ]
    }

    @Test(
        "instruction sets agree to the bit",
        arguments: [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 257, 1152])
    func twins(_ n: Int) {
        let expected = results(Self.portable, n)
        for other in KernelTests.others {
            for (ours, theirs) in zip(results(other, n), expected) {
                #expect(
                    zip(ours, theirs).allSatisfy {
                        $0.bitPattern == $1.bitPattern || $0.isNaN && $1.isNaN
                    })
            }
        }
    }

    @Test("the cap is within 3 ulp of tanh, odd, and keeps NaN")
    func cap() {
        let x = values(20_000, seed: 3) + [0, -0.0, 0.625, -0.625, 9.1, 1e-20, 1e30, .infinity]
        let y = run(x) { Self.portable.soft_cap($0, 1, 1, x.count) }
        for (x, y) in zip(x, y) {
            let exact = Float(tanh(Double(x)))
            #expect(abs(y - exact) <= 3 * exact.ulp, "\(x)")
        }
        let negative = run(x.map { -$0 }) { Self.portable.soft_cap($0, 1, 1, x.count) }
        #expect(zip(y, negative).allSatisfy { $0 == -$1 })
        #expect(run([.nan]) { Self.portable.soft_cap($0, 1, 50, 1) }[0].isNaN)
        // Scaled, divided, bent and scaled again, as transformers does.
        let capped = run([100]) { Self.portable.soft_cap($0, 0.25, 50, 1) }[0]
        #expect(abs(capped - Float(50 * tanh(0.5))) < 1e-5)
    }

    @Test("rotation turns the pairs of the two halves, products are element by element")
    func arithmetic() {
        let angles: [Double] = [0.1, 2, -3]
        let turned = run([1, 2, 3, 4, 5, 6]) {
            Self.portable.rotate(
                $0, angles.map { Float(cos($0)) }, angles.map { Float(sin($0)) }, 3)
        }
        for (index, angle) in angles.enumerated() {
            let (a, b) = (Double(index + 1), Double(index + 4))
            #expect(abs(Double(turned[index]) - (a * cos(angle) - b * sin(angle))) < 1e-6)
            #expect(abs(Double(turned[index + 3]) - (b * cos(angle) + a * sin(angle))) < 1e-6)
        }
        #expect(run([2, -3]) { Self.portable.multiply($0, [4, 5], 2) } == [8, -15])
        let gates = values(500, seed: 5)
        let alone = run(gates) { Self.portable.gelu_tanh($0, 500) }
        let up = values(500, seed: 6)
        let gated = zip(alone, up).map { $0 * $1 }
        #expect(run(up) { Self.portable.gated_gelu(up, gates, $0, 500) } == gated)
        #expect(run(gates) { Self.portable.gated_gelu(up, $0, $0, 500) } == gated)
    }
}
