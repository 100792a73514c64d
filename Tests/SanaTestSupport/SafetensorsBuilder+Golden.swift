import SanaModel

extension SafetensorsBuilder {
    /// A golden without hashes of the tensors it was recorded from, which the fixtures may have.
    public func withoutTensorHashes() throws -> SafetensorsBuilder {
        var builder = self
        let contract = try JSONScanner.parse(builder.metadata["contract"] ?? "")
        let weights = (contract["weights"]?.members ?? []).filter { $0.key != "tensors" }
        builder.metadata["contract"] = contract.setting("weights", to: .object(weights)).text()
        return builder
    }
}
