/// An element type with the name that the safetensors format gives it.
///
/// Source: safetensors 0.8, `Dtype` (all 22 names are parsed; see `isReadable` for those with a
/// meaning here).
public enum DType: String, Sendable, CaseIterable, Codable {
    case bool = "BOOL"
    case f4 = "F4"
    case f6e2m3 = "F6_E2M3"
    case f6e3m2 = "F6_E3M2"
    case u8 = "U8"
    case i8 = "I8"
    case f8e5m2 = "F8_E5M2"
    case f8e4m3 = "F8_E4M3"
    case f8e8m0 = "F8_E8M0"
    case f8e4m3fnuz = "F8_E4M3FNUZ"
    case f8e5m2fnuz = "F8_E5M2FNUZ"
    case i16 = "I16"
    case u16 = "U16"
    case f16 = "F16"
    case bf16 = "BF16"
    case i32 = "I32"
    case u32 = "U32"
    case f32 = "F32"
    case c64 = "C64"
    case f64 = "F64"
    case i64 = "I64"
    case u64 = "U64"

    /// Bits an element takes.
    public var bitWidth: Int {
        switch self {
        case .f4: 4
        case .f6e2m3, .f6e3m2: 6
        case .bool, .u8, .i8, .f8e5m2, .f8e4m3, .f8e8m0, .f8e4m3fnuz, .f8e5m2fnuz: 8
        case .i16, .u16, .f16, .bf16: 16
        case .i32, .u32, .f32: 32
        case .c64, .f64, .i64, .u64: 64
        }
    }

    /// The floating-point types of weights that the model can compute from.
    static let floatWeights: Set<DType> = [.f32, .f16, .bf16]

    /// Whether the type is a floating-point weight that the model can compute from.
    public var isFloatWeight: Bool { self == .f32 || self == .f16 || self == .bf16 }

    /// Bytes that `shape` takes in this type; `nil` when the product overflows, a dimension is
    /// negative, or the elements do not fill whole bytes.
    public func byteCount(shape: [Int]) -> Int? {
        var bits = bitWidth
        for dimension in shape {
            guard dimension >= 0 else { return nil }
            let (product, overflow) = bits.multipliedReportingOverflow(by: dimension)
            guard !overflow else { return nil }
            bits = product
        }
        return bits % 8 == 0 ? bits / 8 : nil
    }
}
