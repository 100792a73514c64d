import SanaTestSupport
import Testing

@testable import SanaModel

/// The graph that is recorded from a forward on shapes.
struct ModuleGraphTests {
    static let small: SanaConfig = {
        var config = SanaConfig()
        (config.numAttentionHeads, config.attentionHeadDim, config.numLayers) = (2, 8, 3)
        (config.numCrossAttentionHeads, config.crossAttentionHeadDim) = (3, 4)
        (config.crossAttentionDim, config.captionChannels) = (16, 5)
        (config.inChannels, config.outChannels) = (4, 6)
        return config
    }()

    static let configs: [SanaConfig] = [
        small,
        {
            var config = small
            (config.patchSize, config.qkNorm, config.guidanceEmbeds) = (2, true, true)
            (config.interpolationScale, config.normElementwiseAffine) = (1, true)
            return config
        }(),
        {
            var config = small
            config.modelClass = .controlNet
            return config
        }(),
    ]

    static func graph(_ config: SanaConfig, batch: Int = 2) throws -> ModuleGraph {
        try config.unbound().network.network.graph(
            ["batch": batch, "height": 6, "width": 8, "caption_tokens": 5])
    }

    @Test("work of the modules is that of their products, and adds up to the forward's")
    func work() throws {
        let graph = try Self.graph(Self.small)
        // Batch 2, 6 x 8 tokens, 5 caption tokens, width 16.
        let (tokens, captions, dim) = (96, 10, 16)
        #expect(graph["proj_out"]?.work == .product(rows: tokens, from: dim, to: 6))
        #expect(graph["caption_projection.linear_1"]?.work.operations == 2 * captions * 5 * dim)
        let attention = try #require(graph["transformer_blocks.0.attn1"])
        #expect(attention.work.operations == 8 * tokens * dim * dim + 4 * tokens * dim * 9)
        let cross = try #require(graph["transformer_blocks.0.attn2"])
        #expect(
            cross.work.operations
                == 4 * (tokens + captions) * dim * 12 + 4 * tokens * 5 * 12)
        let feedForward = try #require(graph["transformer_blocks.0.ff"])
        #expect(
            feedForward.work.operations
                == 2 * tokens * (dim * 80 + 9 * 80 + 40 * dim))
        let block = try #require(graph["transformer_blocks.0"])
        #expect(
            block.work.operations
                == [attention, cross, feedForward].reduce(0) { $0 + $1.work.operations })
        #expect(
            graph.operations
                == graph.modules.filter { $0.parent == nil }.reduce(0) { $0 + $1.work.operations })
        #expect(graph["caption_norm"]?.activationBytes == 8 * captions * dim)
    }

    @Test("goldens hold the default set of the reference format", arguments: configs)
    func captured(_ config: SanaConfig) throws {
        let isControlNet = config.modelClass == .controlNet
        let graph = try Self.graph(config)
        let blocks = (0..<config.numLayers).flatMap { index in
            [".attn1", ".attn2", ".ff", ""].map { "transformer_blocks.\(index)\($0)" }
        }
        let stem =
            isControlNet ? ["patch_embed.0", "patch_embed.1", "input_block"] : ["patch_embed"]
        let head =
            isControlNet
            ? (0..<config.numLayers).map { "controlnet_blocks.\($0)" } : ["norm_out", "proj_out"]
        #expect(
            graph.captured.map(\.name)
                == stem + ["time_embed.0", "time_embed.1", "caption_projection", "caption_norm"]
                + blocks + head)
        let tokens = 48 / (config.patchSize * config.patchSize)
        #expect(graph.output("time_embed.0")?.shape == [2, 96])
        #expect(graph.output("transformer_blocks.0")?.shape == [2, tokens, 16])
        #expect(
            graph.output("transformer_blocks.0.ff")?.shape
                == [2, 16, 6 / config.patchSize, 8 / config.patchSize])
        #expect(
            graph.results.map(\.name)
                == (isControlNet
                    ? (0..<3).map { "controlnet_block_samples.\($0)" } : ["sample"]))
    }

    @Test("the first modules compute from inputs of the network alone")
    func networkInputs() throws {
        let graph = try Self.graph(Self.configs[1])
        #expect(graph.networkInputs(of: "patch_embed") == ["inputs.hidden_states"])
        #expect(graph.networkInputs(of: "caption_projection") == ["inputs.encoder_hidden_states"])
        #expect(
            Set(graph.networkInputs(of: "time_embed.0")) == ["inputs.timestep", "inputs.guidance"])
        #expect(graph.networkInputs(of: "norm_out") == [])
        let control = try Self.graph(Self.configs[2])
        #expect(control.networkInputs(of: "patch_embed.1") == ["inputs.controlnet_cond"])
    }

    @Test("a module's inputs are what it reads")
    func inputs() throws {
        let graph = try Self.graph(Self.small)
        let block = "transformer_blocks.1"
        #expect(graph[block + ".attn1"]?.inputs == [block + ".norm1", "time_embed.0"])
        #expect(
            graph[block + ".attn2"]?.inputs
                == ["transformer_blocks.0", "time_embed.0", block + ".attn1", "caption_norm"])
        #expect(graph[block]?.inputs == ["time_embed.0", "transformer_blocks.0", "caption_norm"])
        #expect(graph.output(block)?.sources.contains(block + ".ff") == true)
        #expect(graph["norm_out"]?.inputs == ["time_embed.1", "transformer_blocks.2"])
        #expect(graph["proj_out"]?.inputs == ["norm_out"])
        #expect(graph.results[0].sources == ["proj_out"])
    }

    @Test("sizes that no memory holds are refused before anything is made")
    func hugeSizes() throws {
        let network = try Self.small.unbound().network.network
        #expect(throws: InputError.self) {
            try network.graph([
                "batch": .max, "height": .max, "width": 2, "caption_tokens": 2,
            ])
        }
        #expect(throws: InputError.self) {
            try network.graph(["batch": 1, "height": 1 << 40, "width": 1 << 20])
        }
    }
}
