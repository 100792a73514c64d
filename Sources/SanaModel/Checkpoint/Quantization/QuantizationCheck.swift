/// Something about quantized weights that keeps them from being read as they are meant.
public struct QuantizationFinding: Sendable, Equatable {
    /// Why they cannot be read.
    public enum Kind: Sendable, Equatable {
        /// A method or recipe that cannot be read here.
        case unsupported
        /// Configuration and tensors say different things.
        case contradiction
    }

    public let kind: Kind
    /// A key of `config.json`, or a tensor.
    public let location: String
    public let reason: String

    /// What to do next.
    public var remedy: String {
        switch kind {
        case .unsupported:
            "use the float checkpoint it was made from; 'sana-tools convert --dtype int8' quantizes it"
        case .contradiction:
            "restore the config.json that was written with these weights, or the weights that belong to it"
        }
    }
}

/// Quantized weights that cannot be read, as one sentence.
public struct QuantizationError: DiagnosticError, Equatable {
    public let file: String
    public let finding: QuantizationFinding

    public init(file: String, finding: QuantizationFinding) {
        (self.file, self.finding) = (file, finding)
    }

    public var category: DiagnosticCategory { .badData }
    public var description: String { "\(file.printable): \(finding.reason)" }
    public var remedy: String? { finding.remedy }
    public var page: HelpPage? {
        switch finding.kind {
        case .unsupported: .quantizationUnsupported
        case .contradiction: .quantizationMismatch
        }
    }
}

/// Compares `quantization_config` with what is stored: the one home of what quantized weights can
/// be read.
///
/// The same integers mean different weights by method and recipe (rotation, zero points, code
/// books, groups), so that what is not known to be plain int8 is refused, never guessed.
public enum QuantizationCheck {
    /// Key of `config.json` that says how weights are quantized.
    public static let key = "quantization_config"

    /// A configuration with what the files themselves say of how they are quantized, where it does
    /// not: nunchaku's single files in their metadata, the two that they replace by their names.
    ///
    /// - Parameters:
    ///   - metadata: of the files.
    ///   - weights: what the files are called; `nil` for a file that was named by itself.
    ///   - file: for messages.
    /// - Throws: `BadDataError` for metadata that is not JSON.
    public static func described(
        _ config: JSONValue, by metadata: [String: String], of weights: WeightFiles? = nil,
        file: String
    ) throws -> JSONValue {
        guard config[key] == nil else { return config }
        if let own = try note(key, in: metadata, file: file) { return config.setting(key, to: own) }
        guard weights?.isSplit == true else { return config }
        return config.setting(key, to: .object([.init("method", .string("svdquant"))]))
    }

    /// A JSON object in the metadata of a file.
    ///
    /// - Throws: `BadDataError` for what is not JSON.
    static func note(
        _ key: String, in metadata: [String: String], file: String
    ) throws -> JSONValue? {
        guard let text = metadata[key] else { return nil }
        let json = try JSONFile.parse(
            ByteView(Array(text.utf8)), path: file, maximumByteCount: 1 << 20)
        return json.members == nil ? nil : json
    }

    /// - Throws: `QuantizationError` with the first of `findings`.
    public static func require(
        config: JSONValue?, tensors: [TensorInfo], file: String
    ) throws(QuantizationError) {
        guard let first = findings(config: config, tensors: tensors).first else { return }
        throw QuantizationError(file: file, finding: first)
    }

    /// Whether weights are stored in another way than as floats or plain int8.
    public static func isForeign(_ tensors: [TensorInfo]) -> Bool {
        if case .foreign = StoredEncoding(tensors) { true } else { false }
    }

    /// Everything that is unsupported or contradictory, the gravest first.
    ///
    /// - Parameter config: `config.json`; `nil` where nothing is known of it, and the tensors alone
    ///   are looked at.
    public static func findings(
        config: JSONValue?, tensors: [TensorInfo]
    ) -> [QuantizationFinding] {
        let model = QuantizedModel(tensors, config: config)
        if let format = QuantizationFormats.format(of: model) { return format.findings }
        let stored = model.stored
        let settings = config?[key].flatMap { $0 == .null ? nil : $0 }
        guard let settings else {
            switch stored {
            case .float: return []
            case .int8:
                guard config != nil else { return [] }
                let count = tensors.count { $0.dtype == .i8 }
                return [
                    .init(
                        kind: .contradiction, location: key,
                        reason: "\(count) tensors are int8, and config.json has no \(key), "
                            + "without which diffusers loads the integers as weights")
                ]
            case .foreign(let method, let recipe, let tensor):
                return [unsupported(method, recipe, tensor)]
            }
        }
        guard settings.members != nil else {
            return [
                .init(
                    kind: .contradiction, location: key,
                    reason: "\(key) is \(settings.text().printable), not an object")
            ]
        }
        let named = QuantizationSettings(settings)
        if !named.isSDNQ { return foreign(named, stored) }
        switch stored {
        case .float: return [floatWeights(named)]
        case .foreign(let method, let recipe, let tensor):
            guard method == "SDNQ" || named.otherRecipe != nil else {
                return [contradiction(named, "\(method) (\(recipe)), as \(quoted(tensor)) shows")]
            }
            return [
                unsupported(
                    "SDNQ", named.otherRecipe ?? recipe, tensor, key: named.recipeKey)
            ]
        case .int8:
            if let recipe = named.otherRecipe {
                return [unsupported("SDNQ", recipe, nil, key: named.recipeKey)]
            }
            return named.unknownKeys + named.moduleFindings(tensors)
        }
    }

    /// A method other than SDNQ is rejected; the error says if the stored method differs.
    private static func foreign(
        _ named: QuantizationSettings, _ stored: StoredEncoding
    ) -> [QuantizationFinding] {
        switch stored {
        case .float: return [floatWeights(named)]
        case .int8: return [contradiction(named, "SDNQ (int8)")]
        case .foreign(let method, let recipe, let tensor):
            let names = [method.lowercased(), recipe.lowercased()].joined(separator: " ")
            let isSame =
                named.method.lowercased().split { "_- ".contains($0) }.contains {
                    names.contains($0)
                } || method.hasPrefix("packed") || method.hasPrefix("an unknown")
                || method.hasPrefix("fp") || method.contains(" or ")
            guard isSame else {
                return [contradiction(named, "\(method) (\(recipe)), as \(quoted(tensor)) shows")]
            }
            return [unsupported(named.method, named.recipe ?? recipe, tensor)]
        }
    }

    static func unsupported(
        _ method: String, _ recipe: String, _ tensor: String?, key: String = key
    ) -> QuantizationFinding {
        .init(
            kind: .unsupported, location: tensor ?? key,
            reason: "weights are quantized by \(method.printable) (\(recipe.printable)), which is "
                + "not supported" + (tensor.map { ": see tensor \(quoted($0))" } ?? ""))
    }

    static func floatWeights(_ named: QuantizationSettings) -> QuantizationFinding {
        .init(
            kind: .contradiction, location: key,
            reason: "\(key) names \(named.description), and no weight is quantized")
    }

    /// What contradicts the configuration in weights of a method that describes itself.
    ///
    /// - Parameter tensor: one that shows the method.
    static func settingFindings(
        _ model: QuantizedModel, method: String, recipe: String, tensor: String
    ) -> [QuantizationFinding] {
        guard let settings = model.settings else {
            guard model.config != nil else { return [] }
            return [
                .init(
                    kind: .contradiction, location: key,
                    reason: "the weights are stored as by \(method) (\(recipe)), as "
                        + "\(quoted(tensor)) shows, and config.json has no \(key)")
            ]
        }
        let isSame = settings.recipe.map { $0 == recipe || $0 == "4 bits" } ?? true
        guard settings.method == method, method == "torchao" || isSame else {
            return [
                contradiction(settings, "\(method) (\(recipe)), as \(quoted(tensor)) shows")
            ]
        }
        return []
    }

    private static func contradiction(
        _ named: QuantizationSettings, _ stored: String
    ) -> QuantizationFinding {
        .init(
            kind: .contradiction, location: key,
            reason: "\(key) names \(named.description), and the weights are stored as by \(stored)")
    }

    private static func quoted(_ name: String) -> String { "'\(name.printable)'" }
}
