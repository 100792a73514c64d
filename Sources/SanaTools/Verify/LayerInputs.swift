import SanaModel

/// Which captured layers a captured layer takes its input from.
struct LayerInputs: Sendable {
    private let layerCount: Int
    private let isControlNet: Bool
    /// Captured paths in execution order.
    private let captured: [String]

    /// - Parameter captured: the paths of a comparison, in execution order.
    init(_ config: SanaConfig, captured: [String]) {
        (layerCount, isControlNet) = (config.numLayers, config.isControlNet)
        self.captured = captured
    }

    /// Paths whose outputs `path` computes from, captured or not. Inputs of the whole model do not
    /// count: they are the golden's own.
    func inputs(of path: String) -> [String] {
        switch path {
        case "patch_embed", "patch_embed.0", "patch_embed.1", "time_embed.0", "time_embed.1",
            "caption_projection":
            return []
        case "input_block": return ["patch_embed.1"]
        case "caption_norm": return ["caption_projection"]
        case "norm_out": return stream(into: layerCount) + ["time_embed.1"]
        case "proj_out": return ["norm_out"]
        case Golden.outputPath: return ["proj_out"]
        default: break
        }
        let parts = path.split(separator: ".")
        if let index = parts.last, parts.dropLast() == ["controlnet_blocks"] {
            return ["transformer_blocks.\(index)"]
        }
        if let index = parts.last, parts.dropLast() == ["outputs", "controlnet_block_samples"] {
            return ["controlnet_blocks.\(index)"]
        }
        guard parts.first == "transformer_blocks", parts.count > 1, let index = Int(parts[1]) else {
            return siblings(of: path)
        }
        let block = "transformer_blocks.\(index)"
        let common = stream(into: index) + ["time_embed.0"]
        switch parts.dropFirst(2).joined(separator: ".") {
        case "attn1": return common + [block + ".norm1"]
        case "attn2": return common + [block + ".attn1", "caption_norm"]
        case "ff": return common + ["attn1", "attn2", "norm2"].map { "\(block).\($0)" }
        case "": return common + ["attn1", "attn2", "ff"].map { "\(block).\($0)" }
        default: return siblings(of: path)
        }
    }

    /// Captured paths inside the module that puts out `path`, its other output not counted.
    func insides(of path: String) -> [String] {
        let isOneOfTwo = ["patch_embed", "time_embed"].contains(path.dropLast(2))
        let module = isOneOfTwo ? String(path.dropLast(2)) : path
        let outputs = isOneOfTwo ? [module + ".0", module + ".1"] : [path]
        return captured.filter { $0.hasPrefix(module + ".") && !outputs.contains($0) }
    }

    /// Of `inputs(of:)`, those that come from outside the module.
    func outerInputs(of path: String) -> [String] {
        inputs(of: path).filter { !$0.hasPrefix(path + ".") }
    }

    /// The residual stream that enters block `index`.
    private func stream(into index: Int) -> [String] {
        if index > 0 { return ["transformer_blocks.\(index - 1)"] }
        return isControlNet ? ["patch_embed.0", "input_block"] : ["patch_embed"]
    }

    /// For a module inside another: what its parent takes in, and what ran before it inside the
    /// parent.
    private func siblings(of path: String) -> [String] {
        guard let dot = path.lastIndex(of: ".") else { return [] }
        let parent = String(path[..<dot])
        let prefix = parent + "."
        let before = captured.prefix { $0 != path }.filter { $0.hasPrefix(prefix) }
        return before + outerInputs(of: parent)
    }
}
