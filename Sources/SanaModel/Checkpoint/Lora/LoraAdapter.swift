/// A low-rank adapter (LoRA, arXiv 2106.09685) for the modules of a transformer: what each weight is
/// to gain is a product of two small matrices.
///
/// Names as peft and diffusers write them: `[transformer.|base_model.model.]MODULE.lora_A[.ADAPTER]
/// .weight`, `lora_B` likewise, and at times `MODULE.alpha`.
public struct LoraAdapter: Sendable {
    /// The product that is added to a module's weight.
    struct Pair: Sendable {
        /// `[rank, in]`, or `[rank, in, 1, 1]`.
        let down: TensorInfo
        /// `[out, rank]`, or `[out, rank, 1, 1]`.
        let up: TensorInfo
        let rank: Int
        /// Factor of the product: alpha / rank, or alpha / √rank, times the adapter's weight.
        let scale: Double
    }

    public let path: String
    /// How strongly it counts, 1 for as it was trained.
    public let weight: Double
    /// SHA-256 of the file.
    public let sha256: String
    /// By the module that gains.
    let pairs: [String: Pair]
    let file: SafetensorsFile

    /// Number of weights that change.
    public var moduleCount: Int { pairs.count }

    /// What peft calls the settings of an adapter.
    public static let settingsName = LoraSettings.configName

    /// Names that peft and diffusers give an adapter's weights.
    private static let weightNames = [
        "adapter_model.safetensors", "pytorch_lora_weights.safetensors",
    ]

    /// Whether a tensor is named as one of an adapter.
    public static func isPart(_ tensor: TensorInfo) -> Bool {
        tensor.name.contains(".lora_A.") || tensor.name.contains(".lora_B.")
            || tensor.name.hasSuffix(".alpha")
    }

    /// The weights that `path` names: a file, or the one in a folder that peft or diffusers wrote.
    ///
    /// - Throws: `BadDataError` for a folder with none or several.
    private static func weights(_ path: String) throws -> String {
        guard path.isFolder else { return path }
        let found = weightNames.filter { path.appendingPath($0).pathExists }
        guard let name = found.first, found.count == 1 else {
            let reason =
                found.isEmpty
                ? "no LoRA in this folder: neither " + weightNames.joined(separator: " nor ")
                : "several LoRAs in this folder: " + found.joined(separator: " and ")
            throw BadDataError(
                file: path, reason: reason,
                remedy: "give the LoRA's .safetensors file")
        }
        return path.appendingPath(name)
    }

    static let doraReason =
        "is a DoRA, which scales the weights' columns too; only plain LoRA can be fused"

    /// Reads the names and shapes of an adapter, and its settings where they are.
    ///
    /// - Parameter path: a safetensors file, or the folder that holds it.
    /// - Throws: `FileError`, `SafetensorsError`, or `BadDataError` that names a tensor which is
    ///   unknown, without its partner, or of the wrong shape.
    public init(path: String, weight: Double = 1) throws {
        let path = try Self.weights(path)
        let file = try SafetensorsFile(path: path)
        let settings = try LoraSettings(of: file)
        var parts: [String: Parts] = [:]
        for tensor in file.tensors { try Parts.add(tensor, to: &parts, file: path) }
        guard !parts.isEmpty else {
            throw BadDataError(
                file: path, reason: "holds no LoRA",
                remedy: "give a safetensors file of diffusers' save_lora_weights or peft")
        }
        pairs = try parts.reduce(into: [:]) { pairs, part in
            pairs[part.key] = try part.value.pair(
                part.key, weight: weight, settings: settings, file: file)
        }
        (self.path, self.weight, self.file) = (path, weight, file)
        sha256 = WeightsDigest.sha256(file.fileBytes).hexadecimal
    }

    /// The tensors of one module, as far as they have been found.
    private struct Parts {
        var down: TensorInfo?
        var up: TensorInfo?
        var alpha: TensorInfo?

        static func add(
            _ tensor: TensorInfo, to parts: inout [String: Parts], file: String
        ) throws {
            let name = tensor.name
            func refuse(_ reason: String, _ remedy: String? = nil) -> BadDataError {
                BadDataError(
                    file: file, reason: "tensor '\(name.printable)' \(reason)", remedy: remedy)
            }
            guard !name.contains("lora_magnitude_vector"), !name.hasSuffix("dora_scale") else {
                throw refuse(doraReason, "fuse it in Python with diffusers' fuse_lora")
            }
            let field: WritableKeyPath<Parts, TensorInfo?>
            var module: Substring
            if let range = name.range(ofMarker: ".lora_A.") ?? name.range(ofMarker: ".lora_B.") {
                // Between marker and end stands the adapter's name, or nothing.
                let rest = name[range.upperBound...]
                guard rest == "weight" || rest.hasSuffix(".weight") else {
                    throw refuse("is no weight; biases of a LoRA are not fused")
                }
                field = name[range].hasSuffix("A.") ? \.down : \.up
                module = name[..<range.lowerBound]
            } else if name.hasSuffix(".alpha") {
                (field, module) = (\.alpha, name.dropLast(".alpha".count))
            } else {
                throw refuse(
                    "is no part of a LoRA as peft and diffusers name them",
                    "convert the file to diffusers' format first")
            }
            for prefix in ["base_model.model.", "transformer."] where module.hasPrefix(prefix) {
                module = module.dropFirst(prefix.count)
            }
            var found = parts[String(module)] ?? Parts()
            guard found[keyPath: field] == nil else {
                throw refuse("is there twice for the same module", "keep one adapter per file")
            }
            found[keyPath: field] = tensor
            parts[String(module)] = found
        }

        func pair(
            _ module: String, weight: Double, settings: LoraSettings?, file: SafetensorsFile
        ) throws -> Pair {
            func refuse(_ reason: String) -> BadDataError {
                BadDataError(
                    file: file.path, reason: "LoRA of module '\(module.printable)' \(reason)",
                    remedy: "save the adapter again")
            }
            guard let down, let up else {
                throw refuse("has no \(down == nil ? "lora_A" : "lora_B") weight")
            }
            for tensor in [down, up] where !tensor.dtype.isFloatWeight {
                throw refuse("is stored as \(tensor.dtype.rawValue)")
            }
            let isMatrix = [down, up].allSatisfy {
                $0.shape.count == 2 || $0.shape.count == 4 && $0.shape[2...] == [1, 1]
            }
            guard isMatrix, down.shape.count == up.shape.count, down.shape[0] > 0,
                down.shape[0] == up.shape[1]
            else {
                throw refuse("has shapes \(down.shape) and \(up.shape), which are no pair")
            }
            let rank = down.shape[0]
            var scale = try settings?.scale(of: module, rank: rank) ?? 1
            if let alpha {
                guard alpha.elementCount == 1,
                    let value = try file.bytes(of: alpha).widened(from: alpha.dtype)?.values.first,
                    value.isFinite
                else { throw refuse("has an alpha that is no number") }
                if let other = try settings?.alpha(of: module), other != Double(value) {
                    throw refuse("has alpha \(value), but \(other) in its settings")
                }
                if try settings?.alpha(of: module) == nil { scale = Double(value) / Double(rank) }
            }
            return Pair(down: down, up: up, rank: rank, scale: scale * weight)
        }
    }
}

extension String {
    /// Where a marker stands last.
    fileprivate func range(ofMarker marker: String) -> Range<Index>? {
        var (found, start): (Range<Index>?, Index) = (nil, startIndex)
        while start < endIndex, let next = self[start...].firstIndex(of: ".") {
            if self[next...].hasPrefix(marker) {
                found = next..<index(next, offsetBy: marker.count)
            }
            start = index(after: next)
        }
        return found
    }
}
