import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// What capture's script is told of a network, against goldens that were recorded without it.
struct CapturePlanTests {
    private func plan(
        _ folder: String, entry: String? = nil, _ request: SizeRequest = SizeRequest()
    ) throws -> CapturePlan {
        let file = Fixtures.path + "/\(folder)/config.json"
        let config = try NetworkClass.configuration(JSONFile.read(file), file: file)
        return try CapturePlan(config, entry: entry, request)
    }

    @Test(
        "the plan names the class, entry, outputs and activations of a golden",
        arguments: [
            ("tiny/plain", "goldens/tiny-plain", nil),
            ("tiny/sprint", "goldens/tiny-sprint", nil),
            ("controlnet/repository/controlnet", "controlnet/golden-controlnet", nil),
            ("dcae/sana", "dcae/sana/decode", "decode"),
            ("dcae/sana", "dcae/sana/encode", "encode"),
            ("gemma/wide", "gemma/wide/golden", nil),
        ])
    func modules(_ folder: String, _ file: String, _ entry: String?) throws {
        let json = try plan(folder, entry: entry).json
        let golden = try Golden(path: Fixtures.path + "/\(file).safetensors")
        #expect(json["class"]?.string == golden.contract["model_class"]?.string)
        #expect(json["entry"]?.string == golden.contract["entry"]?.string)
        let named = (json["modules"]?.members ?? []).flatMap { member in
            let count = member.value.int ?? 0
            return count == 1 ? [member.key] : (0..<count).map { "\(member.key).\($0)" }
        }
        // Leaves are of --detail full, which no plan lists.
        let leaves = golden.listed.map(\.name).filter { $0.hasSuffix("norm_k") }
        #expect(Set(named).isSubset(of: golden.listed.map(\.name)))
        #expect(!leaves.isEmpty || named.count == golden.listed.count)
        let inputs = (json["inputs"]?.array ?? []).compactMap { $0["name"]?.string }
        #expect(Set(golden.inputs.keys).subtracting(inputs).isEmpty)
        for spec in json["inputs"]?.array ?? [] where spec["required"]?.bool == true {
            #expect(golden.inputs[spec["name"]?.string ?? ""] != nil)
        }
    }

    @Test("the shape of an input follows the sizes asked for")
    func shapes() throws {
        let json = try plan("tiny/plain", SizeRequest(batch: 2, height: 6, width: 4, tokens: 3))
            .json
        let inputs = json["inputs"]?.array ?? []
        #expect(inputs.first?["name"]?.string == "hidden_states")
        #expect(inputs.first?["shape"]?.array?.compactMap(\.int) == [2, 4, 6, 4])
        #expect(
            inputs.first { $0["name"]?.string == "encoder_attention_mask" }?["shape"]?.array?
                .compactMap(\.int) == [2, 3])
    }

    @Test("a golden of one caption token shows no fault of the queries and keys that read it")
    func hiddenWeights() throws {
        let plan = try plan("tiny/plain")
        func hidden(tokens: Int) -> [String] {
            plan.hiddenWeights(by: [
                "encoder_hidden_states": DenseTensor(shape: [1, tokens, 12])
            ])
        }
        #expect(hidden(tokens: 2) == [])
        let names = hidden(tokens: 1)
        #expect(names.contains("transformer_blocks.0.attn2.to_q.weight"))
        #expect(!names.contains { $0.contains("attn1") || $0.contains("to_v") })
        let warning = try #require(GoldenBlindness.warning("g.safetensors", names))
        #expect(warning.contains("g.safetensors"))
        #expect(warning.contains("and \(names.count - 3) more"))
        #expect(GoldenBlindness.warning("g.safetensors", []) == nil)
    }
}
