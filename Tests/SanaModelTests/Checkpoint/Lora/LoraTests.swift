import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Adapters added to weights, against what diffusers' `fuse_lora` makes of the same files.
struct LoraTests {
    private static let folder = Fixtures.path + "/lora"
    private static let model = Fixtures.path + "/tiny/plain"

    private func values(_ source: any TensorSource, _ name: String) throws -> [Float] {
        let info = try #require(source.info(name))
        return try #require(try source.bytes(of: info).widened(from: info.dtype)).values
    }

    private func adapters(_ style: Double = 0.8, _ detail: Double = -0.5) throws -> [LoraAdapter] {
        [
            try LoraAdapter(path: Self.folder + "/style.safetensors", weight: style),
            try LoraAdapter(
                path: Self.folder + "/detail/adapter_model.safetensors", weight: detail),
        ]
    }

    @Test func weightsAreThoseThatDiffusersFuses() throws {
        let base = try Checkpoint.open(Self.model)
        let fused = try base.fusing(adapters())
        let reference = try SafetensorsFile(path: Self.folder + "/fused.safetensors")
        #expect(fused.adapters.map(\.moduleCount) == [4, 4])
        for tensor in base.source.tensors {
            let (ours, before) = try (
                values(fused.source, tensor.name), values(base.source, tensor.name)
            )
            guard reference.info(tensor.name) != nil else {
                #expect(ours == before, "\(tensor.name)")
                continue
            }
            let theirs = try values(reference, tensor.name)
            func norm(_ pairs: Zip2Sequence<[Float], [Float]>) -> Double {
                pairs.reduce(0) { $0 + pow(Double($1.0) - Double($1.1), 2) }.squareRoot()
            }
            let scale = theirs.reduce(0) { $0 + pow(Double($1), 2) }.squareRoot()
            #expect(norm(zip(ours, theirs)) <= 1e-6 * scale, "\(tensor.name)")
            #expect(norm(zip(before, theirs)) > 1e-2 * scale, "\(tensor.name)")
        }
    }

    /// Each setting matters: a wrong weight of either adapter leaves what diffusers computed.
    @Test(arguments: [(0.8, -0.49), (0.79, -0.5)])
    func wrongWeightsShow(_ style: Double, _ detail: Double) throws {
        let fused = try Checkpoint.open(Self.model).fusing(adapters(style, detail))
        let reference = try SafetensorsFile(path: Self.folder + "/fused.safetensors")
        let name = "transformer_blocks.0.attn1.to_q.weight"
        let (ours, theirs) = try (values(fused.source, name), values(reference, name))
        #expect(zip(ours, theirs).contains { abs($0 - $1) > 1e-4 })
    }

    // MARK: Files that do not fit

    private typealias Tensor = (name: String, shape: [Int])

    private static let target = "transformer_blocks.0.attn1.to_q"

    /// Opens a file of these tensors, all values 1, and adds it to the model.
    private func fuse(
        _ tensors: [Tensor], settings: String? = nil, config: String? = nil
    ) throws -> Checkpoint {
        var builder = SafetensorsBuilder()
        for tensor in tensors {
            builder.add(
                tensor.name, tensor.shape,
                Array(repeating: 1, count: tensor.shape.reduce(1, *)))
        }
        if let settings { builder.metadata["lora_adapter_metadata"] = settings }
        let folder = try TemporaryFolder()
        try folder.write("a.safetensors", builder.file)
        if let config { try folder.write("adapter_config.json", Array(config.utf8)) }
        return try Checkpoint.open(Self.model).fusing([
            LoraAdapter(path: folder("a.safetensors"))
        ])
    }

    private func pair(
        _ module: String = target, rank: Int = 2, prefix: String = "transformer.",
        infix: String = "", columns: Int = 24, rows: Int = 24
    ) -> [Tensor] {
        [
            ("\(prefix)\(module).lora_A\(infix).weight", [rank, columns]),
            ("\(prefix)\(module).lora_B\(infix).weight", [rows, rank]),
        ]
    }

    /// What the first element of the target gains; each of its products is the rank.
    private func gain(
        _ tensors: [Tensor], settings: String? = nil, config: String? = nil
    ) throws -> Float {
        let name = Self.target + ".weight"
        let fused = try fuse(tensors, settings: settings, config: config).source
        let base = try Checkpoint.open(Self.model).source
        return try values(fused, name)[0] - values(base, name)[0]
    }

    @Test(arguments: ["", "transformer.", "base_model.model.", "base_model.model.transformer."])
    func prefixesAndAdapterNames(_ prefix: String) throws {
        #expect(abs(try gain(pair(prefix: prefix)) - 2) < 1e-5)
        #expect(abs(try gain(pair(prefix: prefix, infix: ".default")) - 2) < 1e-5)
    }

    /// Spellings of the same pair by other programs.
    @Test(arguments: [
        (
            "transformer_blocks.0.attn1.to_q.lora_down.weight",
            "transformer_blocks.0.attn1.to_q.lora_up.weight"
        ),
        (
            "lora_unet_transformer_blocks_0_attn1_to_q.lora_down.weight",
            "lora_unet_transformer_blocks_0_attn1_to_q.lora_up.weight"
        ),
        (
            "transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
            "transformer_blocks.0.attn1.processor.to_q_lora.up.weight"
        ),
        (
            "transformer.transformer_blocks.0.attn1.to_q.lora_linear_layer.down.weight",
            "transformer.transformer_blocks.0.attn1.to_q.lora_linear_layer.up.weight"
        ),
        (
            "diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight",
            "diffusion_model.transformer_blocks.0.attn1.to_q.lora_B.weight"
        ),
    ])
    func spellings(_ down: String, _ up: String) throws {
        #expect(abs(try gain([(down, [2, 24]), (up, [24, 2])]) - 2) < 1e-5)
    }

    /// The fused projection of the original code is taken apart: every row of it gains.
    @Test(arguments: ["diffusion_model.blocks.0.attn.qkv", "lora_unet_blocks_0_attn_qkv"])
    func originalNames(_ module: String) throws {
        let tensors: [Tensor] = [
            ("\(module).lora_down.weight", [2, 24]), ("\(module).lora_up.weight", [72, 2]),
        ]
        let (fused, base) = (try fuse(tensors).source, try Checkpoint.open(Self.model).source)
        for name in ["to_q", "to_k", "to_v"] {
            let weight = "transformer_blocks.0.attn1.\(name).weight"
            let (ours, before) = (try values(fused, weight), try values(base, weight))
            #expect(abs(ours[0] - before[0] - 2) < 1e-5)
            #expect(abs(ours[575] - before[575] - 2) < 1e-5)
        }
    }

    @Test("LoHa, LoKr and whole differences are added")
    func otherForms() throws {
        let m = Self.target
        let loha: [Tensor] = [
            ("\(m).hada_w1_a", [24, 2]), ("\(m).hada_w1_b", [2, 24]), ("\(m).hada_w2_a", [24, 3]),
            ("\(m).hada_w2_b", [3, 24]),
        ]
        #expect(abs(try gain(loha) - 6) < 1e-5)
        #expect(abs(try gain(loha + [("\(m).alpha", [])]) - 3) < 1e-5)
        let lokr: [Tensor] = [
            ("\(m).lokr_w1", [4, 3]), ("\(m).lokr_w2_a", [6, 2]), ("\(m).lokr_w2_b", [2, 8]),
        ]
        #expect(abs(try gain(lokr) - 2) < 1e-5)
        #expect(abs(try gain([("\(m).diff", [24, 24])]) - 1) < 1e-5)
    }

    @Test("a DoRA gives every row of the sum its length")
    func dora() throws {
        let name = Self.target + ".weight"
        let tensors = pair() + [("transformer.\(Self.target).lora_magnitude_vector", [24])]
        let row = try values(fuse(tensors).source, name).prefix(24)
        #expect(abs(row.reduce(0) { $0 + $1 * $1 } - 1) < 1e-5)
    }

    @Test("tensors of a text encoder are no part of the transformer's")
    func textEncoderIsApart() throws {
        let fused = try fuse(pair() + pair("layers.0.q_proj", prefix: "text_encoder."))
        #expect(fused.adapters[0].moduleCount == 1)
        #expect(fused.adapters[0].ofTextEncoder?.moduleCount == 1)
        #expect(fused.adapters[0].notes == [])
        let other = try fuse(pair() + pair("layers.0.q_proj", prefix: "text_encoder_2."))
        #expect(other.adapters[0].ofTextEncoder == nil)
        #expect(other.adapters[0].notes.first?.contains("2 tensors of another text") == true)
    }

    @Test func alphaDividedByRankScales() throws {
        let alpha = [("transformer.\(Self.target).alpha", [])] as [Tensor]
        #expect(abs(try gain(pair() + alpha) - 1) < 1e-5)
        let cases: [(String, Float)] = [
            (#"{"r": 2, "lora_alpha": 6}"#, 6),
            (#"{"transformer.r": 2, "transformer.lora_alpha": 6, "text_encoder.r": 9}"#, 6),
            (#"{"r": 2, "lora_alpha": 6, "use_rslora": true}"#, 8.485_281),
            (#"{"r": 2, "lora_alpha": 6, "alpha_pattern": {"attn1.to_q": 1}}"#, 1),
            (#"{"r": 2, "lora_alpha": 6, "alpha_pattern": {"^attn1.to_q": 1}}"#, 6),
            (#"{"r": 8, "rank_pattern": {"to_q": 2}, "lora_alpha": 6}"#, 6),
            (#"{"r": 2, "lora_alpha": 6, "alpha_pattern": {"attn[12]\\.to_[qk]": 1}}"#, 1),
            (#"{"r": 2, "lora_alpha": 6, "alpha_pattern": {"attn[34].*": 1}}"#, 6),
            (#"{"lora_alpha": 6, "use_dora": false, "init_lora_weights": true}"#, 6),
        ]
        for (settings, expected) in cases {
            #expect(abs(try gain(pair(), settings: settings) - expected) < 1e-4, "\(settings)")
            #expect(abs(try gain(pair(), config: settings) - expected) < 1e-4, "\(settings)")
        }
    }

    private func refusal(
        _ tensors: [Tensor], settings: String? = nil, config: String? = nil
    ) -> String {
        do {
            _ = try fuse(tensors, settings: settings, config: config)
            return "taken"
        } catch {
            #expect((error as? any DiagnosticError)?.category == .badData)
            return "\(error)"
        }
    }

    @Test func tensorsThatDoNotFitAreNamed() {
        let cases: [([Tensor], String)] = [
            ([], "holds no LoRA"),
            (pair("blocks.7.q"), "'blocks.7.q' has no weight in"),
            (Array(pair().prefix(1)), "'\(Self.target)' has no lora_B weight"),
            (Array(pair().suffix(1)), "'\(Self.target)' has no lora_A weight"),
            (pair(columns: 23), "do not fit the weight's [24, 24]"),
            (pair(rows: 25), "do not fit the weight's [24, 24]"),
            (pair("transformer_blocks.0.ff.conv_inverted", rows: 120), "do not fit the weight's"),
            (pair("transformer_blocks.0.ff.conv_depth"), "do not fit the weight's"),
            ([pair(rank: 3)[0], pair()[1]], "which do not form a pair"),
            (pair() + [("norm.q.weight", [1])], "'norm.q.weight' is not part"),
            (pair() + [("x.lora_B.bias", [1])], "'x.lora_B.bias' is a bias of a LoRA"),
            (pair() + pair(prefix: ""), "occurs twice"),
            (pair() + [("transformer.\(Self.target).alpha", [2])], "not a number"),
            (pair() + [("transformer.\(Self.target).lora_magnitude_vector", [2])], "2 magnitudes"),
            (pair() + [("\(Self.target).dora_scale", [1, 24])], "DoRA of columns"),
            (pair() + [("\(Self.target).lora_mid.weight", [2, 2])], "Tucker"),
            (pair("attn1", prefix: "text_encoder_2."), "a text encoder that Sana does not have"),
        ]
        for (tensors, expected) in cases {
            let message = refusal(tensors)
            #expect(message.contains(expected), "\(expected): \(message)")
        }
    }

    @Test func settingsThatDoNotFitAreNamed() {
        let alpha = [("transformer.\(Self.target).alpha", [])] as [Tensor]
        let cases: [([Tensor], String, String)] = [
            (pair(), "[", "JSON"), (pair(), "[]", "not a JSON object"),
            (pair(), #"{"use_bdlora": true}"#, "use_bdlora"),
            (pair(), #"{"velora_config": {}}"#, "velora_config"),
            (pair(), #"{"peft_type": "BOFT"}"#, "not LORA"),
            (pair(), #"{"init_lora_weights": "pissa_niter_4"}"#, "changed base weights"),
            (pair(), #"{"r": 4}"#, "has rank 2, not 4"),
            (pair(), #"{"lora_alpha": "2"}"#, "not an fp32 number"),
            (pair(), #"{"lora_alpha": 1e308}"#, "lora_alpha holds 1e308, not an fp32 number"),
            (pair(), #"{"alpha_pattern": {"(q": 2}}"#, "not a regular expression"),
            (pair(), #"{"alpha_pattern": {"(a|.?.?)*\\d": 2}}"#, "too long to match"),
            (pair() + alpha, #"{"lora_alpha": 2}"#, "has alpha 1.0, but 2.0"),
        ]
        for (tensors, settings, expected) in cases {
            for message in [
                refusal(tensors, settings: settings), refusal(tensors, config: settings),
            ] { #expect(message.contains(expected), "\(settings): \(message)") }
        }
    }
}
