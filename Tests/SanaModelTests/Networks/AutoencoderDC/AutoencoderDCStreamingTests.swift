import SanaTestSupport
import Testing

@testable import SanaModel

/// Pictures large enough that rows pass through rings many times.
@Suite(.tags(.slow)) struct AutoencoderDCStreamingTests {
    static let configs = [
        """
        {"latent_channels": 4, "attention_head_dim": 8,
         "encoder_block_types": ["ResBlock", "ResBlock", "EfficientViTBlock"],
         "decoder_block_types": ["ResBlock", "ResBlock", "EfficientViTBlock"],
         "encoder_block_out_channels": [8, 16, 32], "decoder_block_out_channels": [8, 16, 32],
         "encoder_layers_per_block": [2, 1, 1], "decoder_layers_per_block": [1, 2, 1],
         "encoder_qkv_multiscales": [[], [], [5]], "decoder_qkv_multiscales": [[], [], [3, 5]],
         "downsample_block_type": "Conv", "upsample_block_type": "interpolate"}
        """,
        """
        {"latent_channels": 4, "attention_head_dim": 8,
         "encoder_block_out_channels": [8, 16, 32], "decoder_block_out_channels": [8, 16, 32],
         "encoder_layers_per_block": [0, 1, 2], "decoder_layers_per_block": [0, 2, 1],
         "encoder_qkv_multiscales": [[], [], []], "decoder_qkv_multiscales": [[], [], []],
         "decoder_norm_types": ["batch_norm", "batch_norm", "rms_norm"]}
        """,
        """
        {"latent_channels": 4, "encoder_block_types": "ResBlock", "decoder_block_types": "ResBlock",
         "encoder_block_out_channels": [40, 32], "decoder_block_out_channels": [40, 32],
         "encoder_layers_per_block": [1, 2], "decoder_layers_per_block": [2, 1],
         "encoder_qkv_multiscales": [[], []], "decoder_qkv_multiscales": [[], []],
         "upsample_block_type": "interpolate"}
        """,
    ]

    private func outputs(
        _ network: any Network, _ input: DenseTensor, threads: Int = 2,
        compute: ComputeMode = .fp32, probe: (any LayerProbe)? = nil, keeps: Bool = true
    ) throws -> DenseTensor {
        let context = ForwardContext(
            workers: WorkerPool(threadCount: threads), compute: compute, probe: probe)
        if !keeps { context.mostKeptFloats = 0 }
        return try network.forward([network.inputSpecs[0].name: input], context)[0]
    }

    /// 300 columns: several segments a row, and several stripes a picture.
    @Test(arguments: configs, [ComputeMode.fp32, .bf16])
    func bitsDependOnNeitherStripesNorThreads(_ json: String, _ compute: ComputeMode) throws {
        let model = try RandomAutoencoder.make(RandomAutoencoder.config(json))
        for (network, shape) in [
            (model.decoder as any Network, [2, 4, 37, 75]), (model.encoder, [2, 3, 148, 300]),
        ] {
            let input = RandomAutoencoder.input(shape)
            let whole = try outputs(network, input, compute: compute, probe: ReadingProbe())
            #expect(whole.nonfiniteCount == 0)
            for threads in [1, 2, 5] {
                let rows = try outputs(network, input, threads: threads, compute: compute)
                #expect(rows.bitPatterns == whole.bitPatterns, "\(network.outputs), \(threads)")
            }
            let twice = try outputs(network, input, compute: compute, keeps: false)
            #expect(twice.bitPatterns == whole.bitPatterns, "\(network.outputs)")
        }
    }

    @Test(arguments: configs)
    func imagesOfABatchAreTheirOwn(_ json: String) throws {
        let model = try RandomAutoencoder.make(RandomAutoencoder.config(json))
        let input = RandomAutoencoder.input([3, 4, 5, 6])
        let all = try outputs(model.decoder, input)
        for index in 0..<3 {
            let one = try outputs(model.decoder, input.part(index, of: 3))
            #expect(one.bitPatterns == all.part(index, of: 3).bitPatterns)
        }
    }

    @Test("a probe that does not read hears of every block in order")
    func probes() throws {
        final class Listener: LayerProbe {
            let readsActivations = false
            var ended: [String] = []
            func begin(_ path: String) {}
            func end(_ path: String, _ outputs: [Activation]) { ended.append(path) }
            var (running, pieces) = ([String](), 0)
            func resume(_ path: String) { running.append(path) }
            func pause(_ path: String) {
                #expect(running.popLast() == path)
                pieces += 1
            }
            func finish(_ path: String) { ended.append(path) }
        }
        let model = try RandomAutoencoder.make(RandomAutoencoder.config(Self.configs[0]))
        let input = RandomAutoencoder.input([1, 4, 5, 6])
        let listener = Listener()
        let heard = try outputs(model.decoder, input, probe: listener)
        let graph = try model.decoder.graph(["batch": 1, "height": 5, "width": 6])
        #expect(listener.ended == graph.captured.map(\.name))
        #expect(listener.pieces > 0)
        #expect(listener.running.isEmpty)
        #expect(heard.bitPatterns == (try outputs(model.decoder, input)).bitPatterns)
    }

    @Test("of the products of 3×3 convolutions four of nine are left where they are saved")
    func leastOperations() throws {
        let model = try RandomAutoencoder.make(RandomAutoencoder.config(Self.configs[0]))
        let graph = try model.decoder.graph(["batch": 1, "height": 4, "width": 4])
        func work(_ path: String) throws -> ModuleGraph.Work {
            try #require(graph[path]?.work)
        }
        let conv = try work("decoder.up_blocks.0.1.conv1")
        #expect(9 * conv.leastOperations == 4 * conv.operations)
        let up = try work("decoder.up_blocks.0.0.conv")
        #expect(9 * up.leastOperations == 4 * up.operations)
        let attention = try work("decoder.up_blocks.2.0.attn")
        #expect(attention.leastOperations == attention.operations)
        let whole = try work("decoder.up_blocks.0")
        #expect(whole.operations - whole.leastOperations > conv.operations / 2)
        let encoder = try model.encoder.graph(["batch": 1, "height": 16, "width": 16])
        let down = try #require(encoder.modules.first { $0.kind == "DCDownBlock2d" }?.work)
        #expect(down.leastOperations == down.operations)
    }

    @Test("inputs that do not fit are named")
    func misfits() throws {
        let model = try RandomAutoencoder.make(RandomAutoencoder.config(Self.configs[0]))
        func rejects(_ network: any Network, _ shape: [Int]?) -> Bool {
            let name = network.inputSpecs[0].name
            let tensor = shape.map { DenseTensor(shapeOnly: $0) }
            do throws(InputError) {
                try network.check(tensor.map { [name: $0] } ?? [:])
                return false
            } catch { return error.input == name }
        }
        #expect(!rejects(model.decoder, [1, 4, 1, 1]))
        #expect(rejects(model.decoder, nil))
        #expect(rejects(model.decoder, [1, 3, 4, 4]))
        #expect(rejects(model.decoder, [0, 4, 4, 4]))
        #expect(rejects(model.decoder, [1, 4, 0, 4]))
        #expect(rejects(model.decoder, [4, 4, 4]))
        #expect(rejects(model.decoder, [1, 4, 1 << 20, 1 << 20]))
        #expect(rejects(model.decoder, [1, 4, 1, 1 << 25]))
        #expect(!rejects(model.encoder, [1, 3, 8, 12]))
        #expect(rejects(model.encoder, [1, 3, 8, 10]))
        #expect(rejects(model.encoder, [1, 3, 7, 12]))
    }

    @Test("tiles that no latent fits are refused")
    func tiles() throws {
        let config = try RandomAutoencoder.config(Self.configs[0])
        #expect(throws: Never.self) { try AutoencoderTiling(for: config) }
        var coarse = config
        coarse.encoder = [AutoencoderDCConfig.Stage](repeating: config.encoder[0], count: 11)
        #expect(throws: InputError.self) { try AutoencoderTiling(for: coarse) }
        for (size, stride) in [(3, 3), (16, 3), (8, 16), (16, 0), (-8, -8)] {
            #expect(throws: InputError.self) {
                try AutoencoderTiling(
                    sampleMin: (size, size), sampleStride: (stride, stride), for: config)
            }
        }
    }
}
