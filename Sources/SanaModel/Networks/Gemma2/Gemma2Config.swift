import Libc

/// The configuration of a `Gemma2Model`, names and defaults as in transformers 5.24. Files that
/// transformers 4 wrote are read, too.
public struct Gemma2Config: Sendable, Equatable {
    /// The class, as `architectures` and `model_index.json` name it.
    public static let className = "Gemma2Model"
    /// Classes whose files hold the weights of a `Gemma2Model`.
    static let classNames = [className, "Gemma2ForCausalLM"]

    public var vocabSize = 256_000
    public var hiddenSize = 2304
    public var intermediateSize = 9216
    public var numHiddenLayers = 26
    public var numAttentionHeads = 8
    public var numKeyValueHeads = 4
    public var headDim = 256
    public var rmsNormEps: Float = 1e-6
    public var ropeTheta = 10_000.0
    public var attentionBias = false
    public var queryPreAttnScalar = 256.0
    /// Keys that a query of a sliding layer attends to; `nil`: all before it.
    public var slidingWindow: Int? = 4096
    /// Whether a layer's attention slides, one for each.
    public var slides: [Bool] = Self.alternating(26)
    /// Bound of the attention scores; `nil`: none.
    public var attnLogitSoftcapping: Double? = 50

    /// transformers' defaults, which are those of gemma-2-2b.
    public init() {}

    private static func alternating(_ count: Int) -> [Bool] { (0..<count).map { $0 % 2 == 0 } }

    /// Reads `config.json`.
    ///
    /// - Throws: `BadDataError` for a value of the wrong type, out of range, or that asks for what
    ///   is not computed here.
    public init(json: JSONValue, file: String) throws(BadDataError) {
        guard json.members != nil else {
            throw BadDataError(file: file, reason: "config is not a JSON object")
        }
        let reader = ConfigReader(json: json, file: file)
        try Self.checkClass(reader)
        let size = 1...(1 << 20)
        try reader.read("vocab_size", into: &vocabSize, 1...(1 << 24))
        try reader.read("hidden_size", into: &hiddenSize, size)
        try reader.read("intermediate_size", into: &intermediateSize, size)
        try reader.read("num_hidden_layers", into: &numHiddenLayers, 0...1024)
        try reader.read("num_attention_heads", into: &numAttentionHeads, 1...4096)
        try reader.read("num_key_value_heads", into: &numKeyValueHeads, 1...4096)
        try reader.read("head_dim", into: &headDim, 2...4096)
        try reader.read("attention_bias", into: &attentionBias)
        try reader.read("query_pre_attn_scalar", into: &queryPreAttnScalar, 1e-6...1e9)
        var eps = Double(rmsNormEps)
        try reader.read("rms_norm_eps", into: &eps, 0...1)
        rmsNormEps = Float(eps)
        if json["sliding_window"] == .null {
            slidingWindow = nil
        } else {
            var window = slidingWindow ?? 0
            try reader.read("sliding_window", into: &window, 1...(1 << 30))
            slidingWindow = window
        }
        if json["attn_logit_softcapping"] == .null {
            attnLogitSoftcapping = nil
        } else {
            var cap = attnLogitSoftcapping ?? 0
            try reader.read("attn_logit_softcapping", into: &cap, 1e-6...1e9)
            attnLogitSoftcapping = cap
        }
        try readRope(reader)
        slides = try Self.layerTypes(reader, count: numHiddenLayers)
        try check(reader)
    }

    private static func checkClass(_ reader: ConfigReader) throws(BadDataError) {
        if let type = reader.json["model_type"], type.string != "gemma2" {
            throw reader.error("model_type", "is \(type.text().printable), not \"gemma2\"")
        }
        guard let list = reader.json["architectures"], list != .null else { return }
        guard let name = list.array?.first?.string, classNames.contains(name) else {
            throw reader.error(
                "architectures",
                "is \(list.text().printable), not " + classNames.joined(separator: " or "))
        }
    }

    /// transformers 5 has `rope_parameters`, 4 had `rope_theta` and `rope_scaling`.
    private mutating func readRope(_ reader: ConfigReader) throws(BadDataError) {
        let thetas = 1.0...1e12
        try reader.read("rope_theta", into: &ropeTheta, thetas)
        for key in ["rope_parameters", "rope_scaling"] {
            guard let rope = reader.json[key], rope != .null else { continue }
            let type = rope["rope_type"] ?? rope["type"]
            guard rope.members != nil, type == nil || type?.string == "default" else {
                throw reader.error(
                    key, "is \(rope.text().printable), and only the type \"default\" is supported")
            }
            try ConfigReader(json: rope, file: reader.file)
                .read("rope_theta", into: &ropeTheta, thetas)
        }
    }

    private static func layerTypes(
        _ reader: ConfigReader, count: Int
    ) throws(BadDataError) -> [Bool] {
        guard let json = reader.json["layer_types"], json != .null else {
            return alternating(count)
        }
        let types = (json.array ?? []).map(\.string)
        guard types.count == count else {
            throw reader.error(
                "layer_types",
                "is not a list of one type for each of \(count) layers, which num_hidden_layers is"
                    + (reader.json["num_hidden_layers"] == nil ? " by default" : ""))
        }
        var slides: [Bool] = []
        for type in types {
            switch type {
            case "sliding_attention": slides.append(true)
            case "full_attention": slides.append(false)
            default:
                throw reader.error(
                    "layer_types",
                    "has \(type?.printable ?? "a value") other than sliding_attention and full_attention"
                )
            }
        }
        return slides
    }

    private func check(_ reader: ConfigReader) throws(BadDataError) {
        // transformers reads `hidden_activation` alone, whatever `hidden_act` says.
        if let activation = reader.json["hidden_activation"], activation != .null,
            activation.string != "gelu_pytorch_tanh"
        {
            throw reader.error(
                "hidden_activation", "is \(activation.text().printable), not \"gelu_pytorch_tanh\"")
        }
        switch reader.json["use_bidirectional_attention"] {
        case nil, .null, .bool(false): break
        case let other?:
            throw reader.error(
                "use_bidirectional_attention", "is \(other.text().printable), not false")
        }
        guard numAttentionHeads % numKeyValueHeads == 0 else {
            throw reader.error(
                "num_key_value_heads",
                "is \(numKeyValueHeads), which does not divide "
                    + "num_attention_heads \(numAttentionHeads)")
        }
        guard hiddenSize % numAttentionHeads == 0 else {
            throw reader.error(
                "hidden_size", "is not a multiple of num_attention_heads, as transformers requires")
        }
        guard headDim % 2 == 0 else { throw reader.error("head_dim", "is odd") }
        guard numAttentionHeads * headDim <= 1 << 20 else {
            throw reader.error("num_attention_heads", "× head_dim is over \(1 << 20)")
        }
    }

    /// Inverse frequencies of the rotary embedding in fp32, one for each pair of channels.
    var inverseFrequencies: [Float] {
        (0..<headDim / 2).map { index in
            let exponent = Float(2 * index) / Float(headDim)
            return 1 / Float(pow(ropeTheta, Double(exponent)))
        }
    }
}
