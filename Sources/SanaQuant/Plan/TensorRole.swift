import SanaModel

/// What a tensor is for in a Sana transformer, told from its name and shape alone.
public enum TensorRole: String, Sendable, CaseIterable {
    /// Projection of self- or cross-attention.
    case attention
    /// 1×1 convolution of the feed-forward.
    case pointwiseConvolution = "pointwise convolution"
    case depthwiseConvolution = "depthwise convolution"
    case norm
    /// `scale_shift_table`
    case table
    /// Patch, timestep or caption embedding.
    case embedding
    case outputHead = "output head"
    /// `input_block` or one of `controlnet_blocks`.
    case controlNet = "controlnet projection"
    case bias
    /// Scale of an int8 weight.
    case scale
    case other

    /// The role of `tensor`; `other` when name or shape are not those of a Sana transformer.
    public init(of tensor: TensorInfo) {
        let path = tensor.name.split(separator: ".", omittingEmptySubsequences: false)
        self =
            switch path.last {
            case "bias": .bias
            case "scale": .scale
            case "scale_shift_table": .table
            case "weight": Self.ofWeight(path.dropLast(), shape: tensor.shape)
            default: .other
            }
    }

    /// - Parameter module: path of the module that owns the weight.
    private static func ofWeight(_ module: ArraySlice<Substring>, shape: [Int]) -> TensorRole {
        switch module.first {
        case "patch_embed", "time_embed", "caption_projection": return .embedding
        case "proj_out": return .outputHead
        case "input_block", "controlnet_blocks": return .controlNet
        case "caption_norm", "norm_out": return .norm
        case "transformer_blocks": break
        default: return .other
        }
        guard module.dropFirst().first.flatMap({ Int($0) }) != nil else { return .other }
        let isMatrix = shape.count == 2
        let isPointwise = isMatrix || shape.count == 4 && shape[2] == 1 && shape[3] == 1
        switch module.dropFirst(2).joined(separator: ".") {
        case "attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0",
            "attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0":
            return isMatrix ? .attention : .other
        case "ff.conv_inverted", "ff.conv_point":
            return isPointwise ? .pointwiseConvolution : .other
        case "ff.conv_depth": return .depthwiseConvolution
        case let name where name.split(separator: ".").last?.hasPrefix("norm") ?? false:
            return .norm
        default: return .other
        }
    }

    /// Whether int8 rounding is confined to one product whose error the blocks' residuals absorb.
    var isQuantizable: Bool { self == .attention || self == .pointwiseConvolution }

    /// Why a tensor of this role is not quantized; `nil` for roles that are.
    var reasonToKeep: String? {
        switch self {
        case .attention, .pointwiseConvolution: nil
        case .depthwiseConvolution:
            "depthwise convolution: nine values a channel, too few to share a scale"
        case .norm: "norm: one value scales a whole channel"
        case .table: "table: modulates every token of a block, and is small"
        case .embedding: "embedding: its error enters every block, and it is small"
        case .outputHead: "output head: its error is the output's error"
        case .controlNet:
            "ControlNet projection: trained up from zero, its error passes into the transformer "
                + "unattenuated, and it is a sixteenth of the weights"
        case .bias: "bias: one value a channel"
        case .scale: "scale of an int8 weight"
        case .other: "no role that the int8 rules know"
        }
    }
}
