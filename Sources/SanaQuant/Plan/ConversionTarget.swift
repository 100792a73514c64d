import SanaModel

/// What a checkpoint is converted to.
public enum ConversionTarget: String, Sendable, CaseIterable {
    case fp16, bf16, fp32
    /// One byte a weight and one fp32 scale per output channel, where the rules say so; the rest as
    /// it was.
    case int8

    /// The type of converted tensors.
    public var dtype: DType {
        switch self {
        case .fp16: .f16
        case .bf16: .bf16
        case .fp32: .f32
        case .int8: .i8
        }
    }
}

/// What becomes of one tensor.
public enum TensorConversion: Sendable, Equatable {
    /// The same bytes.
    case keep
    /// Another float type, rounded to nearest even.
    case cast(DType)
    /// `X.weight` I8 in its own shape and `X.scale` F32 `[out, 1, …]`: w = q · scale, q in
    /// −127…127.
    case int8PerChannel
}
