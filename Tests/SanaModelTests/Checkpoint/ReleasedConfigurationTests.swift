import SanaTestSupport
import Testing

@testable import SanaModel

struct ReleasedConfigurationTests {
    /// No tensors at all: binding names everything that a configuration calls for.
    private struct Empty: TensorSource {
        let tensors: [TensorInfo] = []
        func info(_ name: String) -> TensorInfo? { nil }
        func bytes(of tensor: TensorInfo) throws -> ByteView { ByteView([]) }
    }

    /// Names and shapes without values.
    private struct Shapes: TensorSource {
        let tensors: [TensorInfo]
        private let infos: [String: TensorInfo]

        init(_ tensors: [TensorInfo]) {
            self.tensors = tensors
            infos = Dictionary(tensors.map { ($0.name, $0) }) { first, _ in first }
        }

        func info(_ name: String) -> TensorInfo? { infos[name] }
        func bytes(of tensor: TensorInfo) throws -> ByteView { ByteView([]) }
    }

    private static func shapes(_ config: SanaConfig) throws -> Shapes {
        do {
            try config.check(source: Empty(), label: "")
        } catch let error as BindingError {
            return Shapes(
                error.missing.compactMap {
                    TensorInfo(name: $0.name, dtype: .bf16, shape: $0.shape)
                })
        }
        return Shapes([])
    }

    @Test(arguments: ReleasedConfiguration.all.indices)
    func releasedConfigurationIsWhole(_ index: Int) throws {
        let item = ReleasedConfiguration.all[index]
        let keys = item.json.members?.map(\.key) ?? []
        let modelClass = item.config.modelClass
        #expect(keys.count > 15)
        #expect(keys.allSatisfy { SanaConfig.isKnown($0, of: modelClass) })
        #expect(try SanaConfig(json: item.json, file: item.repository) == item.config)
        // diffusers' own count, on its meta device.
        #expect(try Self.shapes(item.config).parameterCount == item.parameterCount)
        let graph = try item.config.graph(batch: 1, height: 32, width: 32, captionTokens: 300)
        let modules = graph.modules
        let names = Set(try Self.shapes(item.config).tensors.map(\.name))
        for module in modules where module.kind == "Linear" || module.kind == "Conv2d" {
            #expect(names.contains(module.path + ".weight"), "\(module.path)")
        }
        #expect(modules.count { $0.kind == "SanaTransformerBlock" } == item.config.numLayers)
        #expect(
            graph.captured.count
                == 7 + (modelClass == .controlNet ? 5 : 4) * item.config.numLayers)
    }

    @Test func releasesAreTheOnesWithTheirPublishedSizes() {
        let all = ReleasedConfiguration.all
        #expect(Set(all.map(\.repository)).count == all.count)
        #expect(Set(all.map(\.family.name)).count == 8)
        for item in all {
            let millions = item.parameterCount / 1_000_000
            let name = item.repository
            if name.contains("ControlNet") { continue }
            let expected =
                name.contains("4.8B")
                ? 4721...4721
                : name.contains("_600M")
                    ? 591...591 : name.contains("_0.6B") ? 593...593 : 1604...1610
            #expect(expected.contains(millions), "\(name)")
        }
        let (two, four) = (
            all.first { $0.repository.contains("2Kpx") },
            all.first { $0.repository.contains("4Kpx") }
        )
        #expect(two?.config.interpolationScale == 1)
        #expect(two?.config.sampleSize == 64)
        #expect(four?.config.interpolationScale == 2)
        #expect(four?.config.sampleSize == 128)
    }

    @Test func familyIsToldFromShapesAlone() throws {
        for item in ReleasedConfiguration.all {
            let facts = ShapeFacts(try Self.shapes(item.config))
            #expect(facts.family == item.family)
            #expect(facts.disagreements(with: item.config).isEmpty)
            let alike = facts.released(like: item.config).map(\.repository)
            #expect(alike.contains(item.repository))
            #expect(!alike.contains { $0.contains("4Kpx") } || item.config.sampleSize == 128)
        }
        for name in ["plain", "sprint", "bias-affine", "patch2", "odd-sizes"] {
            let checkpoint = try Checkpoint.open(Fixtures.path + "/tiny/" + name)
            let facts = ShapeFacts(checkpoint.source)
            #expect(facts.family == nil)
            #expect(facts.disagreements(with: try checkpoint.sanaConfig()) == [], "\(name)")
        }
    }

    @Test func keysThatShapesContradictAreNamedWithWhatTheyShouldBe() throws {
        let right = try #require(
            ReleasedConfiguration.all.first { $0.family == .sprint06 }?.config)
        let facts = ShapeFacts(try Self.shapes(right))
        func wrong(_ change: (inout SanaConfig) -> Void) -> [String] {
            var config = right
            change(&config)
            return facts.disagreements(with: config).map { "\($0.key)=\($0.expected)" }
        }
        #expect(wrong { $0.numLayers = 20 } == ["num_layers=28"])
        #expect(wrong { $0.numAttentionHeads = 70 } == ["num_attention_heads=36"])
        #expect(
            wrong { ($0.numCrossAttentionHeads, $0.crossAttentionHeadDim) = (20, 112) }
                == ["num_cross_attention_heads=such that heads × head dimension is 1152"])
        #expect(wrong { $0.crossAttentionDim = 2240 } == ["cross_attention_dim=1152"])
        #expect(wrong { $0.captionChannels = 4096 } == ["caption_channels=2304"])
        #expect(wrong { $0.mlpRatio = 4 } == ["mlp_ratio=2.5"])
        #expect(wrong { $0.inChannels = 16 } == ["in_channels=32"])
        #expect(wrong { $0.outChannels = 16 } == ["out_channels=32"])
        #expect(wrong { $0.patchSize = 2 } == ["patch_size=1"])
        #expect(wrong { $0.guidanceEmbeds = false } == ["guidance_embeds=true"])
        #expect(wrong { $0.qkNorm = false } == ["qk_norm=\"rms_norm_across_heads\""])
        #expect(wrong { $0.attentionBias = true } == ["attention_bias=false"])
        #expect(wrong { $0.normElementwiseAffine = true } == ["norm_elementwise_affine=false"])
    }

    /// Dimensions whose product overflows must not trap.
    @Test func absurdShapesSayNothing() throws {
        let huge = [
            TensorInfo(
                name: "patch_embed.proj.weight", dtype: .bf16, shape: [1 << 40, 0, 1 << 40, 1]),
            TensorInfo(name: "proj_out.weight", dtype: .bf16, shape: [1 << 50, 0]),
            TensorInfo(
                name: "transformer_blocks.0.ff.conv_point.weight", dtype: .bf16,
                shape: [0, 1 << 62, 1, 1]),
        ].compactMap(\.self)
        let facts = ShapeFacts(Shapes(huge))
        #expect(facts.family == nil)
        #expect(facts.numLayers == 1)
        #expect(!facts.disagreements(with: SanaConfig()).isEmpty)
    }
}
