/// How the weights of a checkpoint are stored, by the names, types and shapes of its tensors.
enum StoredEncoding: Equatable {
    /// Every weight is F32, F16 or BF16.
    case float
    /// `X.weight` I8 with `X.scale` F32 of one value per row: SDNQ's plain int8, which is ours.
    case int8
    /// Anything else, with a tensor that shows it.
    case foreign(method: String, recipe: String, tensor: String)

    init(_ tensors: [TensorInfo]) {
        if let marked = Self.marked(tensors) {
            self = marked
            return
        }
        if let (method, other) = Self.packed(tensors) {
            self = .foreign(method: method, recipe: other.dtype.rawValue, tensor: other.name)
            return
        }
        self = Self.int8(tensors)
    }

    /// Whether the quantized weights are plain I8 with scales. Only a configuration can say how to
    /// decode them.
    static func isInt8(_ tensors: [TensorInfo]) -> Bool {
        marked(tensors) == nil && packed(tensors) == nil && int8(tensors) != .float
    }

    /// Tensors that only one program writes next to its weights, by the end of their names, the
    /// surest first.
    private static let markers: [(suffix: String, method: String, recipe: String)] = [
        (".SCB", "bitsandbytes", "int8"), (".weight_format", "bitsandbytes", "int8"),
        (".quant_state.bitsandbytes__nf4", "bitsandbytes", "nf4"),
        (".quant_state.bitsandbytes__fp4", "bitsandbytes", "fp4"),
        (".absmax", "bitsandbytes", "4 bits"), (".quant_map", "bitsandbytes", "4 bits"),
        (".scale_weight", "ComfyUI", "scaled fp8"), ("scaled_fp8", "ComfyUI", "scaled fp8"),
        (".comfy_quant", "ComfyUI", "mixed precision"),
        (".wscales", "nunchaku", "SVDQuant"), (".smooth_factor", "nunchaku", "SVDQuant"),
        (".svd_up", "SDNQ", "with SVD"), (".svd_down", "SDNQ", "with SVD"),
        (".zero_point", "SDNQ", "with zero points"),
        (".qzeros", "GPTQ or AWQ", "packed integers"),
        (".qweight", "GPTQ, AWQ or nunchaku", "packed integers"),
        (".weight._data", "quanto", "integers"), ("qdata", "torchao", "integers or fp8"),
        (".weight_scale_inv", "fp8", "in blocks"),
        (".weight_scale", "compressed-tensors or ModelOpt", "scaled weights"),
        (".weight_packed", "compressed-tensors", "packed integers"),
    ]

    private static func marked(_ tensors: [TensorInfo]) -> StoredEncoding? {
        for (suffix, method, recipe) in markers {
            guard let found = tensors.first(where: { $0.name.hasSuffix(suffix) }) else { continue }
            return .foreign(method: method, recipe: recipe, tensor: found.name)
        }
        return nil
    }

    /// Types that no float checkpoint and no int8 of ours has, with what they are called.
    private static let packedTypes: [DType: String] = [
        .f8e4m3: "fp8", .f8e5m2: "fp8", .f8e8m0: "fp8", .f8e4m3fnuz: "fp8", .f8e5m2fnuz: "fp8",
        .f4: "fp4", .f6e2m3: "fp6", .f6e3m2: "fp6", .u8: "packed bytes",
        .i16: "packed integers", .u16: "packed integers",
    ]

    /// The first tensor of a type that is neither a float nor int8; buffers can be wide integers.
    private static func packed(_ tensors: [TensorInfo]) -> (method: String, tensor: TensorInfo)? {
        tensors.lazy.compactMap { tensor in
            let isWide =
                [.i32, .u32, .i64, .u64].contains(tensor.dtype) && tensor.name.hasSuffix(".weight")
            return (packedTypes[tensor.dtype] ?? (isWide ? "packed integers" : nil)).map {
                ($0, tensor)
            }
        }.first
    }

    private static func int8(_ tensors: [TensorInfo]) -> StoredEncoding {
        let weights = tensors.filter { $0.dtype == .i8 && $0.name.hasSuffix(".weight") }
        guard !weights.isEmpty else { return .float }
        let infos = Dictionary(tensors.map { ($0.name, $0) }) { first, _ in first }
        var (scaled, odd): (Int, (TensorInfo, String)?) = (0, nil)
        for weight in weights {
            guard let scale = infos[weight.name.dropLast("weight".count) + "scale"] else {
                continue
            }
            scaled += 1
            let rows = weight.shape.first ?? 1
            let isPerRow = scale.shape.first == rows && scale.elementCount == rows
            if !isPerRow, odd == nil {
                odd = (scale, "int8 with scales of shape \(scale.shape) for \(weight.shape)")
            } else if scale.dtype != .f32, odd == nil {
                odd = (scale, "int8 with \(scale.dtype.rawValue) scales")
            }
        }
        if let (scale, recipe) = odd {
            return .foreign(method: "SDNQ", recipe: recipe, tensor: scale.name)
        }
        // A single scale that is absent is a damaged file, not another recipe.
        guard scaled > 0 else {
            return .foreign(
                method: "an unknown program", recipe: "int8 without scales",
                tensor: weights[0].name)
        }
        return .int8
    }
}
