import SanaModel
import SanaTestSupport
import Testing

/// A golden of version 2 that transformers made of a `Gemma2Model`, with its checkpoint.
struct Gemma2Golden {
    static let cases = [
        "plain", "cap-off", "no-cap", "wide", "sliding", "bias", "long", "int8",
    ]

    let config: Gemma2Config
    let source: any TensorSource
    let contract: JSONValue
    /// `inputs.*` by their names, integers as floats.
    let inputs: NamedTensors
    /// `activations.*` and `outputs.*`.
    let tensors: NamedTensors
    private let folder: String

    init(_ name: String) throws {
        folder = Fixtures.path + "/gemma/" + name
        config = try Gemma2Config(
            json: JSONFile.read(folder + "/config.json"), file: folder + "/config.json")
        let index = folder + "/model.safetensors.index.json"
        source =
            index.pathExists
            ? try ShardSet(index: index) : try SafetensorsFile(path: folder + "/model.safetensors")
        let file = try SafetensorsFile(path: folder + "/golden.safetensors")
        let metadata = Dictionary(
            uniqueKeysWithValues: file.header.metadata.map { ($0.key, $0.value) })
        #expect(metadata["version"] == "2")
        contract = try JSONScanner.parse(try #require(metadata["contract"]))
        var (inputs, tensors) = (NamedTensors(), NamedTensors())
        for info in file.tensors {
            let tensor = DenseTensor(shape: info.shape)
            try file.bytes(of: info).withUnsafeBytes { bytes in
                for element in 0..<tensor.count {
                    tensor.values.pointer[element] =
                        info.dtype == .i64
                        ? Float(bytes.loadUnaligned(fromByteOffset: 8 * element, as: Int64.self))
                        : bytes.loadUnaligned(fromByteOffset: 4 * element, as: Float.self)
                }
            }
            if info.name.hasPrefix("inputs.") {
                inputs[String(info.name.dropFirst(7))] = tensor
            } else {
                tensors[info.name] = tensor
            }
        }
        (self.inputs, self.tensors) = (inputs, tensors)
    }

    func model() throws -> Gemma2Model {
        var model = try Gemma2Model(config, source: source, label: folder)
        model.capsScores = contract["soft_cap"] == .bool(true)
        return model
    }

    /// Ids of every text without padding.
    var texts: [[Int]] {
        guard let ids = inputs["input_ids"], let mask = inputs["attention_mask"] else { return [] }
        return (0..<ids.shape[0]).map { text in
            let row = text * ids.shape[1]
            return (0..<ids.shape[1]).filter { mask.values.pointer[row + $0] == 1 }
                .map { Int(ids.values.pointer[row + $0]) }
        }
    }
}

/// Relative RMS errors of what modules put out, where they put out anything.
final class Gemma2Comparison: LayerProbe {
    private let golden: Gemma2Golden
    private(set) var errors: [String: Double] = [:]

    init(_ golden: Gemma2Golden) { self.golden = golden }

    func begin(_ path: String) {}

    func end(_ path: String, _ outputs: [Activation]) {
        let name = "activations." + path
        guard let reference = golden.tensors[name], let output = outputs.first else { return }
        #expect(output.shape == reference.shape, "\(path)")
        var sums = (difference: 0.0, reference: 0.0)
        output.forEachRun { start, run in
            for (index, value) in run.enumerated() {
                let expected = Double(reference.values.pointer[start + index])
                sums.difference += (Double(value) - expected) * (Double(value) - expected)
                sums.reference += expected * expected
            }
        }
        errors[name] = (sums.difference / sums.reference).squareRoot()
    }
}
