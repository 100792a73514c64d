/// What `quantization_config` says, as far as it decides what stored integers mean.
///
/// Sources: `SDNQConfig` and `check_param_name_in` of sdnq 0.2.8; the quantizers of diffusers
/// 0.42.1 for the keys of other methods.
struct QuantizationSettings {
    private let json: JSONValue
    /// `quant_method`, or the method that other keys imply.
    let method: String

    init(_ json: JSONValue) {
        self.json = json
        let isBitsAndBytes = ["load_in_8bit", "load_in_4bit"].contains { json[$0]?.bool == true }
        method =
            json["quant_method"]?.string ?? json["method"]?.string
            ?? (isBitsAndBytes ? "bitsandbytes" : "an unnamed method")
    }

    var isSDNQ: Bool { method == "sdnq" || method == "sdnq_training" }

    /// Method and recipe, for messages.
    var description: String {
        let text = recipe.map { "\(method) (\($0))" } ?? method
        return text.printable
    }

    /// What the settings say of the stored type.
    var recipe: String? {
        if isSDNQ { return otherRecipe ?? "int8" }
        if method == "bitsandbytes" {
            if json["load_in_8bit"]?.bool == true { return "int8" }
            return json["bnb_4bit_quant_type"]?.string ?? "4 bits"
        }
        if method == "svdquant" { return json["weight"]?["dtype"]?.string }
        let keys = ["quant_type", "weights_dtype", "weights", "fmt", "format", "precision"]
        for key in keys {
            guard let value = json[key], value != .null else { continue }
            return value.string ?? value.text()
        }
        return json["bits"]?.int.map { "\($0) bits" }
    }

    /// Values of a group that SVDQuant's settings say share a scale.
    var groupSize: Int? { json["weight"]?["group_size"]?.int }

    // MARK: SDNQ

    /// Keys that say how to compute, or what was left out, but not what an integer stands for.
    private static let harmlessKeys: Set = [
        "quant_method", "weights_dtype", "sdnq_version", "add_skip_keys", "codebook_steps",
        "dequantize_fp32", "dynamic_loss_threshold", "group_size", "hadamard_group_size",
        "is_integer", "minimum_allowed_channel_size", "minimum_allowed_numel",
        "modules_to_not_convert", "modules_to_not_use_matmul", "non_blocking", "quant_conv",
        "quant_embedding", "quantization_device", "quantized_matmul_dtype", "return_device",
        "svd_rank", "svd_steps", "use_dynamic_quantization", "use_grad_ckpt",
        "use_quantized_matmul", "use_quantized_matmul_conv", "use_static_quantization",
        "use_stochastic_rounding",
    ]

    /// Keys that change what integers mean, with what they add to the recipe.
    private static let recipeKeys: [(key: String, words: String)] = [
        ("use_hadamard", "with Hadamard rotation"), ("use_svd", "with SVD"),
        ("use_codebook", "with a code book"), ("use_codebook_scale", "with a code book of scales"),
        ("is_unsigned", "unsigned, with zero points"), ("is_training", "for training"),
        ("modules_dtype_dict", "with other types for some modules"),
        ("modules_quant_config", "with other recipes for some modules"),
        ("scale_dtype", "with quantized scales"),
        ("zero_point_dtype", "with quantized zero points"),
    ]

    private var weightsType: String { json["weights_dtype"]?.string ?? "int8" }

    /// How one weight is quantized: as all are, but for what the configuration says of its module.
    func sdnq(_ weight: String) -> SDNQRecipe {
        let settings = settings(of: weight)
        let dtype = settings.type(of: weight)
        let scales = sdnqScales(weight)
        var words: [String] = []
        if settings.isOn("use_hadamard") { words.append("with Hadamard rotation") }
        if settings.isOn("use_svd") { words.append("with SVD") }
        if settings.isOn("use_codebook") { words.append("with a code book") }
        if scales.scale != nil || scales.zeroPoint != nil { words.append("with quantized scales") }
        let reason = settings.unreadable ?? scales.unreadable
        return SDNQRecipe(
            dtype: dtype, additions: words, unsupported: reason.map { "\(dtype), \($0)" },
            rotatedCount: settings.isOn("use_hadamard")
                ? settings.json["hadamard_group_size"]?.int ?? 256 : nil,
            svdRank: settings.isOn("use_svd") ? settings.json["svd_rank"]?.int ?? 32 : nil,
            hasCodeBook: settings.isOn("use_codebook"))
    }

    /// How the scales and zero points of a weight are quantized themselves; `nil` for floats.
    func sdnqScales(_ weight: String) -> SDNQScaleRecipes {
        let settings = settings(of: weight)
        func recipe(_ keys: String...) -> SDNQRecipe? {
            let type = keys.lazy.compactMap { settings.json[$0]?.string }.first
            guard let type, !["float32", "none"].contains(type) else { return nil }
            return SDNQRecipe(dtype: type, hasCodeBook: settings.isOn("use_codebook_scale"))
        }
        return SDNQScaleRecipes(
            scale: recipe("scale_dtype"), zeroPoint: recipe("zero_point_dtype", "scale_dtype"))
    }

    /// These settings with what they say of the module of one weight.
    private func settings(of weight: String) -> QuantizationSettings {
        let members = json["modules_quant_config"]?.members ?? []
        guard let own = members.first(where: { ModulePatterns([$0.key]).contains(weight) })?.value
        else { return self }
        return QuantizationSettings(
            (own.members ?? []).reduce(json) { $0.setting($1.key, to: $1.value) })
    }

    /// What makes a recipe unreadable, whatever its type.
    private var unreadable: String? {
        guard method != "sdnq_training", !isOn("is_training") else { return "for training" }
        guard isOn("is_unsigned"), !weightsType.hasPrefix("u"), !weightsType.contains("fnu") else {
            return nil
        }
        return "unsigned, with zero points"
    }

    /// The type of a weight by `modules_dtype_dict`, whose keys are types or least widths
    /// (`minimum_6bit`).
    private func type(of weight: String) -> String {
        for member in json["modules_dtype_dict"]?.members ?? [] {
            let names = member.value.array?.compactMap(\.string) ?? []
            guard ModulePatterns(names).contains(weight) else { continue }
            let key = member.key.lowercased()
            guard key.hasPrefix("minimum") || key.hasSuffix("bit") || key.hasSuffix("bits") else {
                return key
            }
            let isUnsigned = key.contains("uint")
            guard let bits = Int(key.filter(\.isASCIIDigit)),
                let own = Int(weightsType.drop { !$0.isASCIIDigit }.prefix(while: \.isASCIIDigit))
            else { return key }
            guard own < bits else { return weightsType }
            return (isUnsigned || bits <= 4 ? "uint" : "int") + String(bits)
        }
        return weightsType
    }

    /// The first key of the recipe that is not plain int8's.
    var recipeKey: String {
        if weightsType != "int8" { return QuantizationCheck.key + ".weights_dtype" }
        let key = Self.recipeKeys.first { isOn($0.key) }?.key
        return key.map { QuantizationCheck.key + "." + $0 } ?? QuantizationCheck.key
    }

    /// The recipe where it is not plain int8 with one scale per row; `nil` where it is.
    var otherRecipe: String? {
        let additions = Self.recipeKeys.filter { isOn($0.key) && !isDefaultScale($0.key) }
        let isGrouped = (json["group_size"]?.int ?? -1) > 0
        let isTraining = method == "sdnq_training"
        guard weightsType != "int8" || !additions.isEmpty || isGrouped || isTraining else {
            return nil
        }
        var words = [weightsType] + additions.map(\.words)
        if isGrouped { words.append("in groups of \(json["group_size"]?.int ?? 0)") }
        if isTraining { words.append("for training") }
        return words.joined(separator: ", ")
    }

    private func isDefaultScale(_ key: String) -> Bool {
        key.hasSuffix("_dtype") && ["float32", "none"].contains(json[key]?.string)
    }

    /// Whether a switch is on: anything but `false`, `null`, 0 and what is empty.
    private func isOn(_ key: String) -> Bool { json[key].map(Self.isOn) ?? false }

    private static func isOn(_ value: JSONValue) -> Bool {
        switch value {
        case .null: false
        case .bool(let flag): flag
        case .number: value.double != 0
        case .string(let text): !text.isEmpty
        case .array(let items): !items.isEmpty
        case .object(let members): !members.isEmpty
        }
    }

    /// Keys that no release of sdnq has and that are not off: what they do to weights is not known.
    var unknownKeys: [QuantizationFinding] {
        let known = Self.harmlessKeys.union(Self.recipeKeys.map(\.key))
        return (json.members ?? []).filter { !known.contains($0.key) && Self.isOn($0.value) }.map {
            .init(
                kind: .unsupported, location: "\(QuantizationCheck.key).\($0.key.printable)",
                reason: "weights are quantized by SDNQ (int8 with the unknown key "
                    + "\($0.key.printable) = \($0.value.text().printable)), which is not supported")
        }
    }

    // MARK: Modules

    /// Weights that `modules_to_not_convert` should name and does not, and the other way round:
    /// either keeps diffusers from loading the model.
    func moduleFindings(_ tensors: [TensorInfo]) -> [QuantizationFinding] {
        let names = Set(tensors.map(\.name))
        func isQuantized(_ tensor: TensorInfo) -> Bool {
            !tensor.dtype.isFloatWeight
                || names.contains(tensor.name.dropLast("weight".count) + "scale")
        }
        return moduleFindings(tensors, isQuantized)
    }

    private func moduleFindings(
        _ tensors: [TensorInfo], _ isQuantized: (TensorInfo) -> Bool
    ) -> [QuantizationFinding] {
        let names = json["modules_to_not_convert"]?.array?.compactMap(\.string) ?? []
        let patterns = ModulePatterns(names)
        let key = QuantizationCheck.key + ".modules_to_not_convert"
        let weights = tensors.filter { $0.name.hasSuffix(".weight") }
        let unlisted = weights.filter { !isQuantized($0) && !patterns.contains($0.name) }
            .filter { json["quant_conv"]?.bool == true || $0.shape.count < 3 }
        let listed = weights.filter { isQuantized($0) && patterns.contains($0.name) }
        // Three dimensions are those of a matrix in groups.
        let convolutions = weights.filter {
            $0.dtype == .i8 && $0.shape.count > 3 && json["quant_conv"]?.bool != true
        }
        func finding(
            _ key: String, _ found: [TensorInfo], _ text: (String) -> String
        ) -> [QuantizationFinding] {
            guard let first = found.first else { return [] }
            let others = found.count > 1 ? " and \(found.count - 1) more" : ""
            return [
                .init(
                    kind: .contradiction, location: key,
                    reason: text("'\(first.name.printable)'" + others))
            ]
        }
        return finding(key, unlisted) { "\(key) does not name \($0), which are not quantized" }
            + finding(key, listed) { "\(key) names \($0), which are quantized" }
            + finding(QuantizationCheck.key + ".quant_conv", convolutions) {
                "quant_conv is not true, and the convolutions \($0) are int8"
            }
    }
}

/// The list of modules that SDNQ leaves alone, matched as sdnq does.
private struct ModulePatterns {
    private let prefixes: [String]
    private let parts: Set<String>
    private let globs: [[Substring]]

    /// Most patterns with stars that are matched.
    private static let maximumGlobCount = 1000

    init(_ names: [String]) {
        prefixes = names.filter { $0.hasPrefix(".") }.map { String($0.dropFirst()) }
        let others = names.filter { !$0.hasPrefix(".") }
        parts = Set(others)
        globs = others.filter { $0.contains("*") }.prefix(Self.maximumGlobCount).map {
            $0.split(separator: "*", omittingEmptySubsequences: false)
        }
    }

    func contains(_ name: String) -> Bool {
        parts.contains(name)
            || name.split(separator: ".").contains { parts.contains(String($0)) }
            || prefixes.contains(where: name.hasPrefix)
            || globs.contains { Self.matches($0, name) }
    }

    /// Whether a name begins with what pieces of a pattern between stars spell (`re.match`).
    private static func matches(_ pieces: [Substring], _ name: String) -> Bool {
        guard let first = pieces.first, name.hasPrefix(first) else { return false }
        var rest = name.dropFirst(first.count)
        for piece in pieces.dropFirst() where !piece.isEmpty {
            guard let range = rest.firstRange(of: piece) else { return false }
            rest = rest[range.upperBound...]
        }
        return true
    }
}

extension Character {
    fileprivate var isASCIIDigit: Bool { isASCII && isNumber }
}
