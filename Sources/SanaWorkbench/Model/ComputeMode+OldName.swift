import SanaModel

extension ComputeMode {
    /// What old builds understand.
    package var oldName: String {
        switch self {
        case .fp32: "w8a16"
        case .bf16: "bf16"
        case .int8: "w8a8"
        }
    }
}
