/// Finds the weights of a model that an adapter's modules mean, whatever they are called there.
struct LoraTargets {
    /// A weight that gains by a run of rows of a delta.
    struct Target {
        let weight: TensorInfo
        let firstRow: Int
    }

    private let source: any TensorSource
    /// Modules of the model by their names with underscores for dots, as kohya-ss writes them.
    private let byUnderscores: [String: String]

    init(_ source: any TensorSource) {
        self.source = source
        var modules: [String: String] = [:]
        for tensor in source.tensors where tensor.name.hasSuffix(".weight") {
            let module = String(tensor.name.dropLast(".weight".count))
            modules[module.replacing(".", with: "_")] = module
        }
        for module in OriginalNames.modules(of: source.tensors) {
            modules[module.replacing(".", with: "_")] = module
        }
        byUnderscores = modules
    }

    /// The weights that `module` stands for, in the order of a delta's rows; empty where the model
    /// has none of them.
    func targets(of module: String) -> [Target] {
        // transformers' models have a prefix of their own in some files and not in others.
        var spellings = [module, "model." + module, "model_" + module]
        if module.hasPrefix("model_") { spellings.append(String(module.dropFirst(6))) }
        let module =
            spellings.first { source.info($0 + ".weight") != nil }
            ?? spellings.lazy.compactMap { byUnderscores[$0] }.first ?? module
        let names =
            source.info(module + ".weight") == nil
            ? OriginalNames.names(for: module + ".weight", hasGuidance: hasGuidance)
            : [module + ".weight"]
        let weights = names.compactMap(source.info)
        guard weights.count == names.count else { return [] }
        var row = 0
        return weights.map { weight in
            defer { row += weight.shape.first ?? 0 }
            return Target(weight: weight, firstRow: row)
        }
    }

    private var hasGuidance: Bool {
        source.info("time_embed.guidance_embedder.linear_1.weight") != nil
    }
}
