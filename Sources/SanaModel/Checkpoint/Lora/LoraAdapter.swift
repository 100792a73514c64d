/// An adapter for the modules of a transformer: LoRA, DoRA, LoHa, LoKr, or whole differences, in
/// any of the common spellings; see `LoraName`.
public struct LoraAdapter: Sendable {
    public let path: String
    /// How strongly it counts, 1 for as it was trained.
    public let weight: Double
    /// SHA-256 of the file.
    public let sha256: String
    /// What was left out, for people.
    public let notes: [String]
    /// By the module that gains, as the file calls it.
    let deltas: [String: LoraDelta]
    /// Those of a text encoder.
    private let textEncoderDeltas: [String: LoraDelta]
    let file: SafetensorsFile

    /// Number of modules of the transformer that change.
    public var moduleCount: Int { deltas.count }

    /// The part that is for the text encoder of the same pipeline; `nil` where there is none.
    public var ofTextEncoder: LoraAdapter? {
        textEncoderDeltas.isEmpty ? nil : LoraAdapter(self, deltas: textEncoderDeltas)
    }

    private init(_ adapter: LoraAdapter, deltas: [String: LoraDelta]) {
        (path, weight, sha256) = (adapter.path, adapter.weight, adapter.sha256)
        (notes, self.deltas, textEncoderDeltas, file) = ([], deltas, [:], adapter.file)
    }

    /// What peft calls the settings of an adapter.
    public static let settingsName = LoraSettings.configName

    /// Names that peft and diffusers give an adapter's weights.
    private static let weightNames = [
        "adapter_model.safetensors", "pytorch_lora_weights.safetensors",
    ]

    /// Whether a tensor is named as one of an adapter.
    public static func isPart(_ tensor: TensorInfo) -> Bool { LoraName(tensor.name) != nil }

    /// The weights that `path` names: a file, or the one in a folder that peft or diffusers wrote.
    ///
    /// - Throws: `BadDataError` for a directory with none or several.
    private static func weights(_ path: String) throws -> String {
        guard path.isFolder else { return path }
        let found = weightNames.filter { path.appendingPath($0).pathExists }
        guard let name = found.first, found.count == 1 else {
            let reason =
                found.isEmpty
                ? "no LoRA in this directory: neither " + weightNames.joined(separator: " nor ")
                : "several LoRAs in this directory: " + found.joined(separator: " and ")
            throw BadDataError(
                file: path, reason: reason,
                remedy: "give the LoRA's .safetensors file")
        }
        return path.appendingPath(name)
    }

    /// Reads the names and shapes of an adapter, and its settings where they are.
    ///
    /// - Parameter path: a safetensors file, or the directory that holds it.
    /// - Throws: `FileError`, `SafetensorsError`, or `BadDataError` that names a tensor which is
    ///   unknown, without its partner, or of the wrong shape.
    public init(path: String, weight: Double = 1) throws {
        let path = try Self.weights(path)
        let file = try SafetensorsFile(path: path)
        var modules: [String: LoraParts] = [:]
        var encoderModules: [String: LoraParts] = [:]
        var leftOut: [String] = []
        for tensor in file.tensors {
            guard let name = LoraName(tensor.name) else { throw Self.unknown(tensor, path) }
            let isNew: Bool
            switch name.component {
            case .transformer:
                isNew = modules[name.module, default: LoraParts()].add(tensor, as: name.part)
            case .textEncoder:
                isNew = encoderModules[name.module, default: LoraParts()].add(tensor, as: name.part)
            case .other:
                leftOut.append(tensor.name)
                continue
            }
            guard isNew else {
                throw BadDataError(
                    file: path,
                    reason: "tensor '\(tensor.name.printable)' occurs twice for the same module",
                    remedy: "keep one adapter per file")
            }
        }
        guard !modules.isEmpty || !encoderModules.isEmpty else {
            throw BadDataError(
                file: path,
                reason: leftOut.isEmpty
                    ? "holds no LoRA"
                    : "holds only a LoRA of a text encoder that Sana does not have",
                remedy:
                    "give a safetensors file with a LoRA of the transformer, such as diffusers' "
                    + "save_lora_weights or peft write")
        }
        func read(
            _ modules: [String: LoraParts], _ component: String
        ) throws -> [String: LoraDelta] {
            let settings = try LoraSettings(of: file, component: component)
            return try modules.reduce(into: [:]) { deltas, part in
                deltas[part.key] = try part.value.delta(
                    part.key, weight: weight, settings: settings, file: file)
            }
        }
        deltas = try read(modules, "transformer")
        textEncoderDeltas = encoderModules.isEmpty ? [:] : try read(encoderModules, "text_encoder")
        notes =
            leftOut.isEmpty
            ? []
            : [
                "\(leftOut.count) tensors of another text encoder are left out, such as "
                    + "'\(leftOut[0].printable)'"
            ]
        (self.path, self.weight, self.file) = (path, weight, file)
        sha256 = ContentHash.sha256(of: file.fileBytes).hexadecimal
    }

    private static func unknown(_ tensor: TensorInfo, _ path: String) -> BadDataError {
        let kinds = [
            ".lora_mid.": "is of a LoRA with a Tucker core",
            ".hada_t": "is of a LoHa with a Tucker core",
            ".lokr_t2": "is of a LoKr with a Tucker core", ".diff_b": "changes a bias",
            ".bias": "is a bias of a LoRA", ".oft_": "is of an OFT adapter",
            ".boft_": "is of a BOFT adapter", ".w_norm": "changes a norm",
            ".ia3_": "is of an IA³ adapter", ".set_weight": "replaces a weight",
        ]
        let known = kinds.first { tensor.name.contains($0.key) }?.value
        return BadDataError(
            file: path,
            reason: "tensor '\(tensor.name.printable)' "
                + (known.map { $0 + ", which cannot be added" }
                    ?? "is not part of a LoRA in any known spelling"),
            remedy: known == nil
                ? "convert the file to diffusers' format first"
                : "fuse it in Python with the program that made it")
    }
}

/// The tensors of one module, as far as they have been found.
private struct LoraParts {
    private var parts: [LoraName.Part: TensorInfo] = [:]

    mutating func add(_ tensor: TensorInfo, as part: LoraName.Part) -> Bool {
        guard parts[part] == nil else { return false }
        parts[part] = tensor
        return true
    }

    func delta(
        _ module: String, weight: Double, settings: LoraSettings?, file: SafetensorsFile
    ) throws -> LoraDelta {
        func refuse(_ reason: String) -> BadDataError {
            BadDataError(
                file: file.path, reason: "LoRA of module '\(module.printable)' \(reason)",
                remedy: "save the adapter again")
        }
        for tensor in parts.values where !tensor.dtype.isFloatWeight {
            throw refuse("is stored as \(tensor.dtype.rawValue)")
        }
        func product(_ up: LoraName.Part, _ down: LoraName.Part) throws -> LoraDelta.Product? {
            guard let a = parts[up], let b = parts[down] else {
                guard parts[up] == nil, parts[down] == nil else {
                    let name = { (part: LoraName.Part) in
                        part == .down ? "lora_A" : part == .up ? "lora_B" : part.rawValue
                    }
                    throw refuse("has no \(name(parts[down] == nil ? down : up)) weight")
                }
                return nil
            }
            let isMatrix = a.shape.count == 2 || a.shape.count == 4 && a.shape[2...] == [1, 1]
            guard isMatrix, b.shape.count == 2 || b.shape.count == 4, b.shape[0] > 0,
                b.shape[0] == a.shape[1], a.shape.count == b.shape.count || up != .up,
                (a.shape + b.shape).allSatisfy({ $0 <= Int32.max }),
                b.elementCount / b.shape[0] <= Int32.max
            else { throw refuse("has shapes \(b.shape) and \(a.shape), which do not form a pair") }
            return .init(up: a, down: b)
        }
        func factor(
            _ full: LoraName.Part, _ up: LoraName.Part, _ down: LoraName.Part
        ) throws -> LoraDelta.Factor? {
            if let matrix = parts[full] {
                guard matrix.shape.count >= 2, matrix.elementCount > 0 else {
                    throw refuse("has a matrix of shape \(matrix.shape)")
                }
                return .full(matrix)
            }
            return try product(up, down).map { .product($0) }
        }
        let form: LoraDelta.Form
        var rank: Int?
        if let pair = try product(.up, .down) {
            (form, rank) = (.product(pair), pair.rank)
        } else if let first = try product(.hada1a, .hada1b),
            let second = try product(.hada2a, .hada2b)
        {
            guard first.rows == second.rows, first.columns == second.columns else {
                throw refuse("has two products of different sizes")
            }
            (form, rank) = (.hadamard(first, second), first.rank)
        } else if let first = try factor(.lokr1, .lokr1a, .lokr1b),
            let second = try factor(.lokr2, .lokr2a, .lokr2b)
        {
            form = .kronecker(first, second)
            for factor in [first, second] {
                if case .product(let pair) = factor { rank = pair.rank }
            }
        } else if let matrix = try factor(.full, .hada1a, .hada1b), case .full(let matrix) = matrix
        {
            form = .full(matrix)
        } else {
            throw refuse("has no lora_A weight")
        }
        let scale = try scale(module, rank, settings, file, refuse)
        let magnitude = try magnitude(refuse)
        return LoraDelta(form: form, scale: scale, weight: weight, magnitude: magnitude)
    }

    /// The factor of the matrix: alpha / rank where there is an alpha.
    private func scale(
        _ module: String, _ rank: Int?, _ settings: LoraSettings?, _ file: SafetensorsFile,
        _ refuse: (String) -> BadDataError
    ) throws -> Double {
        guard let rank else { return 1 }
        let scale = try settings?.scale(of: module, rank: rank) ?? 1
        guard let alpha = parts[.alpha] else { return scale }
        guard alpha.elementCount == 1,
            let value = try file.bytes(of: alpha).widened(from: alpha.dtype)?.values.first,
            value.isFinite
        else { throw refuse("has an alpha that is not a number") }
        if let other = try settings?.alpha(of: module), other != Double(value) {
            throw refuse("has alpha \(value), but \(other) in its settings")
        }
        return try settings?.alpha(of: module) == nil ? Double(value) / Double(rank) : scale
    }

    private func magnitude(_ refuse: (String) -> BadDataError) throws -> TensorInfo? {
        guard let magnitude = parts[.magnitude] else { return nil }
        // kohya-ss keeps the lengths of columns like this, peft those of rows of a convolution.
        if magnitude.name.hasSuffix(".dora_scale"), magnitude.shape.first == 1,
            magnitude.elementCount > 1
        {
            throw refuse("is a DoRA of columns, which cannot be added")
        }
        return magnitude
    }
}
