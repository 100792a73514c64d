/// How mit-han-lab's own DC-AE checkpoints (efficientvit) name their tensors, and what diffusers
/// calls them.
///
/// Source: `convert_autoencoder_dc_checkpoint_to_diffusers` of diffusers 0.42.1, whose replacements
/// are made in its order. It knows attention of one scale; here there may be several.
public enum OriginalAutoencoderNames {
    private static let replacements = [
        ("main.", ""), ("op_list.", ""), ("context_module", "attn"), ("local_module", "conv_out"),
        ("depth_conv.conv", "conv_depth"), ("inverted_conv.conv", "conv_inverted"),
        ("point_conv.conv", "conv_point"), ("point_conv.norm", "norm"), ("conv.conv.", "conv."),
        ("conv1.conv", "conv1"), ("conv2.conv", "conv2"), ("conv2.norm", "norm"),
        ("proj.norm", "norm_out"), ("encoder.project_in.conv", "encoder.conv_in"),
        ("encoder.project_out.0.conv", "encoder.conv_out"),
        ("encoder.stages", "encoder.down_blocks"),
        ("decoder.project_in.conv", "decoder.conv_in"),
        ("decoder.project_out.0", "decoder.norm_out"),
        ("decoder.project_out.2.conv", "decoder.conv_out"),
        ("decoder.stages", "decoder.up_blocks"),
    ]

    /// The ends of those that begin and end at half the size, where both are resampling blocks.
    private static let resampledEnds = [
        "encoder.project_in.conv": "encoder.conv_in.conv",
        "decoder.project_out.2.conv": "decoder.conv_out.conv",
    ]

    /// Whether the names are those of an original checkpoint.
    public static func areOriginal(_ tensors: [StoredTensor]) -> Bool {
        tensors.contains { $0.info.name.contains("coder.stages.") }
    }

    /// The tensors under diffusers' names and in its shapes, fused projections taken apart along
    /// their rows without a copy; names that mean nothing stay, so that binding can report them.
    ///
    /// - Throws: `BadDataError` when rows cannot be dealt out, or two tensors get one name.
    public static func renamed(
        _ tensors: [StoredTensor], file: String
    ) throws -> [StoredTensor] {
        let isResampled = !tensors.contains { $0.info.name == "encoder.project_in.conv.bias" }
        var seen = Set<String>()
        return try tensors.flatMap { tensor in
            let names = names(for: tensor.info.name, resampledEnds: isResampled)
            if let name = names.first(where: { !seen.insert($0).inserted }) {
                throw BadDataError(
                    file: file, reason: "two tensors map to '\(name.printable)'",
                    remedy: "save the state dictionary of a single model")
            }
            let isLinear = names.contains { $0.contains(".to_") && !$0.contains("multiscale") }
            return try tensor.parts(names, file: file).map { isLinear ? $0.withoutKernel : $0 }
        }
    }

    /// What diffusers calls a tensor, or its parts in the order of their rows.
    static func names(for name: String, resampledEnds isResampled: Bool) -> [String] {
        var name = name
        for (old, new) in replacements {
            name = name.replacing(old, with: isResampled ? resampledEnds[old] ?? new : new)
        }
        name = multiscaleName(name)
        let (fused, output) = (".qkv.conv.weight", ".proj.conv.weight")
        if name.hasSuffix(fused) {
            let module = name.dropLast(fused.count)
            return ["to_q", "to_k", "to_v"].map { "\(module).\($0).weight" }
        }
        if name.hasSuffix(output) { return ["\(name.dropLast(output.count)).to_out.weight"] }
        return [name]
    }

    /// `aggreg.{scale}.{0, 1}` in diffusers' words.
    private static func multiscaleName(_ name: String) -> String {
        var parts = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard let index = parts.firstIndex(of: "aggreg"), index + 2 < parts.count,
            let part = Int(parts[index + 2]), (0...1).contains(part)
        else { return name }
        parts[index] = "to_qkv_multiscale"
        parts[index + 2] = part == 0 ? "proj_in" : "proj_out"
        return parts.joined(separator: ".")
    }
}

extension StoredTensor {
    /// A 1×1 convolution's weight as a linear map's.
    fileprivate var withoutKernel: StoredTensor {
        guard info.shape.count == 4, info.shape[2] == 1, info.shape[3] == 1,
            let linear = TensorInfo(
                name: info.name, dtype: info.dtype, shape: Array(info.shape.prefix(2)))
        else { return self }
        return described(as: linear)
    }
}

extension OriginalNaming {
    /// mit-han-lab's names.
    static let autoencoderDC = OriginalNaming(
        matches: OriginalAutoencoderNames.areOriginal, renamed: OriginalAutoencoderNames.renamed,
        configuration: { _, source, file in
            guard let released = ReleasedAutoencoder.matching(source).first else {
                throw BadDataError(
                    file: file,
                    reason:
                        "has shapes of no released autoencoder, so its configuration is unknown",
                    remedy:
                        "give the config.json of the same model in diffusers' format with --config")
            }
            return released.config.json
        })
}
