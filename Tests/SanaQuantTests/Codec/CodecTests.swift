import SanaModel
import SanaTestSupport
import Testing

@testable import SanaQuant

@Suite struct CodecTests {
    private func cast(
        _ values: [Float], to dtype: DType
    ) throws -> (bits: [UInt16], statistics: ConversionStatistics) {
        let memory = RawMemory(count: values.count * 2)
        let statistics = try values.withUnsafeBytes {
            try Codec.cast($0, from: .f32, memory.bytes, to: dtype, Codec.Scratch())
        }
        return (
            (0..<values.count).map { memory.bytes.load(fromByteOffset: 2 * $0, as: UInt16.self) },
            statistics
        )
    }

    private func quantize(
        _ values: [Float], rows: Int, from first: Int = 0, count: Int? = nil,
        _ method: Int8Scales = .absmax
    ) throws -> (q: [Int8], scales: [Float], statistics: ConversionStatistics) {
        let memory = RawMemory(count: count ?? values.count - first)
        let scratch = Codec.Scratch()
        let scales = try values.withUnsafeBytes {
            try Codec.scales(method, of: ByteView($0), .f32, rows: rows, scratch)
        }
        let statistics = try values.withUnsafeBytes {
            try Codec.quantize(
                $0, .f32, from: first, columns: values.count / rows, scales: scales, memory.bytes,
                scratch)
        }
        return (memory.bytes.map { Int8(bitPattern: $0) }, scales.values, statistics)
    }

    @Test func castCountsWhatItChangesClipsAndFlushes() throws {
        let (bits, statistics) = try cast(
            [1, -0.0, 70000, -1e30, 1e-9, 1 + 0x1p-12, 65504, 0x1p-24], to: .f16)
        #expect(bits == [0x3C00, 0x8000, 0x7BFF, 0xFBFF, 0, 0x3C00, 0x7BFF, 0x0001])
        #expect(statistics.changed == 4)
        #expect(statistics.clipped == 2)
        #expect(statistics.flushed == 1)
        #expect(statistics.elements == 8)
        #expect(!statistics.isExact)
    }

    @Test func castOfValuesTheTypeHoldsIsExact() throws {
        let (_, statistics) = try cast([0, 1, -2.5, 65504, 0x1p-14, 0x1p-17], to: .f16)
        #expect(statistics.isExact)
        #expect(statistics.relativeRMS == 0)
        #expect(statistics.maxError == 0)
    }

    @Test func relativeRMSAndMaxErrorAreThoseOfTheDefinition() throws {
        let (_, statistics) = try cast([1, 1 + 0x1p-12], to: .f16)
        let (error, reference) = (0x1p-12, (1 + (1 + 0x1p-12) * (1 + 0x1p-12)).squareRoot())
        #expect(abs(statistics.relativeRMS - error / reference) < 1e-15)
        #expect(statistics.maxError == error)
    }

    @Test func bfloat16SaturatesInsteadOfBecomingInfinite() throws {
        let (bits, statistics) = try cast([.greatestFiniteMagnitude, 1], to: .bf16)
        #expect(bits == [0x7F7F, 0x3F80])
        #expect(statistics.clipped == 1)
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity])
    func nonFiniteValueIsRefusedWithItsIndex(value: Float) throws {
        var values = [Float](repeating: 1, count: Codec.blockCount + 50)
        values[Codec.blockCount + 7] = value
        let expected = NonFiniteValue(element: Codec.blockCount + 7)
        #expect(throws: expected) { try cast(values, to: .f16) }
        #expect(throws: expected) { try quantize(values, rows: 2) }
        #expect(throws: expected) {
            try values.withUnsafeBytes { try Codec.checkFinite($0, .f32, Codec.Scratch()) }
        }
    }

    @Test func int8ScalesEachRowByItsLargestMagnitude() throws {
        let (q, scales, _) = try quantize([127, -63.5, 0, 0.5, -254, 2], rows: 2)
        #expect(scales == [1, 2])
        // 63.5 is a tie and goes to even; 0.25 rounds to 0; the largest of each row becomes ±127.
        #expect(q == [127, -64, 0, 0, -127, 1])
    }

    @Test func int8RowOfZerosOrOfDenormalsGetsScaleOne() throws {
        let tiny = Float.leastNonzeroMagnitude * 7
        let (q, scales, statistics) = try quantize([0, 0, tiny, -tiny, 1, 0.5], rows: 3)
        #expect(scales[0] == 1)
        #expect(scales[1] == 1)
        #expect(q[0..<4].allSatisfy { $0 == 0 })
        #expect(statistics.flushed == 2)
    }

    @Test func int8PieceThatStartsAndEndsInsideRowsEqualsThatPartOfTheWhole() throws {
        let values = (0..<70).map { (index: Int) -> Float in Float(index * 37 % 23 + index / 7) - 11
        }
        let whole = try quantize(values, rows: 10)
        let piece = try quantize(values, rows: 10, from: 5, count: 40)
        #expect(piece.q == Array(whole.q[5..<45]))
        #expect(piece.scales == whole.scales)
    }

    /// Σ (w − q·s)² of each row, by its definition.
    private func rowErrors(
        _ values: [Float], rows: Int, _ method: Int8Scales
    ) throws -> [Double] {
        let (q, scales, _) = try quantize(values, rows: rows, method)
        #expect(q.allSatisfy { $0 >= -127 })
        #expect(scales.allSatisfy { $0 > 0 })
        #expect(scales.allSatisfy { $0.isFinite })
        let columns = values.count / rows
        return (0..<rows).map { row in
            (row * columns..<(row + 1) * columns).reduce(0) { sum, index in
                let error = Double(Float(q[index]) * scales[row]) - Double(values[index])
                return sum + error * error
            }
        }
    }

    @Test(arguments: [1, 2, 7, 64, 1000, Codec.blockCount + 5])
    func searchedScalesAreNeverWorseThanAbsmaxAndOftenBetter(columns: Int) throws {
        var generator = SplitMix64(seed: UInt64(columns))
        let rows = 12
        // Sums of uniform numbers, some rows with an outlier, of magnitudes from 2⁻⁴⁰ to 2³⁸.
        let values = (0..<rows * columns).map { index -> Float in
            let row = index / columns
            let value = (0..<4).reduce(Float(0)) { sum, _ in
                sum + Float.random(in: -1...1, using: &generator)
            }
            let isOutlier = row % 3 == 0 && index % columns == 0
            return (isOutlier ? 30 : value)
                * Float(sign: .plus, exponent: row * 7 - 40, significand: 1)
        }
        let absmax = try rowErrors(values, rows: rows, .absmax)
        let searched = try rowErrors(values, rows: rows, .squaredError)
        for (row, (old, new)) in zip(absmax, searched).enumerated() {
            #expect(new <= old, "row \(row)")
        }
        guard columns > 2 else { return }
        #expect(zip(absmax, searched).contains { $1 < $0 })
        if columns >= 64 { #expect(zip(absmax, searched).count { $1 < 0.999 * $0 } > rows / 2) }
    }

    @Test func searchedScalesOfRowsThatLeaveNothingToSearch() throws {
        let tiny = Float.leastNonzeroMagnitude * 7
        let large = Float.greatestFiniteMagnitude
        let values = [0, 0, 0, tiny, -tiny, 0, 127, -64, 3, large, -large, large / 3]
        let (q, scales, _) = try quantize(values, rows: 4, .squaredError)
        #expect(scales[0] == 1)
        #expect(scales[1] == 1)
        #expect(scales[2] == 1)
        #expect(Array(q[0..<9]) == [0, 0, 0, 0, 0, 0, 127, -64, 3])
        #expect((Float(127) * scales[3]).isFinite)
        #expect(throws: NonFiniteValue(element: 5)) {
            try quantize([1, 2, 3, 4, 5, .nan], rows: 2, .squaredError)
        }
    }

    @Test func int8RowLongerThanABlockHasOneScale() throws {
        var values = [Float](repeating: 0.5, count: Codec.blockCount * 2 + 3)
        values[values.count - 1] = 127
        let (q, scales, statistics) = try quantize(values, rows: 1)
        #expect(scales == [1])
        #expect(q.dropLast().allSatisfy { $0 == 0 })
        #expect(q.last == 127)
        #expect(statistics.flushed == values.count - 1)
    }
}
