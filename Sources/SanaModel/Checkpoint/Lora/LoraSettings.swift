/// How strongly the pairs of a LoRA file count, as peft and diffusers store it with them.
///
/// Sources: peft's `LoraConfig` (0.21), which peft writes as `adapter_config.json` and diffusers as
/// `lora_adapter_metadata` in the header of the weights, keys of the latter with the component's
/// name in front.
struct LoraSettings {
    private let json: JSONValue
    private let prefix: String
    /// Where the settings stand, for messages.
    private let file: String

    private static let components = ["transformer", "text_encoder"]
    static let metadataKey = "lora_adapter_metadata"
    static let configName = "adapter_config.json"

    /// Settings of peft that make the product something else.
    private static let switches = ["fan_in_fan_out", "use_qalora", "use_bdlora", "lora_bias"]
    private static let variants = [
        "alora_invocation_tokens", "kasa_config", "monteclora_config", "velora_config",
        "arrow_config", "layer_replication",
    ]

    /// The settings in the file's header, else those in `adapter_config.json` beside it; `nil` when
    /// there are none.
    ///
    /// - Parameter component: name of the component that the adapter is for, in a pipeline.
    /// - Throws: `BadDataError` for JSON that is broken, and for adapters that are more than a
    ///   product of two matrices.
    init?(of weights: SafetensorsFile, component: String) throws {
        let text = weights.header.metadata.first { $0.key == Self.metadataKey }?.value
        let beside = weights.path.parentFolder.appendingPath(Self.configName)
        if let text {
            json = try JSONFile.parse(
                ByteView(Array(text.utf8)), path: weights.path, allowsNonFinite: true)
            file = weights.path
        } else if beside.pathExists {
            (json, file) = (try JSONFile.read(beside, allowsNonFinite: true), beside)
        } else {
            return nil
        }
        guard let members = json.members else {
            throw BadDataError(file: file, reason: "settings of the LoRA are not a JSON object")
        }
        // Settings of one component say nothing of another.
        let isShared = !members.contains { member in
            Self.components.contains { member.key.hasPrefix($0 + ".") }
        }
        prefix = isShared ? "" : component + "."
        try checkKind()
    }

    private func value(_ key: String) -> JSONValue? {
        json[prefix + key].flatMap { $0 == .null ? nil : $0 }
    }

    private func checkKind() throws {
        func refuse(_ reason: String) -> BadDataError {
            BadDataError(
                file: file, reason: reason,
                remedy: "fuse it in Python with diffusers' fuse_lora, then convert the result")
        }
        for key in Self.switches where value(key)?.bool == true {
            throw refuse("is not a plain LoRA: it has \(key)")
        }
        for key in Self.variants where value(key) != nil {
            throw refuse("is not a plain LoRA: it has \(key)")
        }
        if let type = value("peft_type"), !["LORA", "LOHA", "LOKR"].contains(type.string) {
            throw refuse("is of type \(type.text().printable), not LORA, LOHA or LOKR")
        }
        if let start = value("init_lora_weights")?.string,
            ["pissa", "olora", "corda", "loftq", "lora_ga"].contains(where: start.hasPrefix)
        {
            throw refuse("starts from changed base weights (\(start.printable))")
        }
    }

    /// The factor of a module's product.
    ///
    /// - Parameter rank: of its matrices, which must be the one that the settings say.
    func scale(of module: String, rank: Int) throws -> Double {
        if let expected = try number("r", pattern: "rank_pattern", module),
            expected != Double(rank)
        {
            throw BadDataError(
                file: file,
                reason:
                    "module '\(module.printable)' has rank \(rank), not \(expected) as the settings say",
                remedy: "use the settings that were saved with the weights")
        }
        guard let alpha = try alpha(of: module) else { return 1 }
        let isRootScaled = value("use_rslora")?.bool == true
        return alpha / (isRootScaled ? Double(rank).squareRoot() : Double(rank))
    }

    /// The alpha of a module; `nil` when the settings have none.
    func alpha(of module: String) throws -> Double? {
        try number("lora_alpha", pattern: "alpha_pattern", module)
    }

    /// A number for a module: that of the pattern that fits its name, else that of all.
    private func number(_ key: String, pattern: String, _ module: String) throws -> Double? {
        for member in value(pattern)?.members ?? [] {
            // peft takes the key for a regular expression for the end of the name; diffusers writes
            // whole names behind a ^.
            guard let expression = BoundedExpression("(?:.*\\.)?(?:\(member.key))") else {
                throw BadDataError(
                    file: file,
                    reason: "\(pattern) has '\(member.key.printable)', which is not a regular "
                        + "expression",
                    remedy: "list the module names instead")
            }
            guard let isMatch = expression.matches(module) else {
                throw BadDataError(
                    file: file,
                    reason:
                        "\(pattern) has '\(member.key.printable)', which takes too long to match",
                    remedy: "list the module names instead")
            }
            if isMatch { return try finite(member.value, pattern) }
        }
        return try value(key).map { try finite($0, key) }
    }

    private func finite(_ value: JSONValue, _ key: String) throws -> Double {
        guard let number = value.double, Float(number).isFinite else {
            throw BadDataError(
                file: file,
                reason: "\(key) holds \(value.text().printable), not an fp32 number",
                remedy: "use the settings that were saved with the weights")
        }
        return number
    }
}
