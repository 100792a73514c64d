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
        try SanaNetwork.unbound(config).network.graph(
            ["batch": batch, "height": 6, "width": 8, "caption_tokens": 5])
    }

    @Test("work and traffic of every module are those of its products", arguments: configs)
    func work(_ config: SanaConfig) throws {
        let graph = try Self.graph(config)
        let listed = config.modules(batch: 2, height: 6, width: 8, captionTokens: 5)
        for module in listed {
            let recorded = try #require(graph[module.path], "\(module.path)")
            #expect(recorded.kind == module.kind, "\(module.path)")
            #expect(recorded.work.operations == module.operations, "\(module.path)")
            #expect(recorded.activationBytes == module.activationBytes, "\(module.path)")
            #expect(recorded.isOutermost == module.isOutermost, "\(module.path)")
        }
        #expect(graph.operations == listed.totalOperations)
    }

    @Test("goldens hold the default set of the reference format", arguments: configs)
    func captured(_ config: SanaConfig) throws {
        let graph = try Self.graph(config)
        #expect(graph.captured.map(\.name) == config.defaultActivations)
        let shapes = config.defaultShapes(batch: 2, height: 6, width: 8, captionTokens: 5)
        #expect(graph.captured.map(\.shape) == shapes.map(\.shape))
        #expect(graph.results.map(\.name) == config.outputs)
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
        let network = try SanaNetwork.unbound(Self.small).network
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
