import SanaTestSupport
import Testing

@testable import SanaModel

/// The text encoder against transformers, and what holds whatever transformers computes.
struct Gemma2Tests {
    private func context(threads: Int = 2, probe: (any LayerProbe)? = nil) -> ForwardContext {
        ForwardContext(workers: WorkerPool(threadCount: threads), probe: probe)
    }

    private func bits(_ tensor: DenseTensor) -> [UInt32] {
        tensor.values.values.map(\.bitPattern)
    }

    @Test("every module is within 2e-6 of transformers in fp32", arguments: Gemma2Golden.cases)
    func parity(_ name: String) throws {
        let golden = try Gemma2Golden(name)
        let comparison = Gemma2Comparison(golden)
        let model = try golden.model()
        let output = try model.forward(golden.inputs, context(probe: comparison))[0]
        let activations = golden.tensors.keys.filter { $0.hasPrefix("activations.") }
        #expect(Set(comparison.errors.keys) == Set(activations))
        for (path, error) in comparison.errors { #expect(error < 2e-6, "\(path)") }
        // The output is that of the norm, with zeros for padding.
        let reference = try #require(golden.tensors["outputs.last_hidden_state"])
        #expect(output.shape == reference.shape)
        let padded = output.shape[1]
        for (text, ids) in golden.texts.enumerated() {
            for position in 0..<padded {
                let row = (text * padded + position) * output.shape[2]
                let first = output.values.pointer[row]
                if position < ids.count {
                    #expect(abs(first - reference.values.pointer[row]) < 1e-4)
                } else {
                    #expect(first == 0)
                }
            }
        }
    }

    @Test("without a probe passes are joined, and the results are the same")
    func joined() throws {
        let golden = try Gemma2Golden("plain")
        let model = try golden.model()
        let probed = try model.forward(
            golden.inputs, context(probe: Gemma2Comparison(golden)))[0]
        for threads in [1, 2, 5] {
            let output = try model.forward(golden.inputs, context(threads: threads))[0]
            #expect(bits(output) == bits(probed))
        }
    }

    @Test("the cap of attention scores shows, and so does leaving it out")
    func softCap() throws {
        let golden = try Gemma2Golden("plain")
        var model = try golden.model()
        let comparison = Gemma2Comparison(golden)
        model.capsScores = false
        _ = try model.forward(golden.inputs, context(probe: comparison))
        #expect(try #require(comparison.errors["activations.norm"]) > 0.01)
    }

    @Test("the graph of inputs counts no work on padding, that of sizes has none")
    func paddingIsNoWork() throws {
        let network = try Gemma2Golden("plain").config.unbound().network.network
        func operations(tokens: Int, real: Int) throws -> Int {
            let (ids, mask) = (DenseTensor(shape: [1, tokens]), DenseTensor(shape: [1, tokens]))
            mask.values.pointer.update(repeating: 1, count: real)
            return try network.graph(of: ["input_ids": ids, "attention_mask": mask]).operations
        }
        #expect(try operations(tokens: 10, real: 4) == operations(tokens: 4, real: 4))
        #expect(
            try operations(tokens: 10, real: 10)
                == network.graph(["batch": 1, "tokens": 10]).operations)
        #expect(try operations(tokens: 10, real: 4) < operations(tokens: 10, real: 10))
    }

    @Test("goldens hold the modules that the graph calls captured")
    func graph() throws {
        let golden = try Gemma2Golden("plain")
        let model = try golden.config.unbound().network.network
        let graph = try model.graph(["batch": 2, "tokens": 10])
        let listed = try #require(golden.contract["activations"]?.array)
        #expect(
            graph.captured.map { "activations." + $0.name } == listed.map { $0["name"]?.string })
        #expect(
            graph.captured.map(\.shape)
                == listed.map { ($0["shape"]?.array ?? []).compactMap(\.int) })
        #expect(graph.results.map(\.name) == ["last_hidden_state"])
        #expect(graph.results[0].sources == ["norm"])
        #expect(graph["norm"]?.inputs == ["layers.1"])
        #expect(graph["layers.1"]?.inputs == ["layers.0"])
        #expect(graph["layers.0.self_attn"]?.inputs == ["layers.0.input_layernorm"])
        // 20 tokens: four projections, queries of 32 channels with their keys, and the MLP.
        let projections = 2 * 20 * 32 * (32 + 16 + 16 + 32)
        let pairs = 2 * 10 * 11 / 2
        #expect(graph["layers.0.self_attn"]?.work.operations == projections + 4 * 32 * pairs)
        #expect(graph["layers.0.mlp"]?.work.operations == 3 * 2 * 20 * 32 * 48)
        #expect(model.sizeNames == ["batch", "tokens"])
    }

    @Test("a network of other weights is refused with what is missing")
    func otherWeights() throws {
        let golden = try Gemma2Golden("plain")
        var config = golden.config
        config.numHiddenLayers = 3
        config.slides = [true, false, true]
        #expect {
            try Gemma2Model(config, source: golden.source, label: "x")
        } throws: {
            ($0 as? BindingError)?.missing.count == 11
        }
        let prefixed = try Gemma2Golden("wide")
        #expect {
            try Gemma2Model(config, source: prefixed.source, label: "x")
        } throws: { error in
            (error as? BindingError)?.missing.first?.name.hasPrefix("model.layers.2.") == true
        }
    }

    @Test("inputs that do not fit are named")
    func inputs() throws {
        let model = try Gemma2Golden("plain").model()
        func tensor(_ shape: [Int], _ values: [Float]) -> DenseTensor {
            DenseTensor(shape: shape, values: FloatBuffer(values))
        }
        func rejected(_ inputs: NamedTensors) -> String? {
            do throws(InputError) {
                try model.check(inputs)
                return nil
            } catch { return error.input }
        }
        let ids = tensor([1, 3], [2, 5, 6])
        #expect(rejected(["input_ids": ids]) == nil)
        #expect(rejected([:]) == "input_ids")
        #expect(rejected(["input_ids": tensor([3], [2, 5, 6])]) == "input_ids")
        for wrong: Float in [80, -1, 1.5, .nan, .infinity] {
            #expect(rejected(["input_ids": tensor([1, 2], [2, wrong])]) == "input_ids")
        }
        #expect(
            rejected(["input_ids": ids, "attention_mask": tensor([1, 2], [1, 1])])
                == "attention_mask")
        for mask: [Float] in [[0, 1, 1], [1, 0, 1], [0, 0, 0], [1, 0.5, 0], [1, .nan, 0]] {
            #expect(
                rejected(["input_ids": ids, "attention_mask": tensor([1, 3], mask)])
                    == "attention_mask")
        }
        // An id that the mask hides is not looked at.
        #expect(
            rejected([
                "input_ids": tensor([1, 2], [2, 900]), "attention_mask": tensor([1, 2], [1, 0]),
            ]) == nil)
        #expect(throws: InputError.self) { try model.forward([], context()) }
        #expect(throws: InputError.self) { try model.forward([2, 80], context()) }
    }

    @Test("texts of a batch do not influence each other")
    func batch() throws {
        let golden = try Gemma2Golden("long")
        let model = try golden.model()
        let output = try model.forward(golden.inputs, context())[0]
        let dim = golden.config.hiddenSize
        for (text, ids) in golden.texts.enumerated() {
            let alone = try model.forward(ids, context())
            let start = text * output.shape[1] * dim
            #expect(
                bits(alone)
                    == (0..<ids.count * dim).map {
                        output.values.pointer[start + $0].bitPattern
                    })
        }
    }

    @Test(
        "a cache of what texts begin with changes no bit",
        arguments: ["plain", "sliding", "long", "int8"])
    func cache(_ name: String) throws {
        let golden = try Gemma2Golden(name)
        let model = try golden.model()
        let ids = golden.texts[0]
        let prefix = Array(ids.prefix(ids.count * 2 / 3))
        let cache = Gemma2Cache(ids: prefix)
        let texts =
            [ids, ids, prefix + [7], prefix + Array(repeating: 9, count: 70), ids.reversed()]
            + [Array(ids.prefix(3)), [2], prefix, ids]
        for text in texts {
            let expected = try model.forward(text, context())
            #expect(bits(try model.forward(text, cache: cache, context())) == bits(expected))
            #expect(cache.count == prefix.count)
        }
        // Another numerics is not served from it.
        var uncapped = model
        uncapped.capsScores.toggle()
        #expect(
            bits(try uncapped.forward(ids, cache: cache, context()))
                == bits(try uncapped.forward(ids, context())))
    }

    @Test(
        "states that are asked for have the bits of a whole forward, with a cache and without",
        arguments: ["plain", "sliding", "long", "int8"])
    func asked(_ name: String) throws {
        let golden = try Gemma2Golden(name)
        let model = try golden.model()
        let ids = golden.texts[0]
        let texts = [ids, [2], ids + Array(repeating: 9, count: 70)]
        let dim = golden.config.hiddenSize
        let cache = Gemma2Cache(ids: Array(ids.prefix(ids.count * 2 / 3)))
        for start in [ids.count / 2, ids.count - 1, 1] {
            let asked = texts.map { text in
                [0] + (start..<start + 60).filter { $0 < text.count }
            }
            for cache in [nil, cache, cache] {
                let states = try model.forward(
                    texts: texts, asking: asked, cache: cache, context())
                for (text, (states, asked)) in zip(texts, zip(states, asked)) {
                    let whole = bits(try model.forward(text, context()))
                    let found = bits(states)
                    for position in text.indices {
                        let row = position * dim..<(position + 1) * dim
                        let isThere = asked.contains(position) || position == text.count - 1
                        let expected = isThere ? whole[row] : ArraySlice(repeating: 0, count: dim)
                        #expect(found[row].elementsEqual(expected))
                    }
                }
            }
        }
    }

    @Test("a cache knows what its first text had of the prefix")
    func partialCache() throws {
        let golden = try Gemma2Golden("plain")
        let (model, ids) = (try golden.model(), golden.texts[0])
        let cache = Gemma2Cache(ids: Array(ids.prefix(4)) + [50, 51])
        _ = try model.forward([9, 9, 9], cache: cache, context())
        #expect(cache.count == 0)
        _ = try model.forward(ids, cache: cache, context())
        #expect(cache.count == 4)
    }

    @Test("sums over more than 512 keys are the same with a cache, however long the text")
    func longCache() throws {
        let model = try Gemma2Golden("plain").model()
        let prefix = (0..<530).map { 2 + $0 * 7 % 70 }
        let cache = Gemma2Cache(ids: prefix)
        _ = try model.forward(prefix + [3], cache: cache, context())
        let text = prefix + (0..<90).map { 3 + $0 % 60 }
        #expect(
            bits(try model.forward(text, cache: cache, context()))
                == bits(try model.forward(text, context())))
    }
}
