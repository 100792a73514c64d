import SanaModel
import SanaTestSupport
import Testing

/// What holds for the forward whatever diffusers computes; parity itself is tested with the
/// goldens, in SanaToolsTests.
struct ForwardTests {
    private func model(_ name: String) throws -> SanaTransformer2DModel {
        let checkpoint = try Checkpoint.open(Fixtures.path + "/" + name)
        return try SanaTransformer2DModel(
            checkpoint.sanaConfig(), source: checkpoint.source, label: name)
    }

    private func ramp(_ shape: [Int], _ scale: Float = 0.01) -> DenseTensor {
        let tensor = DenseTensor(shape: shape)
        for index in 0..<tensor.count {
            tensor.values.pointer[index] = Float((index &* 7919) % 200 - 100) * scale
        }
        return tensor
    }

    private func inputs(batch: Int = 2, side: Int = 8) -> SanaInputs {
        SanaInputs(
            hiddenStates: ramp([batch, 1, side, side]), encoderHiddenStates: ramp([batch, 12, 64]),
            timestep: ramp([batch], 5))
    }

    @Test func resultsDoNotDependOnThreadsToTheBit() throws {
        let model = try model("sana-digits")
        let expected = try model.forward(
            inputs(side: 24), ForwardContext(workers: WorkerPool(threadCount: 1)))
        for threads in [2, 3, 7] {
            let context = ForwardContext(workers: WorkerPool(threadCount: threads))
            // Twice: the second forward finds the buffers of the first.
            for _ in 0..<2 {
                let output = try model.forward(inputs(side: 24), context)
                #expect(
                    output.values.values.map(\.bitPattern)
                        == expected.values.values.map(\.bitPattern))
            }
        }
    }

    @Test(arguments: ComputeMode.allCases, ["sana-digits", "tiny/qknorm"])
    func keptKeysAndValuesOfCaptionsChangeNoBit(_ compute: ComputeMode, _ name: String) throws {
        let model = try model(name)
        let config = model.config
        func inputs(_ captions: Float) -> SanaInputs {
            SanaInputs(
                hiddenStates: ramp([2, config.inChannels, 8, 8]),
                encoderHiddenStates: ramp([2, 12, config.captionChannels], captions),
                timestep: ramp([2], 5))
        }
        func forward(_ inputs: SanaInputs, _ context: ForwardContext) throws -> [UInt32] {
            try model.forward(inputs, context).values.values.map(\.bitPattern)
        }
        let workers = WorkerPool(threadCount: 2)
        let context = ForwardContext(workers: workers, compute: compute)
        let cache = CaptionCache()
        for captions in [Float(0.01), 0.02] {
            var kept = inputs(captions)
            kept.captionCache = cache
            for step in 0..<3 {
                kept.hiddenStates = ramp([2, config.inChannels, 8, 8], Float(step + 1) * 0.01)
                var plain = kept
                plain.captionCache = nil
                let expected = try forward(
                    plain, ForwardContext(workers: workers, compute: compute))
                #expect(try forward(kept, context) == expected)
            }
        }
        // Another mode does not meet what this one left.
        var other = inputs(0.01)
        let exact = try forward(other, ForwardContext(workers: workers, compute: .fp32))
        other.captionCache = cache
        _ = try forward(other, context)
        #expect(try forward(other, ForwardContext(workers: workers, compute: .fp32)) == exact)
    }

    @Test func oneContextServesForwardsOfDifferentSizes() throws {
        let model = try model("sana-digits")
        let context = ForwardContext(workers: WorkerPool(threadCount: 2))
        let alone = try model.forward(inputs(), ForwardContext(workers: WorkerPool(threadCount: 2)))
        for side in [4, 16, 8] {
            let output = try model.forward(inputs(side: side), context)
            #expect(output.shape == [2, 1, side, side])
            if side == 8 { #expect(output.values.values == alone.values.values) }
        }
    }

    @Test func imagesOfABatchDoNotInfluenceEachOther() throws {
        let model = try model("sana-digits")
        let context = ForwardContext(workers: WorkerPool(threadCount: 2))
        let both = inputs()
        let output = try model.forward(both, context).values.values
        var changed = both
        changed.hiddenStates = ramp([2, 1, 8, 8])
        for index in 64..<128 { changed.hiddenStates.values.pointer[index] = 3 }
        let other = try model.forward(changed, context).values.values
        #expect(output[..<64] == other[..<64])
        #expect(output[64...] != other[64...])
    }

    @Test func inputsThatDoNotFitAreNamed() throws {
        let model = try model("sana-digits")
        let context = ForwardContext(workers: WorkerPool(threadCount: 1))
        func rejected(_ change: (inout SanaInputs) -> Void) -> String? {
            var changed = inputs()
            change(&changed)
            do throws(InputError) {
                _ = try model.forward(changed, context)
                return nil
            } catch { return error.input }
        }
        #expect(rejected { _ in } == nil)
        #expect(rejected { $0.hiddenStates = ramp([2, 3, 8, 8]) } == "hidden_states")
        #expect(rejected { $0.hiddenStates = ramp([0, 1, 8, 8]) } == "hidden_states")
        #expect(rejected { $0.hiddenStates = ramp([2, 1, 0, 8]) } == "hidden_states")
        #expect(rejected { $0.encoderHiddenStates = ramp([1, 12, 64]) } == "encoder_hidden_states")
        #expect(rejected { $0.encoderHiddenStates = ramp([2, 0, 64]) } == "encoder_hidden_states")
        #expect(rejected { $0.timestep = ramp([1]) } == "timestep")
        #expect(rejected { $0.guidance = ramp([2]) } == "guidance")
        #expect(rejected { $0.encoderAttentionMask = ramp([2, 11]) } == "encoder_attention_mask")
        #expect(
            rejected { $0.controlnetBlockSamples = [ramp([2, 64, 7])] }
                == "controlnet_block_samples.0")
    }

    /// A golden of a few kilobytes, compressed, can ask for any size.
    @Test func sizesThatNoMachineHoldsAreRefusedBeforeAllocation() throws {
        var config = SanaConfig()
        config.captionChannels = 1
        for (side, captions) in [(1 << 20, 10), (8, 1 << 34), (8192, 300)] {
            #expect(throws: InputError.self) {
                try SanaInputs.check(
                    batch: 1, height: side, width: side, captionTokens: captions, for: config)
            }
        }
        #expect(throws: Never.self) {
            try SanaInputs.check(batch: 1, height: 32, width: 32, captionTokens: 300, for: config)
        }
    }

    @Test func guidanceIsRequiredWhereItIsEmbedded() throws {
        let checkpoint = try Checkpoint.open(Fixtures.path + "/tiny/sprint")
        let config = try checkpoint.sanaConfig()
        let model = try SanaTransformer2DModel(config, source: checkpoint.source, label: "sprint")
        let inputs = SanaInputs(
            hiddenStates: ramp([1, config.inChannels, 4, 4]),
            encoderHiddenStates: ramp([1, 3, config.captionChannels]), timestep: ramp([1]))
        #expect {
            try model.forward(inputs, ForwardContext(workers: WorkerPool(threadCount: 1)))
        } throws: {
            ($0 as? InputError)?.input == "guidance"
        }
    }

    /// fp16-clip bounds the output of linear attention and nothing else.
    @Test func fp16ClipBoundsAttentionOutputs() throws {
        final class Largest: LayerProbe {
            var magnitude: [String: Float] = [:]
            func begin(_ path: String) {}
            func end(_ path: String, _ outputs: [Activation]) {
                magnitude[path] = outputs.flatMap(\.values.values).reduce(0) { max($0, abs($1)) }
            }
        }
        let doctored = try DoctoredCheckpoint("sana-digits/transformer")
        // 1e6 in BF16.
        try doctored.patch("transformer_blocks.0.attn1.to_out.0.bias", with: [0x74, 0x49])
        let checkpoint = try Checkpoint.open(doctored.path)
        let model = try SanaTransformer2DModel(
            checkpoint.sanaConfig(), source: checkpoint.source, label: "doctored")
        for (numerics, isBounded) in [(Numerics.fp32, false), (.fp16Clip, true)] {
            let probe = Largest()
            let context = ForwardContext(
                workers: WorkerPool(threadCount: 1), numerics: numerics, probe: probe)
            _ = try model.forward(inputs(), context)
            let largest = probe.magnitude["transformer_blocks.0.attn1"] ?? 0
            #expect((largest <= 65504) == isBounded, "\(numerics): \(largest)")
        }
    }

    @Test func operationsOfTheReleasedSizes() throws {
        // heads, layers, cross heads × dim; FACTS of the design: about 1.1 and 2.9 TFLOP at 1024
        // px.
        var small = SanaConfig()
        (small.numAttentionHeads, small.numLayers) = (36, 28)
        (small.numCrossAttentionHeads, small.crossAttentionHeadDim, small.crossAttentionDim) = (
            16, 72, 1152
        )
        let sizes = [(small, 1.1e12), (SanaConfig(), 2.9e12)]
        for (config, expected) in sizes {
            let graph = try config.graph(batch: 1, height: 32, width: 32, captionTokens: 300)
            let (modules, operations) = (graph.modules, Double(graph.operations))
            #expect(abs(operations - expected) < 0.05e12 * 1.5, "\(operations)")
            #expect(Set(modules.map(\.path)).count == modules.count)
        }
    }

    /// Every module that the tree lists is one that the forward announces, and the other way round
    /// for arithmetic.
    @Test(arguments: ["sana-digits", "tiny/sprint"])
    func moduleTreeAndForwardAgree(_ name: String) throws {
        final class Paths: LayerProbe {
            var begun: [String] = []
            var open = 0
            func begin(_ path: String) {
                begun.append(path)
                open += 1
            }
            func end(_ path: String, _ outputs: [Activation]) { open -= 1 }
        }
        let checkpoint = try Checkpoint.open(Fixtures.path + "/" + name)
        let config = try checkpoint.sanaConfig()
        let model = try SanaTransformer2DModel(config, source: checkpoint.source, label: name)
        let probe = Paths()
        let inputs = SanaInputs(
            hiddenStates: ramp([1, config.inChannels, 8, 8]),
            encoderHiddenStates: ramp([1, 5, config.captionChannels]), timestep: ramp([1]),
            guidance: config.guidanceEmbeds ? ramp([1]) : nil)
        _ = try model.forward(
            inputs, ForwardContext(workers: WorkerPool(threadCount: 1), probe: probe))
        #expect(probe.open == 0)
        let graph = try config.graph(batch: 1, height: 8, width: 8, captionTokens: 5)
        #expect(graph.modules.map(\.path) == probe.begun)
    }
}
