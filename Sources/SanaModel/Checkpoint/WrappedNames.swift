/// What wrappers put into the names of a state dictionary: torch.compile, DDP, FSDP, trainers and
/// ComfyUI.
struct WrappedNames {
    /// The tensors under the names that the model itself gives them.
    let tensors: [StoredTensor]
    /// What was taken away; empty where nothing was.
    let prefixes: [String]

    /// Parts of names that wrappers put anywhere.
    private static let parts: Set = [
        "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module",
    ]
    /// First parts that every name of a wrapped model has.
    private static let common = ["module.", "model.", "base_model.", "transformer.", "net."]
    /// First parts below which the model lies among others, which are left out.
    private static let chosen = ["model.diffusion_model.", "diffusion_model."]
    private static let maximumDepth = 8

    /// - Parameter file: for messages.
    /// - Throws: `BadDataError` for layers of an adapter that have not been merged.
    init(_ tensors: [StoredTensor], file: String) throws {
        try Self.checkMerged(tensors, file: file)
        var (tensors, prefixes) = (tensors, [String]())
        for part in Self.parts.sorted() where tensors.contains(where: { $0.has(part) }) {
            prefixes.append(part + ".")
        }
        if !prefixes.isEmpty {
            tensors = tensors.compactMap { tensor in
                let names = tensor.info.name.split(
                    separator: ".", omittingEmptySubsequences: false)
                return tensor.renamed(
                    names.filter { !Self.parts.contains(String($0)) }.joined(separator: "."))
            }
        }
        for _ in 0..<Self.maximumDepth {
            guard let prefix = Self.prefix(of: tensors) else { break }
            prefixes.append(prefix)
            tensors = tensors.filter { $0.info.name.hasPrefix(prefix) }.compactMap {
                $0.renamed(String($0.info.name.dropFirst(prefix.count)))
            }
        }
        (self.tensors, self.prefixes) = (tensors, prefixes)
    }

    /// For people; `nil` where nothing was taken away.
    var note: String? {
        guard !prefixes.isEmpty else { return nil }
        let list = prefixes.map { "'\($0)'" }.joined(separator: ", ")
        return "names are read without \(list), which a wrapper or trainer added"
    }

    private static func prefix(of tensors: [StoredTensor]) -> String? {
        if let prefix = chosen.first(where: { prefix in
            tensors.contains { $0.info.name.hasPrefix(prefix) }
        }) {
            return prefix
        }
        // Of transformers, which has it in the names of whole models.
        guard !tensors.contains(where: { $0.info.name == "model.embed_tokens.weight" }) else {
            return nil
        }
        return common.first { prefix in
            !tensors.isEmpty && tensors.allSatisfy { $0.info.name.hasPrefix(prefix) }
        }
    }

    private static func checkMerged(_ tensors: [StoredTensor], file: String) throws {
        guard let layer = tensors.first(where: { $0.info.name.contains(".base_layer.") }) else {
            return
        }
        throw BadDataError(
            file: file,
            reason:
                "holds layers of a PEFT adapter that is not merged into the weights: see tensor "
                + "'\(layer.info.name.printable)'",
            remedy:
                "merge it in Python with model.merge_and_unload() or fuse_lora() and save again, "
                + "or give the base model with 'convert MODEL --lora FILE'")
    }
}

extension StoredTensor {
    fileprivate func has(_ part: String) -> Bool {
        info.name.contains(part) && info.name.split(separator: ".").contains { $0 == part }
    }
}

extension LogicalTensors {
    /// The tensors under the names that the model itself gives them, and for people what was taken
    /// away; the source itself and `nil` where no wrapper put anything into them.
    ///
    /// - Parameter file: for messages.
    /// - Throws: `BadDataError` for layers of an adapter that have not been merged, and for names
    ///   that a directory's configuration does not describe.
    public static func unwrapped(
        _ source: any TensorSource, file: String
    ) throws -> (source: any TensorSource, note: String?) {
        let stored = source.tensors.map { StoredTensor($0, of: source) }
        let wrapped = try WrappedNames(stored, file: file)
        guard !OriginalNaming.all.contains(where: { $0.matches(wrapped.tensors) }) else {
            throw BadDataError(
                file: file,
                reason: "holds tensors under the original names, not under those of diffusers",
                remedy: "give the weights file itself as MODEL, or convert it to a directory")
        }
        guard let note = wrapped.note else { return (source, nil) }
        return (
            try MappedTensors(wrapped.tensors, path: file, metadata: source.metadata), note
        )
    }
}
