import SanaModel

extension Problem {
    /// What is wrong with how weights are quantized.
    init(_ finding: QuantizationFinding) {
        self.init(
            finding.kind == .unsupported ? .quantizationUnsupported : .quantizationMismatch,
            finding.location, finding.reason, remedy: finding.remedy)
    }
}

extension BindingError {
    /// A problem for each tensor, worded as in torch and diffusers.
    var problems: [Problem] {
        missing.map {
            Problem(
                .tensorMissing, $0.name,
                "missing keys: the configuration calls for \($0.shape), but there is none")
        }
            + unexpected.map {
                Problem(
                    .tensorUnexpected, $0,
                    "unexpected keys: the configuration has no place for this tensor")
            }
            + mismatched.map {
                let types = $0.expectedTypes.map(\.rawValue).joined(separator: "/")
                return Problem(
                    .tensorMisshapen, $0.tensor.name,
                    "size mismatch for \($0.tensor.name.printable): the file has "
                        + "\($0.tensor.dtype.rawValue) \($0.tensor.shape), the configuration "
                        + "calls for \(types) \($0.expectedShape)")
            }
    }
}
