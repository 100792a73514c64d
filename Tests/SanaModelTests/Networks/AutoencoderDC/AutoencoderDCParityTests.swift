import SanaTestSupport
import Testing

@testable import SanaModel

/// Both entries against what diffusers computes, activation by activation.
struct AutoencoderDCParityTests {
    static let cases = [
        "sana", "lite", "in", "dc-gen", "scales", "quadratic", "activations", "batch-norm",
        "ratio4",
        "ragged-heads", "one-stage", "odd", "wide", "tiled",
    ]
    static let limit = 2e-6

    /// A golden of one entry, and the network that it is for.
    struct Entry {
        let network: any Network
        let golden: SafetensorsFile
        let contract: JSONValue
        var input: String { network.inputSpecs[0].name }
        var output: String { network.outputs[0] }

        init(_ name: String, _ entry: String) throws {
            let folder = Fixtures.path + "/dcae/" + name
            golden = try SafetensorsFile(path: folder + "/\(entry).safetensors")
            let text = golden.header.metadata.first { $0.key == "contract" }?.value
            contract = try JSONScanner.parse(text ?? "")
            let path = folder + "/config.json"
            let config = try AutoencoderDCConfig(json: JSONFile.read(path), file: path)
            var model = try AutoencoderDC(
                config,
                source: SafetensorsFile(path: folder + "/diffusion_pytorch_model.safetensors"),
                label: name)
            if let tiling = contract["tiling"] {
                func sizes(_ key: String) -> (height: Int, width: Int) {
                    let list = tiling[key]?.array?.compactMap(\.int) ?? []
                    return (list[0], list[1])
                }
                let tiles = try AutoencoderTiling(
                    sampleMin: sizes("sample_min"), sampleStride: sizes("sample_stride"),
                    for: config)
                (model.encoder.tiling, model.decoder.tiling) = (tiles, tiles)
            }
            network = entry == "decode" ? model.decoder : model.encoder
        }

        func tensor(_ name: String) throws -> DenseTensor {
            let info = try #require(golden.info(name))
            let values = try #require(try golden.bytes(of: info).widened(from: .f32))
            return DenseTensor(shape: info.shape, values: values)
        }

        func run(threads: Int = 2, probe: (any LayerProbe)? = nil) throws -> DenseTensor {
            let context = ForwardContext(workers: WorkerPool(threadCount: threads), probe: probe)
            return try network.forward([input: tensor("inputs." + input)], context)[0]
        }
    }

    /// Compares the activations that a golden holds.
    private final class Comparison: LayerProbe {
        let entry: Entry
        var compared: [String] = []
        var errors: [String: Double] = [:]
        var shapes: [String: [Int]] = [:]

        init(_ entry: Entry) { self.entry = entry }

        func begin(_ path: String) {}

        func end(_ path: String, _ outputs: [Activation]) {
            guard let output = outputs.first, entry.golden.info("activations." + path) != nil,
                let reference = try? entry.tensor("activations." + path)
            else { return }
            compared.append(path)
            shapes[path] = output.shape
            guard output.shape == reference.shape else { return }
            let sums = ErrorSums(output, with: reference.values)
            errors[path] = (sums.squaredDifference / sums.squaredReference).squareRoot()
        }
    }

    @Test(arguments: cases, ["decode", "encode"])
    func everyActivationIsThatOfDiffusers(_ name: String, _ entry: String) throws {
        let entry = try Entry(name, entry)
        let comparison = Comparison(entry)
        let output = try entry.run(probe: comparison)
        let listed = entry.contract["activations"]?.array ?? []
        for item in listed {
            let path = try #require(item["name"]?.string).dropFirst("activations.".count)
            let shape = item["shape"]?.array?.compactMap(\.int)
            #expect(comparison.shapes[String(path)] == shape, "\(path)")
            let error = comparison.errors[String(path)] ?? .infinity
            #expect(error <= Self.limit, "\(path)")
        }
        let names = listed.compactMap { $0["name"]?.string }
        #expect(comparison.compared == names.map { String($0.dropFirst("activations.".count)) })
        let reference = try entry.tensor("outputs." + entry.output)
        #expect(output.shape == reference.shape)
        let sums = ErrorSums(output, with: reference.values)
        #expect((sums.squaredDifference / sums.squaredReference).squareRoot() <= Self.limit)
    }

    @Test(arguments: cases, ["decode", "encode"])
    func goldensHoldWhatTheGraphSays(_ name: String, _ entry: String) throws {
        let entry = try Entry(name, entry)
        let input = try entry.tensor("inputs." + entry.input)
        let sizes = entry.network.sizes(of: [entry.input: input])
        // Of tiles, goldens hold none.
        guard entry.contract["tiling"] == nil else { return }
        let graph = try entry.network.graph(sizes)
        let listed = entry.contract["activations"]?.array ?? []
        #expect(
            graph.captured.map { "activations." + $0.name }
                == listed.compactMap { $0["name"]?.string })
        #expect(
            graph.captured.map(\.shape)
                == listed.compactMap { $0["shape"]?.array?.compactMap(\.int) })
        #expect(graph.results.map(\.name) == [entry.output])
        #expect(graph.results[0].shape == (try entry.tensor("outputs." + entry.output)).shape)
        #expect(!graph.results[0].sources.isEmpty)
    }

    @Test(arguments: cases, ["decode", "encode"])
    func rowByRowGivesTheSameBits(_ name: String, _ entry: String) throws {
        let entry = try Entry(name, entry)
        let whole = try entry.run(probe: ReadingProbe())
        for threads in [1, 3] {
            #expect(try entry.run(threads: threads).bitPatterns == whole.bitPatterns)
        }
    }
}
