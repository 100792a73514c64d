import CSanaKernels
import Foundation
import SanaTestSupport
import Testing

@testable import SanaModel

/// Products of values rounded to bf16: every instruction set against chains of fp32 products of the
/// rounded values, bit for bit, with whatever values floats can have.
struct RoundedProductTests {
    struct Shape: Sendable { let tokens: Int, columns: Int, rows: Int }

    /// Around the tiles, blocks that are packed at once, pairs of columns, and chains of 2048;
    /// tokens of 2048 and 4096 columns are copied.
    static let shapes: [Shape] = [
        [1, 1, 1], [5, 2, 7], [14, 64, 32], [15, 63, 33], [29, 511, 31], [3, 513, 64],
        [30, 1025, 40], [16, 1021, 16], [2, 33, 96], [57, 1152, 64], [3, 2049, 33], [2, 4095, 32],
        [17, 2048, 40], [15, 4096, 8], [0, 4, 4], [4, 0, 4],
        [4, 4, 0],
    ].map { Shape(tokens: $0[0], columns: $0[1], rows: $0[2]) }

    /// What values are like: of a model, of any magnitude with denormals, or any bits at all.
    enum Values: CaseIterable { case plain, anyMagnitude, anyBits }

    /// How weights lie before they are packed.
    enum Layout: CaseIterable { case rows, bfloat16, columns }

    private static let gap = 3

    private static func values(_ count: Int, _ kind: Values, seed: Int) -> [Float] {
        var state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1
        func next() -> UInt32 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt32(state >> 32)
        }
        return (0..<count).map { _ in
            let plain = Float(Int32(bitPattern: next())) / Float(1 << 30)
            guard kind != .plain, next() % 4 == 0 else { return plain }
            let wild = Float(bitPattern: next())
            // Sums of them stay finite.
            return kind == .anyBits || abs(wild) < 1e15 ? wild : plain
        }
    }

    /// As bf16_products_body.h defines it.
    private static func rounded(_ x: Float) -> Float {
        if x.isNaN { return x }
        if abs(x) < 0x1p-56 { return 0 }
        return Float(bitPattern: (x.bitPattern + 0x7FFF + (x.bitPattern >> 16 & 1)) & 0xFFFF_0000)
    }

    /// y with gaps of −1, and what was written beyond the ends of tokens and panel.
    private func product(
        _ set: sk_kernels, _ shape: Shape, x: [Float], weights: [Float], bias: [Float]?,
        _ layout: Layout, adding: Bool
    ) -> [Float] {
        let (columns, rows) = (shape.columns, shape.rows)
        let length = (layout == .columns ? rows : columns) + Self.gap
        let lines = layout == .columns ? columns : rows
        var spaced = [Float](repeating: .nan, count: lines * length + 1)
        for row in 0..<rows {
            for column in 0..<columns {
                spaced[layout == .columns ? column * length + row : row * length + column] =
                    weights[row * columns + column]
            }
        }
        let guardBytes = 64
        func watched(_ count: Int, _ fill: (UnsafeMutableRawPointer) -> Void) -> [UInt8] {
            var memory = [UInt8](repeating: 99, count: count + guardBytes)
            memory.withUnsafeMutableBytes { if let start = $0.baseAddress { fill(start) } }
            #expect(memory.suffix(guardBytes).allSatisfy { $0 == 99 })
            return memory
        }
        let panel = watched(set.rounded_panel_bytes(rows, columns)) { panel in
            switch layout {
            case .rows: set.pack_rounded_f32(spaced, rows, columns, length, panel)
            case .columns: set.pack_rounded_columns(spaced, rows, columns, length, panel)
            case .bfloat16:
                let halves = spaced.map { UInt16(Self.rounded($0).bitPattern >> 16) }
                set.pack_rounded_bf16(halves, rows, columns, length, panel)
            }
        }
        var spacedTokens = [Float](repeating: .nan, count: shape.tokens * (columns + Self.gap) + 1)
        for token in 0..<shape.tokens {
            for column in 0..<columns {
                spacedTokens[token * (columns + Self.gap) + column] = x[token * columns + column]
            }
        }
        let bytes = set.rounded_bytes(columns)
        let tokens = watched(shape.tokens * bytes) {
            set.round_tokens(spacedTokens, columns + Self.gap, shape.tokens, columns, $0)
        }
        var y = [Float](repeating: -1, count: shape.tokens * (rows + Self.gap) + 1)
        if adding {
            set.multiply_add_rounded(
                tokens, bytes, shape.tokens, columns, panel, rows, &y, rows + Self.gap, nil, 0)
        } else {
            (bias ?? []).withUnsafeBufferPointer { values in
                set.multiply_rounded(
                    tokens, bytes, shape.tokens, columns, panel, rows,
                    bias == nil ? nil : values.baseAddress, &y, rows + Self.gap, nil, 0)
            }
        }
        return y
    }

    private func expected(
        _ shape: Shape, x: [Float], weights: [Float], bias: [Float]?, adding: Bool
    ) -> [Float] {
        let (columns, rows) = (shape.columns, shape.rows)
        let (x, weights) = (x.map(Self.rounded), weights.map(Self.rounded))
        let chains = (columns + 2047) / 2048
        let chain = chains > 0 ? ((columns + chains - 1) / chains + 1) / 2 * 2 : 2
        var y = [Float](repeating: -1, count: shape.tokens * (rows + Self.gap) + 1)
        for token in 0..<shape.tokens {
            for row in 0..<rows {
                let place = token * (rows + Self.gap) + row
                var total = adding ? y[place] : bias?[row]
                for start in stride(from: 0, to: columns, by: chain) {
                    var sum: Float = 0
                    for column in start..<min(start + chain, columns) {
                        sum.addProduct(
                            x[token * columns + column], weights[row * columns + column])
                    }
                    total = total.map { sum + $0 } ?? sum
                }
                y[place] = total ?? 0
            }
        }
        return y
    }

    @Test(.tags(.slow), arguments: shapes, Values.allCases)
    func sumsAreThoseOfTheRoundedValuesToTheBit(_ shape: Shape, _ kind: Values) {
        let x = Self.values(shape.tokens * shape.columns, kind, seed: 1)
        let weights = Self.values(shape.rows * shape.columns, kind, seed: 2)
        let bias = Self.values(shape.rows, .plain, seed: 3)
        for (bias, adding) in [(bias, false), (nil, false), (nil, true)] as [([Float]?, Bool)] {
            let expected = expected(shape, x: x, weights: weights, bias: bias, adding: adding)
            for set in [KernelTests.portable] + KernelTests.others {
                for layout in Layout.allCases {
                    let result = product(
                        set, shape, x: x, weights: weights, bias: bias, layout, adding: adding)
                    let same = zip(result, expected).allSatisfy {
                        $0.bitPattern == $1.bitPattern || ($0.isNaN && $1.isNaN)
                    }
                    #expect(same, "\(String(cString: set.name)) \(layout), adding \(adding)")
                }
            }
        }
    }

    /// A layer with weights of every storage: near the fp32 product, alike for every number of
    /// threads and every set of kernels, and the same whether bf16 weights are stored as bf16 or as
    /// fp32.
    @Test func layersAreCloseAndIndependentOfThreadsAndStorage() {
        let (tokens, columns, rows) = (530, 77, 200)
        let values = Self.values(rows * columns, .plain, seed: 4).map(Self.rounded)
        let x = Matrix(
            FloatBuffer(Self.values(tokens * columns, .plain, seed: 5)), rows: tokens,
            columns: columns)
        let storages: [Weight.Storage] = [
            .bfloat16(
                ByteView(
                    values.flatMap { value in
                        [16, 24].map { UInt8(truncatingIfNeeded: value.bitPattern >> $0) }
                    })),
            .float32(
                ByteView(
                    values.flatMap { value in
                        [0, 8, 16, 24].map { UInt8(truncatingIfNeeded: value.bitPattern >> $0) }
                    })),
        ]
        func run(_ compute: ComputeMode, _ storage: Weight.Storage, threads: Int) -> [Float] {
            let y = Matrix(rows: tokens, columns: rows)
            let weight = Weight(storage: storage, rows: rows, columns: columns)
            ForwardContext(workers: WorkerPool(threadCount: threads), compute: compute)
                .multiply(x, weight, bias: nil, into: y)
            return y.values
        }
        let exact = run(.fp32, storages[0], threads: 1)
        let first = run(.bf16, storages[0], threads: 1)
        for (storage, threads) in [(storages[0], 3), (storages[1], 1), (storages[1], 2)] {
            #expect(run(.bf16, storage, threads: threads) == first)
        }
        let error = zip(first, exact).reduce(0) { $0 + pow(Double($1.0 - $1.1), 2) }
        let power = exact.reduce(0) { $0 + pow(Double($1), 2) }
        #expect(error / power > 1e-7)
        #expect(error / power < 1e-5)
    }
}
