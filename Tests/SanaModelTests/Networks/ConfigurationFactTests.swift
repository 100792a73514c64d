import SanaTestSupport
import Testing

@testable import SanaModel

/// One wrong key of a configuration is named as that, whatever the network.
struct ConfigurationFactTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let component: String
        let key: String
        /// `nil` leaves the key out.
        let value: JSONValue?

        var testDescription: String { "\(key) \(value?.text() ?? "absent")" }
    }

    private static let weights = [
        "vae": "diffusion_pytorch_model.safetensors", "text_encoder": "model.safetensors",
    ]

    private static func cases(_ component: String, _ values: [(String, JSONValue?)]) -> [Case] {
        values.map { Case(component: component, key: $0, value: $1) }
    }

    private static let networks: [Case] =
        cases(
            "vae",
            [
                ("in_channels", .int(6)), ("latent_channels", nil), ("latent_channels", .int(32)),
                ("attention_head_dim", nil), ("attention_head_dim", .int(8)),
                ("encoder_block_types", nil), ("decoder_block_types", nil),
                ("encoder_block_out_channels", nil), ("decoder_block_out_channels", nil),
                ("encoder_layers_per_block", nil), ("decoder_layers_per_block", nil),
                ("upsample_block_type", nil), ("downsample_block_type", nil),
                (
                    "encoder_qkv_multiscales",
                    .array([[], [], [], [3], [5], [5]].map { .array($0.map { .int($0) }) })
                ),
            ])
        + cases(
            "text_encoder",
            [
                ("vocab_size", nil), ("vocab_size", .int(3072)), ("hidden_size", nil),
                ("hidden_size", .int(192)), ("intermediate_size", nil),
                ("intermediate_size", .int(384)), ("num_attention_heads", nil),
                ("num_attention_heads", .int(8)), ("num_key_value_heads", nil),
                ("num_key_value_heads", .int(1)), ("head_dim", nil), ("head_dim", .int(32)),
                ("attention_bias", .bool(true)),
            ])

    private func open(_ component: String) throws -> (JSONValue, SafetensorsFile) {
        let folder = Fixtures.path + "/sana-pictures/" + component
        let file = try #require(Self.weights[component])
        return (
            try JSONFile.read(folder + "/config.json"),
            try SafetensorsFile(path: folder + "/" + file)
        )
    }

    @Test(arguments: networks)
    func keyIsNamed(_ item: Case) throws {
        let (json, source) = try open(item.component)
        let changed = item.value.map { json.setting(item.key, to: $0) } ?? json.removing(item.key)
        let error = #expect(throws: BadDataError.self) {
            try NetworkClass.configuration(changed, file: "config.json", source: source)
        }
        let reason = try #require(error?.reason)
        let stated = item.value == nil ? "is absent, which makes it" : "is"
        #expect(reason.hasPrefix("\(item.key) \(stated)"), "\(reason)")
        #expect(!reason.contains("; "), "\(reason)")
        // What it should be is what the file has.
        let expected = try #require(json[item.key]).text()
        #expect(reason.hasSuffix("it is \(expected)"), "\(reason)")
    }

    @Test(arguments: weights.keys.sorted())
    func whatFitsIsLeftAlone(_ component: String) throws {
        let (json, source) = try open(component)
        let config = try NetworkClass.configuration(json, file: "config.json", source: source)
        #expect(config.disagreements(with: source, json: json).isEmpty)
    }

    @Test("several wrong keys are named together")
    func keysOfAnotherModel() throws {
        let (json, source) = try open("text_encoder")
        let changed = json.removing("hidden_size").removing("intermediate_size")
        let config = try NetworkClass.configuration(changed, file: "config.json")
        let found = config.disagreements(with: source, json: changed)
        #expect(found.map(\.key) == ["hidden_size", "intermediate_size"])
        let mended = config.corrected(by: found, json: changed)
        try mended.check(source: source, label: "")
    }

    /// transformers notes both, and reads the class from either.
    @Test func familyAloneNamesTheClass() throws {
        let (json, _) = try open("text_encoder")
        let config = json.removing("architectures")
        #expect(try NetworkClass.of(config, file: "config.json")?.name == "Gemma2Model")
        #expect(NetworkClass.stem(beside: config) == WeightFiles.transformersStem)
    }
}
