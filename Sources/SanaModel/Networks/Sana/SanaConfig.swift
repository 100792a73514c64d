/// The configuration of a `SanaTransformer2DModel`, or of another class that shares its keys, names
/// and defaults as in diffusers 0.42.1.
public struct SanaConfig: Sendable, Equatable {
    public var modelClass = SanaClass.transformer
    public var inChannels = 32
    public var outChannels = 32
    public var numAttentionHeads = 70
    public var attentionHeadDim = 32
    public var numLayers = 20
    public var numCrossAttentionHeads = 20
    public var crossAttentionHeadDim = 112
    public var crossAttentionDim = 2240
    public var captionChannels = 2304
    public var mlpRatio = 2.5
    public var attentionBias = false
    public var sampleSize = 32
    public var patchSize = 1
    public var normElementwiseAffine = false
    public var normEps: Float = 1e-6
    /// `nil`: no position embedding.
    public var interpolationScale: Double?
    public var guidanceEmbeds = false
    /// Factor that the pipeline applies to the guidance before the model sees it.
    public var guidanceEmbedsScale = 0.1
    /// RMS norm of queries and keys over all heads together (`rms_norm_across_heads`).
    public var qkNorm = false
    /// Factor that the pipeline applies to the timestep before the model sees it.
    public var timestepScale = 1.0

    /// diffusers' defaults, which are those of the 1.6B model.
    public init() {}

    /// Width of a token: heads × head dimension.
    public var innerDim: Int { numAttentionHeads * attentionHeadDim }
    /// Width inside cross-attention.
    public var crossInnerDim: Int { numCrossAttentionHeads * crossAttentionHeadDim }
    /// Channels after the gate of GLUMBConv; `conv_inverted` makes twice as many.
    public var ffHiddenDim: Int { Int(mlpRatio * Double(innerDim)) }

    /// Reads `config.json`.
    ///
    /// - Throws: `BadDataError` for a value of the wrong type, out of range, or of a kind that
    ///   diffusers' class cannot run.
    public init(json: JSONValue, file: String) throws(BadDataError) {
        try self.init(values: json, file: file)
        try check(json, file: file)
    }

    /// Reads the values of `config.json` alone, whether or not they fit each other.
    ///
    /// - Throws: `BadDataError` for a value of the wrong type, out of range, or of a kind that
    ///   diffusers' class cannot run.
    public init(values json: JSONValue, file: String) throws(BadDataError) {
        guard json.members != nil else {
            throw BadDataError(file: file, reason: "config is not a JSON object")
        }
        if let name = json["_class_name"] {
            guard let known = SanaClass.named(name.string) else {
                throw ConfigReader(json: json, file: file)
                    .error("_class_name", "is \(name.text().printable), \(Self.notAnyClass)")
            }
            modelClass = known
        }
        let json = modelClass.absentKeys.reduce(json) { $0.removing($1) }
        let reader = ConfigReader(json: json, file: file)
        numLayers = modelClass.standardLayers
        let dimension = 1...(1 << 16)
        try reader.read("in_channels", into: &inChannels, dimension)
        if json["out_channels"] == .null {
            outChannels = inChannels
        } else {
            try reader.read("out_channels", into: &outChannels, 0...(1 << 16))
            // `out_channels or in_channels`, as diffusers has it.
            if outChannels == 0 { outChannels = inChannels }
        }
        try reader.read("num_attention_heads", into: &numAttentionHeads, 1...4096)
        try reader.read("attention_head_dim", into: &attentionHeadDim, 1...4096)
        try reader.read("num_layers", into: &numLayers, modelClass.fewestLayers...1024)
        try reader.read("num_cross_attention_heads", into: &numCrossAttentionHeads, 1...4096)
        try reader.read("cross_attention_head_dim", into: &crossAttentionHeadDim, 1...4096)
        try reader.read("cross_attention_dim", into: &crossAttentionDim, dimension)
        try reader.read("caption_channels", into: &captionChannels, dimension)
        try reader.read("mlp_ratio", into: &mlpRatio, 0...64)
        try reader.read("attention_bias", into: &attentionBias)
        try reader.read("sample_size", into: &sampleSize, 1...(1 << 14))
        try reader.read("patch_size", into: &patchSize, 1...64)
        try reader.read("norm_elementwise_affine", into: &normElementwiseAffine)
        var eps = Double(normEps)
        try reader.read("norm_eps", into: &eps, 0...1)
        normEps = Float(eps)
        if let scale = json["interpolation_scale"], scale != .null {
            var value = 1.0
            try reader.read("interpolation_scale", into: &value, 1e-6...1e6)
            interpolationScale = value
        }
        try reader.read("guidance_embeds", into: &guidanceEmbeds)
        try reader.read("guidance_embeds_scale", into: &guidanceEmbedsScale, -1e6...1e6)
        try reader.read("timestep_scale", into: &timestepScale, -1e6...1e6)
        try readNorm(reader, json["qk_norm"] ?? .null)
    }

    /// What `_class_name` is not.
    public static let notAnyClass =
        "not " + SanaClass.all.map { "\"\($0.name)\"" }.joined(separator: " or ")

    private mutating func readNorm(
        _ reader: ConfigReader, _ norm: JSONValue
    ) throws(BadDataError) {
        guard norm != .null else { return }
        guard norm.string == "rms_norm_across_heads" else {
            throw reader.error(
                "qk_norm",
                "is \(norm.text().printable); Sana has null or \"rms_norm_across_heads\"")
        }
        qkNorm = true
    }

    /// Checks that the values fit each other.
    ///
    /// - Parameter json: what they were read from.
    /// - Throws: `BadDataError`.
    public func check(_ json: JSONValue, file: String) throws(BadDataError) {
        let reader = ConfigReader(json: json, file: file)
        guard innerDim <= 1 << 16, crossInnerDim <= 1 << 16 else {
            throw reader.error("num_attention_heads", "× head dimension is over \(1 << 16)")
        }
        guard crossAttentionDim == innerDim else {
            let heads =
                "num_attention_heads × attention_head_dim is \(numAttentionHeads) × "
                + "\(attentionHeadDim) = \(innerDim)"
            throw json["cross_attention_dim"] == nil
                ? reader.error(
                    "num_attention_heads",
                    "does not fit: \(heads), and cross_attention_dim is absent, which makes it "
                        + "\(crossAttentionDim)")
                : reader.error(
                    "cross_attention_dim",
                    "is \(crossAttentionDim), and \(heads); the two must be equal")
        }
        guard ffHiddenDim >= 1 else { throw reader.error("mlp_ratio", "leaves no hidden channel") }
        guard interpolationScale == nil || innerDim % 4 == 0 else {
            throw reader.error(
                "interpolation_scale",
                "asks for sincos positions, which need an inner width divisible by 4")
        }
        guard sampleSize >= patchSize else {
            throw reader.error("sample_size", "is below patch_size")
        }
    }
}
