import CSanaKernels
import Foundation
import Testing

/// Products of fp32 matrices: every instruction set against the definition of its sums, bit for
/// bit, and against fp64.
struct FloatProductTests {
    struct Shape: Sendable { let tokens: Int, columns: Int, rows: Int }

    /// Around the tiles (4, 6 and 14 tokens × 8, 16 and 32 rows), blocks that are transposed at
    /// once, and chains of 512 columns; tokens of 1021 and 2045 columns and the gap stand 4 KiB
    /// apart, or twice that, and are copied.
    static let shapes: [Shape] = [
        [1, 1, 1], [2, 3, 8], [3, 16, 9], [4, 17, 16], [5, 31, 17], [6, 32, 31], [7, 33, 32],
        [13, 64, 33], [14, 65, 64], [15, 100, 48], [16, 511, 40], [29, 512, 33], [1, 513, 96],
        [5, 1021, 8], [31, 1021, 40], [17, 2045, 33],
        [30, 1025, 7], [2, 2241, 35], [0, 8, 8], [3, 0, 4], [4, 8, 0],
    ].map { Shape(tokens: $0[0], columns: $0[1], rows: $0[2]) }

    private struct Case {
        let shape: Shape
        let weights, x, bias: [Float]

        init(_ shape: Shape) {
            self.shape = shape
            var state = UInt32(truncatingIfNeeded: shape.tokens * 31 + shape.columns + 1)
            func next() -> Float {
                state = state &* 1_664_525 &+ 1_013_904_223
                return Float(Int32(bitPattern: state)) / Float(Int32.max)
            }
            weights = (0..<shape.rows * shape.columns).map { _ in next() }
            x = (0..<shape.tokens * shape.columns).map { _ in next() }
            bias = (0..<shape.rows).map { _ in next() }
        }
    }

    /// How weights lie before they are packed.
    enum Layout: CaseIterable { case rows, columns }

    private static let gap = 3

    /// y with `gap` floats of −1 after each token, from weights with gaps of NaN and a panel with
    /// memory watched at both ends.
    private func product(
        _ set: sk_kernels, _ data: Case, _ layout: Layout, bias: Bool,
        tokens: Range<Int>? = nil
    ) -> [Float] {
        let shape = data.shape
        let range = tokens ?? 0..<shape.tokens
        let length = layout == .rows ? shape.columns : shape.rows
        let lines = layout == .rows ? shape.rows : shape.columns
        var spaced = [Float](repeating: .nan, count: lines * (length + Self.gap) + 1)
        for row in 0..<shape.rows {
            for column in 0..<shape.columns {
                let value = data.weights[row * shape.columns + column]
                switch layout {
                case .rows: spaced[row * (length + Self.gap) + column] = value
                case .columns: spaced[column * (length + Self.gap) + row] = value
                }
            }
        }
        let guardFloats = 16
        var panel = [Float](
            repeating: 99, count: set.panel_floats(shape.rows, shape.columns) + 2 * guardFloats)
        panel.withUnsafeMutableBufferPointer { panel in
            guard let start = panel.baseAddress else { return }
            let pack = layout == .rows ? set.pack_f32 : set.pack_columns_f32
            pack?(spaced, shape.rows, shape.columns, length + Self.gap, start + guardFloats)
        }
        #expect(panel.prefix(guardFloats).allSatisfy { $0 == 99 })
        #expect(panel.suffix(guardFloats).allSatisfy { $0 == 99 })
        let stride = shape.columns + Self.gap
        var x = [Float](repeating: .nan, count: range.count * stride + 1)
        for (index, token) in range.enumerated() {
            for column in 0..<shape.columns {
                x[index * stride + column] = data.x[token * shape.columns + column]
            }
        }
        var y = [Float](repeating: -1, count: range.count * (shape.rows + Self.gap) + 1)
        panel.withUnsafeBufferPointer { panel in
            data.bias.withUnsafeBufferPointer { values in
                guard let start = panel.baseAddress else { return }
                set.multiply_f32(
                    x, stride, range.count, shape.columns, start + guardFloats, shape.rows,
                    bias ? values.baseAddress : nil, &y, shape.rows + Self.gap, start,
                    bias ? panel.count * 4 : 0)
            }
        }
        return y
    }

    /// The sums as sana_kernels.h defines them.
    private func expected(_ data: Case, bias: Bool) -> [Float] {
        let shape = data.shape
        let chains = (shape.columns + 511) / 512
        // Whole pairs of columns.
        let chain = chains > 0 ? ((shape.columns + chains - 1) / chains + 1) / 2 * 2 : 2
        var y = [Float](repeating: -1, count: shape.tokens * (shape.rows + Self.gap) + 1)
        for token in 0..<shape.tokens {
            for row in 0..<shape.rows {
                var total = bias ? data.bias[row] : 0
                for start in stride(from: 0, to: shape.columns, by: chain) {
                    var sum: Float = 0
                    for column in start..<min(start + chain, shape.columns) {
                        sum.addProduct(
                            data.x[token * shape.columns + column],
                            data.weights[row * shape.columns + column])
                    }
                    total = start == 0 && !bias ? sum : sum + total
                }
                y[token * (shape.rows + Self.gap) + row] = total
            }
        }
        return y
    }

    @Test(arguments: shapes) func sumsAreThoseDefinedToTheBit(_ shape: Shape) {
        let data = Case(shape)
        for bias in [false, true] {
            let expected = expected(data, bias: bias)
            for set in [KernelTests.portable] + KernelTests.others {
                for layout in Layout.allCases {
                    let result = product(set, data, layout, bias: bias)
                    #expect(
                        result.map(\.bitPattern) == expected.map(\.bitPattern),
                        "\(String(cString: set.name)) \(layout), bias \(bias)")
                }
            }
        }
    }

    /// All bits, those of NaN too, from an odd address and with gaps between rows.
    @Test(arguments: [
        (1, 1), (3, 2), (7, 31), (8, 16), (15, 33), (16, 32), (17, 64), (31, 65), (32, 96),
        (33, 100), (48, 130), (96, 35), (4, 0),
    ])
    func bfloat16IsPackedAsItsWidenedValues(_ rows: Int, _ columns: Int) {
        let stride = columns + Self.gap
        var state: UInt32 = 7
        let bytes = (0..<2 * rows * stride + 1).map { _ -> UInt8 in
            state = state &* 1_664_525 &+ 1_013_904_223
            return UInt8(state >> 24)
        }
        var widened = [Float](repeating: 0, count: rows * stride)
        for set in [KernelTests.portable] + KernelTests.others {
            let floats = set.panel_floats(rows, columns)
            var expected = [Float](repeating: 99, count: floats + 16)
            var packed = expected
            bytes.withUnsafeBytes { bytes in
                guard let start = bytes.baseAddress else { return }
                set.widen_bf16(start + 1, &widened, widened.count)
                set.pack_bf16(start + 1, rows, columns, stride, &packed)
            }
            set.pack_f32(widened, rows, columns, stride, &expected)
            let isSame = packed.map(\.bitPattern) == expected.map(\.bitPattern)
            #expect(isSame, "\(String(cString: set.name))")
        }
    }

    @Test func aTokenIsItsOwn() {
        let data = Case(Shape(tokens: 31, columns: 700, rows: 45))
        for set in [KernelTests.portable] + KernelTests.others {
            let all = product(set, data, .rows, bias: true)
            for range in [0..<1, 5..<12, 13..<31] {
                let some = product(set, data, .rows, bias: true, tokens: range)
                let width = data.shape.rows + Self.gap
                let same = Array(all[range.lowerBound * width..<range.upperBound * width])
                #expect(Array(some.dropLast()) == same)
            }
        }
    }

    @Test func sumsAreNearThoseOfFP64() {
        let data = Case(Shape(tokens: 9, columns: 5600, rows: 20))
        let result = product(KernelTests.portable, data, .rows, bias: false)
        for token in 0..<9 {
            for row in 0..<20 {
                var sum = 0.0
                var magnitude = 0.0
                for column in 0..<5600 {
                    let term =
                        Double(data.x[token * 5600 + column])
                        * Double(data.weights[row * 5600 + column])
                    sum += term
                    magnitude += abs(term)
                }
                let error = abs(Double(result[token * (20 + Self.gap) + row]) - sum)
                #expect(error < 1e-6 * magnitude)
            }
        }
    }

    @Test func infinityAndNaNPassThrough() {
        var x = [Float](repeating: 1, count: 40)
        x[3] = .infinity
        x[25] = .nan
        let weights = [Float](repeating: 2, count: 20 * 17)
        for set in [KernelTests.portable] + KernelTests.others {
            var panel = [Float](repeating: 0, count: set.panel_floats(17, 20))
            set.pack_f32(weights, 17, 20, 20, &panel)
            var y = [Float](repeating: 0, count: 2 * 17)
            set.multiply_f32(x, 20, 2, 20, panel, 17, nil, &y, 17, nil, 0)
            #expect(y.prefix(17).allSatisfy { $0 == .infinity })
            #expect(y.suffix(17).allSatisfy { $0.isNaN })
        }
    }
}
