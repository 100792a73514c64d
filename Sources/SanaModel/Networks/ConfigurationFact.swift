/// What the shapes of tensors say that a key of a configuration is.
struct ConfigurationFact {
    let key: String
    /// As configured, or by default.
    let value: JSONValue
    let expected: JSONValue
    /// The tensor that says so.
    let tensor: String
}

extension NetworkConfiguration {
    /// The keys at fault where the tensors do not fit: a single one whose other value makes all of
    /// them fit, else those that do so together; none where nothing does.
    ///
    /// - Parameters:
    ///   - json: what the configuration was read from.
    ///   - facts: are asked for only where something does not fit.
    func disagreements(
        with source: any TensorSource, json: JSONValue?, facts: () -> [ConfigurationFact]
    ) -> [ConfigurationDisagreement] {
        guard let json, !fits(source) else { return [] }
        let wrong = facts().filter { $0.value != $0.expected }
        func mends(_ facts: [ConfigurationFact]) -> Bool {
            let json = facts.reduce(json) { $0.setting($1.key, to: $1.expected) }
            return (try? networkClass.readValues(json, file: ""))?.fits(source) ?? false
        }
        let single = wrong.first { mends([$0]) }
        return (single.map { [$0] } ?? (mends(wrong) ? wrong : [])).map { fact in
            ConfigurationDisagreement(
                key: fact.key, value: (json[fact.key] ?? fact.value).text(),
                expected: fact.expected.text(), tensor: fact.tensor,
                isStated: json[fact.key] != nil)
        }
    }

    /// Whether `source` has just the tensors that the configuration calls for.
    private func fits(_ source: any TensorSource) -> Bool {
        (try? check(source: source, label: "")) != nil
    }

    /// The configuration with what the shapes say in place of what they contradict; as it is where
    /// they do not say what it should be.
    ///
    /// - Parameter json: what it was read from.
    public func corrected(
        by disagreements: [ConfigurationDisagreement], json: JSONValue?
    ) -> any NetworkConfiguration {
        guard var json, !disagreements.isEmpty else { return self }
        for item in disagreements {
            guard let value = try? JSONScanner.parse(item.expected) else { return self }
            json = json.setting(item.key, to: value)
        }
        return (try? networkClass.readValues(json, file: "")) ?? self
    }
}
