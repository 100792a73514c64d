import SanaModel

extension ComputeMode {
    /// How weights meet activations, for records; see `LoadedModel.compute`.
    func name(hasInt8: Bool) -> String {
        hasInt8 ? oldName : products(isInt8: false).rawValue
    }

    /// What old builds understand, of the modes that they have.
    package var oldName: String {
        switch self {
        case .fp32: "w8a16"
        case .bf16: "bf16"
        case .int8: "w8a8"
        case .int8BF16: "w8a8-bf16"
        }
    }

    /// What `--compute` calls the mode of a record, for people; other names as they are.
    package static func label(ofRecord name: String) -> String {
        allCases.first { $0.oldName == name }?.rawValue ?? name
    }
}
