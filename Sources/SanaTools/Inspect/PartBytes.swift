import SanaModel
import SanaQuant

/// The part of the transformer that a tensor belongs to, weight, bias and scale alike.
enum TensorPart: String, Sendable, CaseIterable {
    case attn1
    case attn2
    case convInverted = "conv_inverted"
    case convDepth = "conv_depth"
    case convPoint = "conv_point"
    case embeddings
    case tablesAndNorms = "tables_norms"
    case output
    /// `input_block` and `controlnet_blocks`.
    case controlNet = "controlnet"
    case other

    init(_ tensor: TensorInfo) {
        let path = tensor.name.split(separator: ".", omittingEmptySubsequences: false)
        self =
            switch path.first {
            case "patch_embed", "time_embed", "caption_projection": .embeddings
            case "proj_out": .output
            case "input_block", "controlnet_blocks": .controlNet
            case "caption_norm", "norm_out", "scale_shift_table": .tablesAndNorms
            case "transformer_blocks" where path.count > 3 || path.last == "scale_shift_table":
                Self.ofBlock(path.dropFirst(2))
            default: .other
            }
    }

    private static func ofBlock(_ path: ArraySlice<Substring>) -> TensorPart {
        let module = path.joined(separator: ".")
        if module == "scale_shift_table" || module.contains("norm") { return .tablesAndNorms }
        for (prefix, part): (String, TensorPart) in [
            ("attn1.", .attn1), ("attn2.", .attn2), ("ff.conv_inverted.", .convInverted),
            ("ff.conv_depth.", .convDepth), ("ff.conv_point.", .convPoint),
        ] where module.hasPrefix(prefix) { return part }
        return .other
    }
}

/// How int8 may be laid out.
enum Int8Scheme: String, Sendable, CaseIterable {
    /// `convert --dtype int8` with its own rules, which is the SDNQ layout that diffusers loads; w8a16
    /// and w8a8 compute from the same weights.
    case convert
    /// Loaders that quantize Linear alone and leave 1×1 convolutions in 16 bits, as bitsandbytes,
    /// torchao, quanto and GGUF do.
    case linearOnly = "linear_only"

    fileprivate var rules: [ConversionRule] {
        let builtIn = ConversionRule.builtIn(for: .int8)
        switch self {
        case .convert: return builtIn
        case .linearOnly:
            return [ConversionRule(.keep, reason: "convolution") { $0.shape.count == 4 }] + builtIn
        }
    }
}

/// Tensors of one part of the transformer: how many, how large, and how large as int8.
struct PartBytes: Sendable {
    /// A size after conversion.
    struct Forecast: Sendable {
        var bytes = 0
        /// Of these, what stays in 16 or 32 bits, scales aside.
        var floatBytes = 0
    }

    let part: TensorPart
    var tensors = 0
    var parameters = 0
    var bytes = 0
    /// Empty where the weights are int8 already.
    var forecasts: [Int8Scheme: Forecast] = [:]

    /// The parts that hold anything, in the order of a forward.
    static func make(_ tensors: [TensorInfo], file: String) -> [PartBytes] {
        var parts: [TensorPart: PartBytes] = [:]
        for tensor in tensors {
            let part = TensorPart(tensor)
            parts[part, default: PartBytes(part: part)].add(tensor)
        }
        for scheme in Int8Scheme.allCases where !tensors.contains(where: { $0.dtype == .i8 }) {
            guard
                let plan = try? ConversionPlan(
                    tensors, target: .int8, rules: scheme.rules, mayBeEmpty: true, file: file)
            else { continue }
            for decision in plan.decisions {
                let part = TensorPart(decision.tensor)
                var forecast = parts[part]?.forecasts[scheme] ?? Forecast()
                forecast.bytes += decision.bytesAfter
                if decision.conversion == .keep { forecast.floatBytes += decision.bytesAfter }
                parts[part]?.forecasts[scheme] = forecast
            }
        }
        return TensorPart.allCases.compactMap { parts[$0] }
    }

    private mutating func add(_ tensor: TensorInfo) {
        tensors += 1
        parameters += tensor.elementCount
        bytes += tensor.byteCount
    }
}
