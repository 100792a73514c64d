import SanaTestSupport
import Testing

@testable import SanaModel

/// What the shapes of released checkpoints tell of their configuration.
struct OriginalConfigTests {
    /// The tensors that tell, as NVlabs' models of these sizes have them.
    private func tensors(
        width: Int, layers: Int, side: Int? = 32, isNormed: Bool = false, isSprint: Bool = false,
        patch: Int = 1, hidden: Int? = nil
    ) -> [TensorInfo] {
        var shapes = [
            "x_embedder.proj.weight": [width, 32, patch, patch],
            "final_layer.linear.weight": [32 * patch * patch, width],
            "y_embedder.y_proj.fc1.weight": [width, 2304],
        ]
        if let side { shapes["pos_embed"] = [1, side * side / (patch * patch), width] }
        for layer in 0..<layers {
            shapes["blocks.\(layer).mlp.point_conv.conv.weight"] = [
                width, hidden ?? width * 5 / 2, 1, 1,
            ]
            if isNormed { shapes["blocks.\(layer).attn.q_norm.weight"] = [width] }
        }
        if isSprint { shapes["cfg_embedder.mlp.0.weight"] = [width, 256] }
        return shapes.compactMap { TensorInfo(name: $0.key, dtype: .f32, shape: $0.value) }
    }

    private func config(_ tensors: [TensorInfo]) throws -> SanaConfig {
        try SanaConfig(json: OriginalConfig.infer(tensors, file: "x"), file: "x")
    }

    @Test func released06B() throws {
        var expected = SanaConfig()
        (expected.numLayers, expected.numAttentionHeads) = (28, 36)
        (expected.numCrossAttentionHeads, expected.crossAttentionHeadDim) = (16, 72)
        expected.crossAttentionDim = 1152
        #expect(try config(tensors(width: 1152, layers: 28)) == expected)
        expected.sampleSize = 16
        #expect(try config(tensors(width: 1152, layers: 28, side: 16)) == expected)
    }

    /// diffusers' defaults are those of this model.
    @Test func released16B() throws {
        #expect(try config(tensors(width: 2240, layers: 20)) == SanaConfig())
        #expect(try config(tensors(width: 2240, layers: 20, side: nil)) == SanaConfig())
    }

    @Test(arguments: [(64, 1.0), (128, 2.0)])
    func released2KAnd4K(_ side: Int, _ scale: Double) throws {
        var expected = SanaConfig()
        (expected.sampleSize, expected.interpolationScale) = (side, scale)
        #expect(try config(tensors(width: 2240, layers: 20, side: side)) == expected)
    }

    @Test(arguments: [20, 60])
    func released15(_ layers: Int) throws {
        var expected = SanaConfig()
        (expected.numLayers, expected.qkNorm) = (layers, true)
        #expect(try config(tensors(width: 2240, layers: layers, isNormed: true)) == expected)
    }

    @Test func releasedSprint() throws {
        var expected = SanaConfig()
        (expected.qkNorm, expected.guidanceEmbeds, expected.timestepScale) = (true, true, 1000)
        #expect(
            try config(tensors(width: 2240, layers: 20, isNormed: true, isSprint: true))
                == expected)
    }

    @Test(arguments: [ReleasedConfiguration.Family.controlNet06, .controlNet16])
    func releasedControlNets(_ family: ReleasedConfiguration.Family) throws {
        let released = try #require(ReleasedConfiguration.all.first { $0.family == family }?.config)
        // Beside the transformer's own blocks, which are more.
        let width = released.innerDim
        let base = tensors(width: width, layers: 20)
        let copies = tensors(width: width, layers: 7).compactMap { tensor -> TensorInfo? in
            guard tensor.name.hasPrefix("blocks.") else { return nil }
            let parts = tensor.name.split(separator: ".", maxSplits: 2)
            return TensorInfo(
                name: "controlnet.\(parts[1]).copied_block.\(parts[2])", dtype: .f32,
                shape: tensor.shape)
        }
        #expect(try config(base + copies) == released)
        let alone = base.filter { !$0.name.hasPrefix("final") && !$0.name.hasPrefix("blocks.") }
        let json = try OriginalConfig.infer(alone + copies, file: "x")
        #expect(try SanaConfig(json: json, file: "x") == released)
        #expect(json["qk_norm"] == nil)
        #expect(json["timestep_scale"] == nil)
    }

    @Test func patchesAndFeedForwardOfOtherSizes() throws {
        let config = try config(
            tensors(width: 1152, layers: 1, side: 32, patch: 2, hidden: 3001))
        #expect(config.patchSize == 2)
        #expect(config.sampleSize == 32)
        #expect(config.outChannels == 32)
        #expect(config.ffHiddenDim == 3001)
    }

    @Test func shapesThatTellNothingAreRefused() {
        let good = tensors(width: 1152, layers: 1)
        for name in good.map(\.name) where name != "pos_embed" {
            let rest = good.filter { $0.name != name }
            #expect(throws: BadDataError.self, "\(name)") { try config(rest) }
            for shape in [[], [0, 0], [1, 2, 3, 0], [1, 1 << 50, 1, 1]] {
                let wrong = TensorInfo(name: name, dtype: .u8, shape: shape).map { rest + [$0] }
                if let wrong { #expect(throws: BadDataError.self) { try config(wrong) } }
            }
        }
        let table = TensorInfo(name: "pos_embed", dtype: .f32, shape: [1, 1000, 1152])
        let others = good.filter { $0.name != "pos_embed" }
        #expect(throws: BadDataError.self) { try config(others + (table.map { [$0] } ?? [])) }
    }

    /// The last index there is must not overflow when counted.
    @Test func layersAreCountedWithCare() throws {
        let name = "blocks.\(Int.max).attn.q_norm.weight"
        let far = try #require(TensorInfo(name: name, dtype: .f32, shape: [1]))
        #expect(try config(tensors(width: 1152, layers: 2) + [far]).numLayers == 2)
    }
}
