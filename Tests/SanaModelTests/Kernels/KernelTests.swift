import CSanaKernels
import Foundation
import Testing

/// Every instruction set against the portable twin, bit for bit, and the twin against plain
/// arithmetic in fp64.
struct KernelTests {
    nonisolated(unsafe) static let portable = sk_kernels_portable().pointee
    /// Lengths around the lanes of every vector width, and long rows.
    static let lengths = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 1152, 2241]

    /// The other sets that this processor runs.
    static var others: [sk_kernels] {
        sequence(state: 0) { (index: inout Int) in
            defer { index += 1 }
            return sk_kernels_at(index)?.pointee
        }.filter { String(cString: $0.name) != "portable" }
    }

    /// Values of all magnitudes, with zeros, infinities and NaN among them when asked for.
    private func values(_ count: Int, seed: Int = 0, special: Bool = false) -> [Float] {
        var state = UInt32(truncatingIfNeeded: 12345 + seed * 7919 + count)
        return (0..<count).map { index in
            state = state &* 1_664_525 &+ 1_013_904_223
            let unit = Float(Int32(bitPattern: state)) / Float(Int32.max)
            if special, index % 11 == 5 {
                return [.infinity, -.infinity, .nan, 0, -0.0, Float(bitPattern: 714), 3e38][
                    index / 11 % 7]
            }
            return unit * [0.01, 1, 30, 200][index % 4]
        }
    }

    private func same(_ a: [Float], _ b: [Float]) -> Bool {
        a.count == b.count
            && zip(a, b).allSatisfy { $0.bitPattern == $1.bitPattern || ($0.isNaN && $1.isNaN) }
    }

    /// Runs `body` with each set of kernels and expects the same floats.
    private func expectTwins(_ name: String, _ count: Int, _ body: (sk_kernels) -> [Float]) {
        let expected = body(Self.portable)
        for other in Self.others {
            #expect(
                same(body(other), expected),
                "\(name) of \(String(cString: other.name)), n = \(count)")
        }
    }

    @Test(arguments: lengths)
    func instructionSetsAgreeToTheBit(_ n: Int) {
        let (x, y, z) = (values(n, special: true), values(n, seed: 1), values(n, seed: 2))
        let bits = (0..<n).map { UInt16(truncatingIfNeeded: $0 &* 40503 &+ 77) }
        func inPlace(_ run: (UnsafeMutablePointer<Float>) -> Void) -> [Float] {
            var copy = x
            copy.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { run(base) } }
            return copy
        }
        func made(_ run: (UnsafeMutablePointer<Float>) -> Void) -> [Float] {
            var output = [Float](repeating: 0, count: n)
            output.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { run(base) } }
            return output
        }
        expectTwins("widen_bf16", n) { set in made { set.widen_bf16(bits, $0, n) } }
        expectTwins("widen_f16", n) { set in made { set.widen_f16(bits, $0, n) } }
        expectTwins("widen_i8", n) { set in
            made { set.widen_i8(bits.map { Int8(truncatingIfNeeded: $0) }, 0.37, $0, n) }
        }
        for narrow in [\sk_kernels.narrow_f16, \sk_kernels.narrow_bf16] {
            expectTwins("narrow", n) { set in
                var output = [UInt16](repeating: 0, count: n)
                set[keyPath: narrow]?(x, &output, n)
                return output.map { Float($0) }
            }
        }
        expectTwins("inexact_f16", n) { set in [Float(set.inexact_f16(x, n))] }
        expectTwins("largest_magnitude16", n) { set in [Float(set.largest_magnitude16(bits, n))] }
        expectTwins("quantize_i8", n) { set in
            var output = [Int8](repeating: 0, count: n)
            set.quantize_i8(y, 3.3, &output, n)
            return output.map { Float($0) }
        }
        expectTwins("absolute_maximum", n) { set in
            [set.absolute_maximum(y, n), set.absolute_maximum(x, n)]
        }
        expectTwins("relu", n) { set in inPlace { set.relu($0, n) } }
        expectTwins("silu", n) { set in inPlace { set.silu($0, n) } }
        expectTwins("gelu_tanh", n) { set in inPlace { set.gelu_tanh($0, n) } }
        expectTwins("clip", n) { set in inPlace { set.clip($0, 2, n) } }
        expectTwins("divide", n) { set in inPlace { set.divide($0, 3.7, n) } }
        expectTwins("modulate", n) { set in inPlace { set.modulate($0, y, z, n) } }
        expectTwins("affine", n) { set in inPlace { set.affine($0, y, z, n) } }
        expectTwins("add", n) { set in inPlace { set.add($0, y, n) } }
        expectTwins("add_gated", n) { set in inPlace { set.add_gated($0, y, z, n) } }
        expectTwins("gated_silu", n) { set in made { set.gated_silu(x, y, $0, n) } }
        expectTwins("layer_norm", n) { set in made { set.layer_norm(y, $0, n, 1e-6) } }
        expectTwins("rms_norm", n) { set in made { set.rms_norm(y, z, $0, n, 1e-5) } }
        expectTwins("softmax", n) { set in
            var copy = y
            copy.withUnsafeMutableBufferPointer {
                if let base = $0.baseAddress { set.softmax(base, z, 0.5, n) }
            }
            return copy
        }
        expectTwins("compare", n) { set in
            var sums = sk_comparison()
            set.compare(x, y, n, &sums)
            return [
                sums.squared_difference, sums.squared_reference, sums.squared_actual, sums.product,
                sums.absolute_difference, sums.max_difference, sums.max_actual, sums.max_reference,
                Double(sums.max_index), Double(sums.nonfinite), Double(sums.count),
            ].flatMap {
                [
                    Float(bitPattern: UInt32($0.bitPattern >> 32)),
                    Float(bitPattern: UInt32(truncatingIfNeeded: $0.bitPattern)),
                ]
            }
        }
    }

    @Test(arguments: lengths + [70001])
    func roundingIsMeasuredAlikeByAllSetsAndByDefinition(_ n: Int) {
        let old = values(n).enumerated().map { $0 % 13 == 2 ? 0 : $1 }
        // Every seventh value is flushed, every fifth is unchanged, others lose digits.
        let new = old.enumerated().map { index, value in
            index % 7 == 3 ? -0.0 : index % 5 == 1 ? value : Float(Float16(value))
        }
        func measure(_ set: sk_kernels) -> sk_rounding {
            var sums = sk_rounding()
            // In two parts: sums go on.
            let half = n / 2
            set.measure_rounding(new, old, 25, half, &sums)
            new.withUnsafeBufferPointer { new in
                old.withUnsafeBufferPointer { old in
                    guard let new = new.baseAddress, let old = old.baseAddress else { return }
                    set.measure_rounding(new + half, old + half, 25, n - half, &sums)
                }
            }
            return sums
        }
        let sums = measure(Self.portable)
        for other in Self.others.map(measure) {
            #expect(other.squared_difference.bitPattern == sums.squared_difference.bitPattern)
            #expect(other.squared_reference.bitPattern == sums.squared_reference.bitPattern)
            #expect(other.max_difference == sums.max_difference)
            #expect(other.changed == sums.changed)
            #expect(other.clipped == sums.clipped)
            #expect(other.flushed == sums.flushed)
        }
        let differences = zip(new, old).map { Double($0) - Double($1) }
        let error = differences.reduce(0) { $0 + $1 * $1 }
        let power = old.reduce(0) { $0 + Double($1) * Double($1) }
        #expect(abs(sums.squared_difference - error) <= 1e-12 * error)
        #expect(abs(sums.squared_reference - power) <= 1e-12 * power)
        #expect(sums.max_difference == differences.map(abs).max() ?? 0)
        #expect(sums.changed == zip(new, old).count { $0 != $1 })
        #expect(sums.clipped == old.count { abs($0) > 25 })
        #expect(sums.flushed == zip(new, old).count { $0 == 0 && $1 != 0 })
    }

    @Test(arguments: [(1, 1), (1, 5), (2, 16), (3, 33), (8, 640)])
    func depthwiseRowsAgreeAndMatchPlainConvolution(_ width: Int, _ channels: Int) {
        let rows = (0..<3).map { values(width * channels, seed: $0) }
        let (weight, bias) = (values(9 * channels, seed: 5), values(channels, seed: 6))
        let zeros = [Float](repeating: 0, count: 32)
        for mask in 0..<4 {
            let lines: [[Float]?] = [
                mask & 1 == 0 ? rows[0] : nil, rows[1], mask & 2 == 0 ? rows[2] : nil,
            ]
            func run(_ set: sk_kernels) -> [Float] {
                var output = [Float](repeating: 0, count: width * channels)
                func call(_ above: UnsafePointer<Float>?, _ below: UnsafePointer<Float>?) {
                    // In two parts, the first of which ends inside a vector.
                    let part = channels / 3
                    output.withUnsafeMutableBufferPointer { output in
                        for (start, count) in [(0, part), (part, channels - part)] {
                            guard let target = output.baseAddress else { return }
                            rows[1].withUnsafeBufferPointer { row in
                                weight.withUnsafeBufferPointer { weight in
                                    bias.withUnsafeBufferPointer { bias in
                                        set.depthwise3x3_row(
                                            above.map { $0 + start }, row.baseAddress! + start,
                                            below.map { $0 + start }, width, channels, count,
                                            weight.baseAddress! + start,
                                            bias.baseAddress! + start, zeros, target + start,
                                            channels)
                                    }
                                }
                            }
                        }
                    }
                }
                switch mask {
                case 0: call(rows[0], rows[2])
                case 1: call(nil, rows[2])
                case 2: call(rows[0], nil)
                default: call(nil, nil)
                }
                return output
            }
            expectTwins("depthwise3x3_row", width, run)
            let result = run(Self.portable)
            for x in 0..<width {
                for c in 0..<channels {
                    var (sum, size) = (Double(bias[c]), abs(Double(bias[c])))
                    for dy in 0..<3 {
                        for dx in 0..<3 {
                            guard let line = lines[dy], (0..<width).contains(x + dx - 1) else {
                                continue
                            }
                            let term =
                                Double(line[(x + dx - 1) * channels + c])
                                * Double(weight[(3 * dy + dx) * channels + c])
                            (sum, size) = (sum + term, size + abs(term))
                        }
                    }
                    #expect(abs(Double(result[x * channels + c]) - sum) <= 1e-6 * size)
                }
            }
        }
    }

    @Test func everyHalfWidensToItsValueAndBack() {
        let bits = (0...UInt16.max).map { $0 }
        var wide = [Float](repeating: 0, count: bits.count)
        Self.portable.widen_f16(bits, &wide, bits.count)
        var back = [UInt16](repeating: 0, count: bits.count)
        Self.portable.narrow_f16(wide, &back, bits.count)
        for pattern in bits {
            let expected = Self.half(pattern)
            let index = Int(pattern)
            #expect(wide[index] == expected || (wide[index].isNaN && expected.isNaN))
            #expect(back[index] == pattern || expected.isNaN)
        }
    }

    /// IEEE 754 binary16 by its definition.
    private static func half(_ bits: UInt16) -> Float {
        let (exponent, fraction) = (Int(bits >> 10 & 31), Double(bits & 1023))
        let sign: Double = bits >> 15 == 1 ? -1 : 1
        switch exponent {
        case 0: return Float(sign * fraction * 0x1p-24)
        case 31: return fraction == 0 ? Float(sign) * .infinity : .nan
        default: return Float(sign * (1 + fraction / 1024) * pow(2, Double(exponent - 15)))
        }
    }

    @Test func halvesRoundToNearestEven() {
        // 1 + 2⁻¹¹ lies between 1 and its successor, the tie goes to the even one; 65520 is the
        // first to overflow.
        let cases: [(Float, UInt16)] = [
            (1 + 0x1p-11, 0x3C00), (1 + 0x1.8p-10, 0x3C02), (1 + 0x1.1p-11, 0x3C01),
            (65519.996, 0x7BFF),
            (65520, 0x7C00), (0x1p-24, 1), (0x1p-25, 0), (0x1.8p-24, 2), (-0.0, 0x8000),
            (.infinity, 0x7C00),
        ]
        for (value, expected) in cases {
            var output: [UInt16] = [0]
            Self.portable.narrow_f16([value], &output, 1)
            #expect(output[0] == expected, "\(value)")
        }
    }

    @Test func valuesThatHalvesCannotHoldAreCounted() {
        let values: [Float] = [
            0, -0.0, 1, 65504, 0x1p-24, 0x1.FCp-17, .infinity, .nan,  // exact, or not to be counted
            65505, 0x1p-25, 0x1.FEp-18, 1 + 0x1p-11, 1e6,  // inexact
        ]
        #expect(Self.portable.inexact_f16(values, values.count) == 5)
    }

    @Test func everyBF16IsCountedAsItsFloatIs() {
        let bits = Array(UInt16.min...UInt16.max)
        let values = bits.map { Float(bitPattern: UInt32($0) << 16) }
        for set in [Self.portable] + Self.others {
            #expect(
                set.inexact_f16_of_bf16(bits, bits.count) == set.inexact_f16(values, values.count))
            for start in stride(from: 0, to: bits.count, by: 97) {
                let range = start..<min(start + 97, bits.count)
                let (some, floats) = (Array(bits[range]), Array(values[range]))
                #expect(
                    set.inexact_f16_of_bf16(some, some.count)
                        == set.inexact_f16(floats, floats.count))
            }
        }
    }

    @Test func magnitudesOf16BitsIgnoreTheSign() {
        let cases: [([UInt16], UInt16)] = [
            ([0x8001, 0x3F80, 0xC000], 0x4000), ([0xFF80, 0x7F7F], 0x7F80), ([], 0),
        ]
        for (bits, expected) in cases {
            #expect(Self.portable.largest_magnitude16(bits, bits.count) == expected)
        }
    }

    @Test func bf16RoundsToNearestEvenAndKeepsNaN() {
        let cases: [(Float, UInt16)] = [
            (1 + 0x1p-8, 0x3F80), (1 + 0x1.8p-7, 0x3F82), (1 + 0x1.02p-8, 0x3F81),
            (.greatestFiniteMagnitude, 0x7F80),
        ]
        for (value, expected) in cases {
            var output: [UInt16] = [0]
            Self.portable.narrow_bf16([value], &output, 1)
            #expect(output[0] == expected, "\(value)")
        }
        var output: [UInt16] = [0]
        Self.portable.narrow_bf16([Float(bitPattern: 0x7F80_0001)], &output, 1)
        #expect(output[0] & 0x7F80 == 0x7F80)
        #expect(output[0] & 0x7F != 0)
    }

    @Test func activationsAreWithinThreeUnitsOfFP64() {
        let x = (-2000...2000).map { Float($0) * 0.045 }
        var (silu, gelu) = (x, x)
        Self.portable.silu(&silu, x.count)
        Self.portable.gelu_tanh(&gelu, x.count)
        for (index, value) in x.enumerated() {
            let v = Double(value)
            let expected = v / (1 + exp(-v))
            // Below −88.7 the exponential leaves the range of fp32 and stays where it is: what is
            // left is next to nothing.
            #expect(
                abs(Double(silu[index]) - expected) <= 4e-7 * abs(expected) + 3e-37,
                "silu(\(value))")
            let tanh =
                0.5 * v * (1 + Foundation.tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)))
            #expect(abs(Double(gelu[index]) - tanh) <= 1e-6 * abs(tanh) + 3e-7, "gelu(\(value))")
        }
    }

    @Test func activationsEndWhereTheExponentialDoes() {
        for set in [Self.portable] + Self.others {
            var x: [Float] = [.infinity, .greatestFiniteMagnitude, 100, -100, -1e30, .nan]
            set.silu(&x, x.count)
            #expect(x[0] == .infinity)
            #expect(x[1] == .greatestFiniteMagnitude)
            #expect(x[2] == 100)
            #expect(x[3] <= 0)
            #expect(x[3] > -1e-36)
            #expect(x[4] <= 0)
            #expect(x[4] > -1e-7)
            #expect(x[5].isNaN)
        }
    }

    @Test func softmaxSumsToOneAndMasksToZero() {
        var x: [Float] = [1, 2, 3, 1000]
        let bias: [Float] = [0, 0, 0, -10000]
        Self.portable.softmax(&x, bias, 1, 4)
        #expect(x[3] == 0)
        #expect(abs(x[0] + x[1] + x[2] - 1) < 1e-6)
        #expect(abs(Double(x[1] / x[0]) - M_E) < 1e-6)
    }

    @Test func normsMatchTheirDefinition() {
        let x = values(2241)
        var y = [Float](repeating: 0, count: x.count)
        Self.portable.layer_norm(x, &y, x.count, 1e-6)
        let mean = x.reduce(0.0) { $0 + Double($1) } / Double(x.count)
        let variance =
            x.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / Double(x.count)
        for (value, result) in zip(x, y) {
            #expect(
                abs(Double(result) - (Double(value) - mean) / (variance + 1e-6).squareRoot()) < 2e-6
            )
        }
    }
}
