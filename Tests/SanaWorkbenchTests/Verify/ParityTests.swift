import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// The forward against activations that diffusers computed.
@Suite(.tags(.slow)) struct ParityTests {
    /// Fixture folder and golden.
    static let cases: [(model: String, golden: String)] =
        ((try? (Fixtures.path + "/goldens").folderEntries()) ?? []).map { golden in
            let name = golden.dropLast(".safetensors".count)
            let model =
                name.hasPrefix("tiny-") ? "tiny/" + name.dropFirst(5) : "sana-digits/transformer"
            return (model, golden)
        }

    private static func load(_ path: String) throws -> LoadedModel {
        // The one fixture with two variants has the golden of its plain weights.
        let file = path + "/diffusion_pytorch_model.safetensors"
        let target = path.hasSuffix("variants-two") ? file : path
        return try OpenedModel.open(target).load(workers: WorkerPool(threadCount: 2))
    }

    private static func verify(
        _ path: String, _ golden: String, tolerance: Double, allowStale: Bool = false
    ) throws -> Verification {
        var options = Verification.Options()
        (options.tolerances.base, options.allowStale) = (tolerance, allowStale)
        return try Verification.run(
            load(path), Golden(path: Fixtures.path + "/goldens/" + golden), options,
            workers: WorkerPool(threadCount: 2))
    }

    @Test func everyCheckpointHasAGolden() throws {
        let models = Set(Self.cases.map(\.model))
        #expect(
            try models
                == Set(
                    (Fixtures.path + "/tiny").folderEntries().map { "tiny/" + $0 } + [
                        "sana-digits/transformer"
                    ]))
        #expect(Self.cases.filter { $0.model.hasPrefix("sana-digits") }.count >= 3)
    }

    /// Each switch of the configuration occurs on and off, or it is not tested.
    @Test func everyConfigurationSwitchOccursOnAndOff() throws {
        let configs = try Set(Self.cases.map(\.model)).map { model in
            let path = Fixtures.path + "/\(model)/config.json"
            return try SanaConfig(json: JSONFile.read(path), file: path)
        }
        let switches: [(String, (SanaConfig) -> Bool)] = [
            ("positions", { $0.interpolationScale != nil }),
            ("interpolation_scale", { ($0.interpolationScale ?? 1) != 1 }),
            ("patch_size", { $0.patchSize > 1 }), ("guidance_embeds", { $0.guidanceEmbeds }),
            ("qk_norm", { $0.qkNorm }), ("attention_bias", { $0.attentionBias }),
            ("norm_elementwise_affine", { $0.normElementwiseAffine }),
            ("norm_eps", { $0.normEps != 1e-6 }), ("channels", { $0.inChannels != $0.outChannels }),
            ("cross width", { $0.crossInnerDim != $0.innerDim }),
            ("fractional mlp", { Double($0.ffHiddenDim) != $0.mlpRatio * Double($0.innerDim) }),
        ]
        for (name, isOn) in switches {
            #expect(configs.contains(where: isOn), "\(name)")
            #expect(!configs.allSatisfy(isOn), "\(name)")
        }
        let inputs = try Self.cases.map {
            try Golden(path: Fixtures.path + "/goldens/" + $0.golden).inputs
        }
        #expect(Set(inputs.map { $0["encoder_attention_mask"]?.shape.count }) == [nil, 2, 3])
        #expect(inputs.contains { $0["controlnet_block_samples.0"] != nil })
        let latents = try inputs.map { try #require($0["hidden_states"]).shape }
        #expect(latents.contains { $0[2] != $0[3] })
        #expect(Set(latents.map { $0[0] }).isSuperset(of: [1, 2]))
    }

    /// A probe that reads keeps passes apart; without one they are joined.
    @Test(arguments: cases)
    func joinedPassesGiveTheSameBits(_ model: String, _ golden: String) throws {
        final class Reader: LayerProbe {
            var read = 0
            func begin(_ path: String) {}
            func end(_ path: String, _ outputs: [Activation]) { read += outputs.count }
        }
        let loaded = try Self.load(Fixtures.path + "/" + model)
        let inputs = try Golden(path: Fixtures.path + "/goldens/" + golden).inputs
        let reader = Reader()
        func sample(_ probe: (any LayerProbe)?) throws -> [Float] {
            let context = ForwardContext(workers: WorkerPool(threadCount: 2), probe: probe)
            let sample = try loaded.network.forward(inputs, context)[0]
            return Array(
                UnsafeBufferPointer(start: sample.values.pointer, count: sample.values.count))
        }
        #expect(try sample(nil) == sample(reader))
        #expect(reader.read > 10)
    }

    @Test(arguments: cases)
    func everyLayerIsWithinRoundingOfDiffusers(_ model: String, _ golden: String) throws {
        let result = try Self.verify(Fixtures.path + "/" + model, golden, tolerance: 2e-6)
        #expect(result.problems == [])
        #expect(result.passes, "\(result.text(.init(allLayers: false)))")
        #expect(result.layers.count >= 9)
        #expect(result.output != nil)
    }

    /// A check of the check: one element of one tensor is changed, and the layer that holds it is
    /// the first to fail.
    @Test(arguments: [
        ("patch_embed.proj.bias", "patch_embed"),
        ("time_embed.linear.weight", "time_embed.0"),
        ("caption_projection.linear_2.weight", "caption_projection"),
        ("caption_norm.weight", "caption_norm"),
        ("transformer_blocks.1.attn1.to_k.weight", "transformer_blocks.1.attn1"),
        ("transformer_blocks.2.attn1.to_out.0.bias", "transformer_blocks.2.attn1"),
        ("transformer_blocks.2.attn2.to_v.weight", "transformer_blocks.2.attn2"),
        ("transformer_blocks.3.ff.conv_depth.weight", "transformer_blocks.3.ff"),
        ("transformer_blocks.3.ff.conv_point.weight", "transformer_blocks.3.ff"),
        ("proj_out.weight", "proj_out"),
    ])
    func oneWrongElementIsBlamedOnItsLayer(_ tensor: String, _ layer: String) throws {
        let doctored = try DoctoredCheckpoint("sana-digits/transformer")
        // 2.5 in BF16, far from any trained weight.
        try doctored.patch(
            tensor, element: tensor.hasSuffix("weight") && !tensor.hasPrefix("proj_out") ? 40 : 0,
            with: [0x20, 0x40])
        let golden = "sana-digits-b2-t999.safetensors"
        let result = try Self.verify(doctored.path, golden, tolerance: 2e-6, allowStale: true)
        #expect(!result.passes)
        #expect(result.firstOutOfTolerance == layer)
        let strict = try Self.verify(doctored.path, golden, tolerance: 2e-6)
        #expect(strict.problems.map(\.kind) == [.stale])
    }

    /// Every configuration switch must matter, or a golden that ignores it would pass.
    @Test(arguments: [
        ("qknorm", #""norm_eps": 1e-06"#, #""norm_eps": 1e-02"#),
        ("positions", #""interpolation_scale": 1"#, #""interpolation_scale": 3"#),
        ("positions", #""sample_size": "#, #""sample_size": 1"#),
        ("sprint", #""norm_eps": 1e-06"#, #""norm_eps": 1e-02"#),
    ])
    func wrongConfigurationFails(_ name: String, _ old: String, _ new: String) throws {
        let doctored = try DoctoredCheckpoint("tiny/" + name)
        try doctored.editConfig(old, new)
        let result = try Self.verify(doctored.path, "tiny-\(name).safetensors", tolerance: 2e-6)
        #expect(!result.passes)
    }
}
