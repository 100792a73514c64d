extension AutoencoderDCConfig {
    public func disagreements(
        with source: any TensorSource, json: JSONValue?
    ) -> [ConfigurationDisagreement] {
        disagreements(with: source, json: json) { facts(source) }
    }

    private func facts(_ source: any TensorSource) -> [ConfigurationFact] {
        let own = self.json
        var facts: [ConfigurationFact] = []
        func add(_ key: String, _ expected: JSONValue?, _ tensor: String?) {
            guard let expected, let tensor, let value = own[key] else { return }
            facts.append(
                ConfigurationFact(key: key, value: value, expected: expected, tensor: tensor))
        }
        func first(_ matches: (String) -> Bool) -> TensorInfo? {
            source.tensors.first { $0.shape.count == 4 && matches($0.name) }
        }
        // With a stage without blocks at the ends, the convolution there resamples, too.
        let start = "encoder.conv_in."
        let input = first { [start + "weight", start + "conv.weight"].contains($0) }
        let latent = first { $0 == "encoder.conv_out.weight" }
        let heads = first { $0.hasSuffix(".to_qkv_multiscale.0.proj_out.weight") }
        add("in_channels", (input?.shape[1]).map(JSONValue.int), input?.name)
        add("latent_channels", (latent?.shape[0]).map(JSONValue.int), latent?.name)
        add("attention_head_dim", (heads?.shape[1]).map(JSONValue.int), heads?.name)
        let halves = [("encoder", "down_blocks", encoder), ("decoder", "up_blocks", decoder)]
        for (half, blocks, configured) in halves {
            let place = "\(half).\(blocks)"
            let stages = configured.indices.map {
                StageShapes(source, "\(place).\($0).", like: configured[$0])
            }
            add("\(half)_block_out_channels", .array(stages.map { .int($0.width) }), place)
            add("\(half)_layers_per_block", .array(stages.map { .int($0.layers) }), place)
            add("\(half)_block_types", .array(stages.map { .string($0.type.rawValue) }), place)
            add(
                "\(half)_qkv_multiscales",
                .array(stages.map { .array($0.kernels.map { .int($0) }) }), place)
            // Pixels that are shuffled come from, or go to, four times the channels.
            guard
                let index = stages.indices.dropLast().first(where: { stages[$0].resampled != nil }),
                let resampled = stages[index].resampled
            else { continue }
            if half == "encoder" {
                let isConvolution = resampled.shape[0] == stages[index + 1].width
                add(
                    "downsample_block_type", .string(isConvolution ? "Conv" : "pixel_unshuffle"),
                    resampled.name)
            } else {
                let isInterpolation = resampled.shape[0] == stages[index].width
                add(
                    "upsample_block_type",
                    .string(isInterpolation ? "interpolate" : "pixel_shuffle"), resampled.name)
            }
        }
        return facts
    }
}

/// What the tensors of a stage say of it; of one without blocks what is configured.
private struct StageShapes {
    var width: Int
    var layers = 0
    var type: AutoencoderDCConfig.BlockType
    var kernels: [Int]
    /// The convolution that changes the size.
    var resampled: TensorInfo?

    /// - Parameter prefix: of the names of its tensors.
    init(
        _ source: any TensorSource, _ prefix: String, like stage: AutoencoderDCConfig.Stage
    ) {
        (width, type, kernels) = (stage.width, stage.blockType, stage.multiscales)
        var found: [Int: [Int]] = [:]
        for tensor in source.tensors where tensor.name.hasPrefix(prefix) {
            let parts = tensor.name.dropFirst(prefix.count).split(separator: ".")
            let name = parts.dropFirst().joined(separator: ".")
            switch (name, tensor.shape.count) {
            case ("conv1.weight", 4):
                (width, type, layers) = (tensor.shape[0], .resBlock, layers + 1)
            case ("attn.to_out.weight", 2):
                (width, type, layers) = (tensor.shape[0], .efficientViT, layers + 1)
            case ("conv.weight", 4): resampled = tensor
            default:
                guard parts.count == 6, parts[2] == "to_qkv_multiscale", parts[4] == "proj_in",
                    parts[5] == "weight", tensor.shape.count == 4,
                    let block = Int(parts[0]), let scale = Int(parts[3])
                else { continue }
                if found[block, default: []].count == scale {
                    found[block, default: []].append(tensor.shape[2])
                }
            }
        }
        guard type == .efficientViT, layers > 0 else { return }
        kernels = found.values.max { $0.count < $1.count } ?? []
    }
}
