/// How GGUF stores values: floats, or blocks of integers with scales.
///
/// Source: gguf 0.17, `quants.py`, whose order of operations in fp32 this keeps; ggml's
/// `ggml-quants.c` for what the bits mean.
enum GGUFType: UInt32 {
    case f32 = 0
    case f16 = 1
    case q40 = 2
    case q41 = 3
    case q50 = 6
    case q51 = 7
    case q80 = 8
    case q2K = 10
    case q3K = 11
    case q4K = 12
    case q5K = 13
    case q6K = 14
    case iq4NL = 20
    case iq4XS = 23
    case bf16 = 30

    /// The plain type that values are stored in; `nil` for blocks.
    var dtype: DType? {
        switch self {
        case .f32: .f32
        case .f16: .f16
        case .bf16: .bf16
        default: nil
        }
    }

    /// Values of a block.
    var blockCount: Int {
        switch self {
        case .f32, .f16, .bf16: 1
        case .q40, .q41, .q50, .q51, .q80, .iq4NL: 32
        case .q2K, .q3K, .q4K, .q5K, .q6K, .iq4XS: 256
        }
    }

    /// Bytes of a block.
    var blockByteCount: Int {
        switch self {
        case .f32: 4
        case .f16, .bf16: 2
        case .q40, .iq4NL: 18
        case .q41: 20
        case .q50: 22
        case .q51: 24
        case .q80: 34
        case .q2K: 84
        case .q3K: 110
        case .q4K: 144
        case .q5K: 176
        case .q6K: 210
        case .iq4XS: 136
        }
    }

    var description: String { Self.name(rawValue) }

    /// What ggml calls a type.
    static func name(_ type: UInt32) -> String { names[type] ?? "type \(type)" }

    private static let names: [UInt32: String] = [
        0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1",
        10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS",
        17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S",
        23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16",
        34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
    ]

    /// Writes the values of one block.
    func decode(_ block: UnsafePointer<UInt8>, to output: UnsafeMutablePointer<Float>) {
        switch self {
        case .f32, .f16, .bf16: break
        case .q80:
            let scale = Self.half(block)
            for index in 0..<32 {
                output[index] = Float(Int8(bitPattern: block[2 + index])) * scale
            }
        case .q40:
            let scale = Self.half(block)
            Self.nibbles(block + 2) { output[$0] = scale * Float($1 - 8) }
        case .q41:
            let (scale, minimum) = (Self.half(block), Self.half(block + 2))
            Self.nibbles(block + 4) { output[$0] = scale * Float($1) + minimum }
        case .q50:
            let scale = Self.half(block)
            Self.nibbles(block + 6) {
                output[$0] = scale * Float(($1 | (Self.bit(block + 2, $0) << 4)) - 16)
            }
        case .q51:
            let (scale, minimum) = (Self.half(block), Self.half(block + 2))
            Self.nibbles(block + 8) {
                output[$0] = scale * Float($1 | (Self.bit(block + 4, $0) << 4)) + minimum
            }
        case .iq4NL:
            let scale = Self.half(block)
            Self.nibbles(block + 2) { output[$0] = scale * Self.levels[$1] }
        case .q2K: Self.decodeQ2K(block, output)
        case .q3K: Self.decodeQ3K(block, output)
        case .q4K: Self.decodeQ45K(block, output, hasFifthBit: false)
        case .q5K: Self.decodeQ45K(block, output, hasFifthBit: true)
        case .q6K: Self.decodeQ6K(block, output)
        case .iq4XS: Self.decodeIQ4XS(block, output)
        }
    }

    // MARK: Pieces

    /// What the 4 bits of IQ4 stand for.
    private static let levels: [Float] = [
        -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
    ]

    private static func half(_ bytes: UnsafePointer<UInt8>) -> Float {
        Float(Float16(bitPattern: UInt16(bytes[0]) | UInt16(bytes[1]) << 8))
    }

    private static func bit(_ bytes: UnsafePointer<UInt8>, _ index: Int) -> Int {
        Int(bytes[index / 8] >> (index % 8) & 1)
    }

    /// The 32 values of 16 bytes: low halves first.
    private static func nibbles(_ bytes: UnsafePointer<UInt8>, _ body: (Int, Int) -> Void) {
        for index in 0..<16 {
            body(index, Int(bytes[index] & 15))
            body(index + 16, Int(bytes[index] >> 4))
        }
    }

    private static func decodeQ2K(
        _ block: UnsafePointer<UInt8>, _ output: UnsafeMutablePointer<Float>
    ) {
        let (scale, minimum) = (half(block + 80), half(block + 82))
        for group in 0..<16 {
            let packed = block[group]
            let (factor, offset) = (scale * Float(packed & 15), minimum * Float(packed >> 4))
            for index in 0..<16 {
                let value = group * 16 + index
                let byte = block[16 + value / 128 * 32 + value % 32]
                output[value] = factor * Float(byte >> (value % 128 / 32 * 2) & 3) - offset
            }
        }
    }

    private static func decodeQ3K(
        _ block: UnsafePointer<UInt8>, _ output: UnsafeMutablePointer<Float>
    ) {
        let (mask, values, scales) = (block, block + 32, block + 96)
        let scale = half(block + 108)
        for group in 0..<16 {
            let low = Int(scales[group % 8] >> (group / 8 * 4) & 15)
            let high = Int(scales[8 + group % 4] >> (group / 4 * 2) & 3)
            let factor = scale * Float((low | high << 4) - 32)
            for index in 0..<16 {
                let value = group * 16 + index
                let bits = Int(values[value / 128 * 32 + value % 32] >> (value % 128 / 32 * 2) & 3)
                let isSet = mask[value % 32] >> (value / 32) & 1 == 1
                output[value] = factor * Float(bits - (isSet ? 0 : 4))
            }
        }
    }

    /// Scale and minimum of a group of 32, 6 bits each.
    private static func scaleAndMinimum(
        _ scales: UnsafePointer<UInt8>, _ group: Int
    ) -> (Float, Float) {
        if group < 4 { return (Float(scales[group] & 63), Float(scales[group + 4] & 63)) }
        let (d, m, md) = (scales[group - 4], scales[group], scales[group + 4])
        return (Float(md & 15 | d >> 2 & 48), Float(md >> 4 | m >> 2 & 48))
    }

    private static func decodeQ45K(
        _ block: UnsafePointer<UInt8>, _ output: UnsafeMutablePointer<Float>, hasFifthBit: Bool
    ) {
        let (scale, minimum) = (half(block), half(block + 2))
        let (high, low) = (block + 16, block + (hasFifthBit ? 48 : 16))
        for group in 0..<8 {
            let (a, b) = scaleAndMinimum(block + 4, group)
            let (factor, offset) = (scale * a, minimum * b)
            for index in 0..<32 {
                var value = Int(low[group / 2 * 32 + index] >> (group % 2 * 4) & 15)
                if hasFifthBit { value |= Int(high[index] >> group & 1) << 4 }
                output[group * 32 + index] = factor * Float(value) - offset
            }
        }
    }

    private static func decodeQ6K(
        _ block: UnsafePointer<UInt8>, _ output: UnsafeMutablePointer<Float>
    ) {
        let (low, high, scales) = (block, block + 128, block + 192)
        let scale = half(block + 208)
        for value in 0..<256 {
            let (half, place) = (value / 128, value % 128)
            let bits = Int(low[half * 64 + place % 64] >> (place / 64 * 4) & 15)
            let upper = Int(high[half * 32 + place % 32] >> (place / 32 * 2) & 3)
            let factor = scale * Float(Int8(bitPattern: scales[value / 16]))
            output[value] = factor * Float((bits | upper << 4) - 32)
        }
    }

    private static func decodeIQ4XS(
        _ block: UnsafePointer<UInt8>, _ output: UnsafeMutablePointer<Float>
    ) {
        let scale = half(block)
        let high = Int(block[2]) | Int(block[3]) << 8
        for group in 0..<8 {
            let low = Int(block[4 + group / 2] >> (group % 2 * 4) & 15)
            let factor = scale * Float((low | (high >> (2 * group) & 3) << 4) - 32)
            nibbles(block + 8 + group * 16) { output[group * 32 + $0] = factor * levels[$1] }
        }
    }
}

extension StoredTensor {
    /// A tensor in blocks.
    ///
    /// - Parameters:
    ///   - blocks: of all rows, each of which is made of whole ones.
    ///   - columns: values of a row.
    init(_ info: TensorInfo, blocks: ByteView, recipe: String, type: GGUFType, columns: Int) {
        let width = columns / type.blockCount * type.blockByteCount
        let rows = EncodedRows(stored: blocks) { rows, target in
            let start = blocks.address.assumingMemoryBound(to: UInt8.self)
            for (index, row) in rows.enumerated() {
                for block in 0..<columns / type.blockCount {
                    type.decode(
                        start + row * width + block * type.blockByteCount,
                        to: target + index * columns + block * type.blockCount)
                }
            }
        }
        self.init(info, recipe: recipe, storedByteCount: blocks.count) { rows }
    }
}
