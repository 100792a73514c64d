import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools

/// The forward against activations that diffusers computed.
struct ParityTests {
    /// Fixture folder and golden.
    static let cases: [(model: String, golden: String, variant: String?)] =
        (Fixtures.path + "/goldens").folderEntries.map { golden in
            let name = golden.dropLast(".safetensors".count)
            let model =
                name.hasPrefix("tiny-") ? "tiny/" + name.dropFirst(5) : "sana-digits/transformer"
            return (model, golden, nil)
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
        (options.tolerance, options.allowStale) = (tolerance, allowStale)
        return try Verification.run(
            load(path), Golden(path: Fixtures.path + "/goldens/" + golden), options,
            workers: WorkerPool(threadCount: 2))
    }

    @Test func everyConfigurationSwitchHasAFixture() {
        #expect(Self.cases.count >= 20)
        #expect(Self.cases.filter { $0.model.hasPrefix("sana-digits") }.count >= 3)
    }

    @Test(arguments: cases)
    func everyLayerIsWithinRoundingOfDiffusers(_ model: String, _ golden: String, _: String?) throws
    {
        let result = try Self.verify(Fixtures.path + "/" + model, golden, tolerance: 2e-6)
        #expect(result.problems == [])
        #expect(result.passes, "\(result.text(allLayers: false))")
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
