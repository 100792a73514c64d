import SanaModel

extension ComputeMode {
    /// How weights meet activations, for records; see `LoadedModel.compute`.
    func name(hasInt8: Bool) -> String {
        hasInt8 || self == .bf16 ? oldName : "fp32"
    }

    /// What old builds understand.
    package var oldName: String {
        switch self {
        case .fp32: "w8a16"
        case .bf16: "bf16"
        case .int8: "w8a8"
        }
    }
}
