/// How NVlabs' own Sana checkpoints name their tensors, and what diffusers calls them.
///
/// Sources: `diffusion/model/nets/sana_multi_scale.py` and `sana_blocks.py` of NVlabs/Sana for the
/// names, and diffusers' `scripts/convert_sana_to_diffusers.py` for what they become. That script
/// goes by the model type its caller gives; here the tensors that are present decide, so that 0.6B
/// to
/// 4.8B, 1.5 and Sprint need no option. diffusers' own loader for single files (0.42.1,
/// `convert_sana_transformer_to_diffusers`) knows neither qk norms nor the guidance embedder, and
/// its script, until it was rewritten, ended with an error for 1.5 4.8B.
public enum OriginalNames {
    /// Tensors that the forward does not use: positions are computed, the empty caption belongs to
    /// training, and so does Sprint's variance head.
    static let unused: Set = [
        "pos_embed", "y_embedder.y_embedding", "logvar_linear.weight", "logvar_linear.bias",
    ]

    /// What names of the transformer's last layer begin with.
    static let lastLayer = "final_layer."

    /// Modules outside of the blocks.
    static let modules = [
        "x_embedder.proj": "patch_embed.proj",
        "y_embedder.y_proj.fc1": "caption_projection.linear_1",
        "y_embedder.y_proj.fc2": "caption_projection.linear_2",
        "attention_y_norm": "caption_norm",
        "t_block.1": "time_embed.linear",
        "cfg_embedder.mlp.0": "time_embed.guidance_embedder.linear_1",
        "cfg_embedder.mlp.2": "time_embed.guidance_embedder.linear_2",
        "final_layer.linear": "proj_out",
    ]

    /// Modules of a block, with the parts that several are stored as one of.
    static let blockModules: [String: [String]] = [
        "attn.qkv": ["attn1.to_q", "attn1.to_k", "attn1.to_v"],
        "attn.q_norm": ["attn1.norm_q"],
        "attn.k_norm": ["attn1.norm_k"],
        "attn.proj": ["attn1.to_out.0"],
        "cross_attn.q_linear": ["attn2.to_q"],
        "cross_attn.kv_linear": ["attn2.to_k", "attn2.to_v"],
        "cross_attn.q_norm": ["attn2.norm_q"],
        "cross_attn.k_norm": ["attn2.norm_k"],
        "cross_attn.proj": ["attn2.to_out.0"],
        "mlp.inverted_conv.conv": ["ff.conv_inverted"],
        "mlp.depth_conv.conv": ["ff.conv_depth"],
        "mlp.point_conv.conv": ["ff.conv_point"],
    ]

    /// Whether the names, without prefixes, are those of an original checkpoint.
    static func areOriginal(_ tensors: [StoredTensor]) -> Bool {
        tensors.contains { tensor in
            tensor.info.name == "x_embedder.proj.weight"
                || SanaClass.all.contains { tensor.info.name.hasPrefix($0.original.prefix) }
        }
    }

    /// The tensors under diffusers' names, those stored as one taken apart along their rows; names
    /// that mean nothing stay, so that binding can report them.
    ///
    /// - Throws: `BadDataError` when rows cannot be dealt out, or two tensors get one name.
    static func renamed(_ tensors: [StoredTensor], file: String) throws -> [StoredTensor] {
        let hasGuidance = tensors.contains { $0.info.name.hasPrefix("cfg_embedder.") }
        let foreign = OriginalBlocks.of(tensors.lazy.map(\.info.name)).original.foreign
        var seen = Set<String>()
        let used = tensors.filter { tensor in
            !unused.contains(tensor.info.name)
                && !foreign.contains(where: tensor.info.name.hasPrefix)
        }
        return try used.flatMap { tensor in
            let names = names(for: tensor.info.name, hasGuidance: hasGuidance)
            if let name = names.first(where: { !seen.insert($0).inserted }) {
                throw BadDataError(
                    file: file, reason: "two tensors map to '\(name.printable)'",
                    remedy: "save the state dictionary of a single model")
            }
            return try tensor.parts(names, file: file)
        }
    }

    /// What the original code calls the modules of a model under diffusers' names.
    static func modules(of tensors: [TensorInfo]) -> [String] {
        let blocks = Set(
            tensors.compactMap { tensor -> Int? in
                let parts = tensor.name.split(separator: ".", maxSplits: 2)
                return parts.count > 1 && parts[0] == "transformer_blocks" ? Int(parts[1]) : nil
            })
        return Array(modules.keys) + ["t_embedder.mlp.0", "t_embedder.mlp.2"]
            + blocks.flatMap { block in blockModules.keys.map { "blocks.\(block).\($0)" } }
    }

    /// What diffusers calls a tensor, or its parts in the order of their rows.
    static func names(for name: String, hasGuidance: Bool) -> [String] {
        if name == "final_layer.scale_shift_table" { return ["scale_shift_table"] }
        guard let dot = name.lastIndex(of: ".") else { return [name] }
        let (module, parameter) = (String(name[..<dot]), name[dot...])
        let parts = module.split(separator: ".", maxSplits: 2)
        if parts.count > 1, let index = Int(parts[1]), index >= 0 {
            let inner = parts.count == 3 ? String(parts[2]) : ""
            let known = SanaClass.all.first { $0.original.prefix == parts[0] + "." }
            if let known { return known.original.names(index, inner, parameter) ?? [name] }
        }
        if module == "t_embedder.mlp.0" || module == "t_embedder.mlp.2" {
            let embedder = "time_embed." + (hasGuidance ? "" : "emb.") + "timestep_embedder"
            return ["\(embedder).linear_\(module.hasSuffix("0") ? 1 : 2)\(parameter)"]
        }
        return modules[module].map { [$0 + parameter] } ?? [name]
    }

    /// - Parameter module: below the block, empty for the block itself.
    @Sendable static func blockNames(
        _ index: Int, _ module: String, _ parameter: Substring
    ) -> [String]? {
        let block = "transformer_blocks.\(index)."
        if module.isEmpty {
            return parameter == ".scale_shift_table" ? [block + "scale_shift_table"] : nil
        }
        return blockModules[module]?.map { block + $0 + parameter }
    }
}
