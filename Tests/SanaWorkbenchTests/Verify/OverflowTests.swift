import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// A checkpoint whose linear attention puts out more than fp16 holds, against diffusers in FP32,
/// which keeps such values, and in FP16, which clips them.
struct OverflowTests {
    private let model = Fixtures.path + "/overflow"
    private let attention = "transformer_blocks.0.attn1"

    private func verify(
        _ dtype: String, _ numerics: Numerics, isolated: Bool = true, tolerance: Double = 5e-3
    ) throws -> Verification {
        let workers = WorkerPool(threadCount: 2)
        var options = Verification.Options()
        options.tolerances.base = tolerance
        (options.numerics, options.isolated) = (numerics, isolated)
        return try Verification.run(
            OpenedModel.open(model).load(workers: workers),
            Golden(path: model + "/golden-\(dtype).safetensors"), options, workers: workers)
    }

    @Test func profilesFollowDiffusersInBothPrecisions() throws {
        let wide = try verify("float32", .fp32, tolerance: 2e-6)
        #expect(wide.passes, "\(wide.text(.init()))")
        let clipped = try verify("float16", .fp16Clip)
        #expect(clipped.passes, "\(clipped.text(.init()))")
        let layer = try #require(clipped.layers.first { $0.path == attention })
        // Nothing is larger than fp16's largest number, which the golden reaches.
        #expect(layer.comparison.goldenMaxAbs == 65504)
        #expect(layer.comparison.fp16Headroom == 1)
        #expect(layer.comparison.relativeRMS < 1e-3)
    }

    @Test(arguments: [true, false]) func overflowIsBlamedOnTheAttention(_ isolated: Bool) throws {
        for (dtype, numerics) in [("float32", Numerics.fp16Clip), ("float16", .fp32)] {
            let result = try verify(dtype, numerics, isolated: isolated)
            #expect(result.attribution?.cause == attention, "\(result.text(.init()))")
            #expect(result.problems.map(\.kind) == [.precision])
            #expect(result.verdict == .fail)
        }
    }

    @Test func headroomTellsBeforehand() throws {
        let result = try verify("float32", .fp32)
        for layer in result.layers {
            #expect((layer.comparison.fp16Headroom < 1) == (layer.path == attention))
        }
    }

    /// Clipping changes values beyond the limit and no other.
    @Test func profileClipsTheAttentionAlone() throws {
        final class Recorder: LayerProbe {
            var values: [Float] = []
            func begin(_ path: String) {}
            func end(_ path: String, _ outputs: [Activation]) {
                if path == "transformer_blocks.0.attn1" { values = outputs[0].values.values }
            }
        }
        let workers = WorkerPool(threadCount: 1)
        let transformer = try OpenedModel.open(model).load(workers: workers).transformer
        let inputs = try Golden(path: model + "/golden-float32.safetensors").inputs
        let values = try Numerics.allCases.map { numerics in
            let probe = Recorder()
            _ = try transformer.forward(
                inputs, ForwardContext(workers: workers, numerics: numerics, probe: probe))
            return probe.values
        }
        #expect(values[1] == values[0].map { min(max($0, -65504), 65504) })
        #expect(values[0].contains { $0 > 65504 })
        #expect(values[0].contains { $0 < -65504 })
    }
}
