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

    /// Paths that `path` computes from, however far before it, and what they contain.
    func ancestors(of path: String) -> Set<String> {
        var found: Set<String> = []
        var open = [path]
        while let next = open.popLast() {
            for path in inputs(of: next) + insides(of: next) where found.insert(path).inserted {
                open.append(path)
            }
        }
        return found
    }

    /// Whether two paths are outputs of one module.
    static func isOneModule(_ one: String, _ other: String) -> Bool {
        one.dropLast(2) == other.dropLast(2) && numberedModules.contains(String(one.dropLast(2)))
    }

    private static let numberedModules: Set<String> = ["patch_embed", "time_embed"]

    /// The layers among `paths` that a tensor of the checkpoint is a parameter of: of the innermost
    /// module that is captured, every output.
    func owners(of tensor: String, among paths: [String]) -> [String] {
        // The model's own table is an argument of its last norm.
        if tensor == "scale_shift_table" { return paths.filter { $0 == "norm_out" } }
        func module(_ path: String) -> String {
            let module = String(path.dropLast(2))
            return Self.numberedModules.contains(module) ? module : path
        }
        let around = paths.filter { tensor.hasPrefix(module($0) + ".") }
        let innermost = around.map { module($0).utf8.count }.max()
        return around.filter { module($0).utf8.count == innermost }
    }

    /// The golden's input that the layer at `path` alone computes from, where it is one of the first.
    func goldenInput(of path: String) -> String? {
        if path == "patch_embed" || path == "patch_embed.0" { return "inputs.hidden_states" }
        if path == "patch_embed.1" { return "inputs.controlnet_cond" }
        if path == "caption_projection" { return "inputs.encoder_hidden_states" }
        return path == "time_embed.0" || path == "time_embed.1" ? "inputs.timestep" : nil
    }

    /// Captured paths inside the module that puts out `path`, its other output not counted.
    func insides(of path: String) -> [String] {
        let isOneOfTwo = Self.numberedModules.contains(String(path.dropLast(2)))
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
        // What is not captured has no place among those that are.
        let place = captured.firstIndex(of: path) ?? 0
        let before = captured[..<place].filter { $0.hasPrefix(prefix) }
        return before + outerInputs(of: parent)
    }
}
