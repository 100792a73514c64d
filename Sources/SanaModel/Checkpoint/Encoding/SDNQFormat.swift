/// Weights of SDNQ in every recipe but plain int8, which is ours: unsigned and packed integers, fp8,
/// groups, scales of other float types, the layout for quantized matrix products, SVD and Hadamard
/// rotation.
///
/// Source: sdnq 0.2.8, `dequantizer.py` and `packed_int/unpack.py`; values are those of a model that is
/// loaded in fp32. With SVD and Hadamard rotation sums are made in double precision, so that values
/// differ from the library's by its own rounding, a relative RMS of about 1e-7.
struct SDNQFormat: QuantizationFormat {
    private let model: QuantizedModel
    private let settings: QuantizationSettings

    init?(_ model: QuantizedModel) {
        guard let settings = model.settings, settings.isSDNQ else { return nil }
        switch model.stored {
        case .float: return nil
        // Plain int8 has its own product.
        case .int8 where settings.otherRecipe == nil: return nil
        case .foreign("SDNQ", "int8 in the layout of matrix products", _), .int8: break
        case .foreign("SDNQ", _, _), .foreign("fp8", _, _), .foreign("packed bytes", _, _): break
        case .foreign: return nil
        }
        (self.model, self.settings) = (model, settings)
    }

    /// Quantized weights: those with a scale.
    private var weights: [(weight: TensorInfo, scale: TensorInfo)] {
        model.tensors.compactMap { tensor in
            guard tensor.name.hasSuffix(".weight"),
                let scale = model.byName[tensor.name.dropLast("weight".count) + "scale"]
            else { return nil }
            return (tensor, scale)
        }
    }

    var findings: [QuantizationFinding] {
        let unknown = settings.unknownKeys
        guard unknown.isEmpty else { return unknown }
        guard !weights.isEmpty else {
            return [QuantizationCheck.floatWeights(settings)]
        }
        for (weight, _) in weights {
            let recipe = settings.sdnq(weight.name)
            if let reason = recipe.unsupported {
                return [
                    QuantizationCheck.unsupported("SDNQ", reason, nil, key: settings.recipeKey)
                ]
            }
            let count = recipe.elementCount(
                byteCount: weight.byteCount, elements: weight.elementCount, dtype: weight.dtype)
            guard count == nil else { continue }
            return [
                .init(
                    kind: .contradiction, location: settings.recipeKey,
                    reason: "\(QuantizationCheck.key) says that '\(weight.name.printable)' is "
                        + "\(recipe.dtype.printable), and it is \(weight.dtype.rawValue) "
                        + "\(weight.shape)")
            ]
        }
        return settings.moduleFindings(model.tensors)
    }

    func encodings(
        of source: any TensorSource, shapes: [String: [Int]], file: String
    ) throws -> [TensorEncoding] {
        try weights.map { weight, scale in
            let recipe = settings.sdnq(weight.name)
            let layout = try SDNQLayout(
                weight, scale, recipe, expected: shapes[weight.name], file: file)
            let module = String(weight.name.dropLast("weight".count))
            let types: Set<DType> = [.f32, .f16, .bf16]
            guard types.contains(scale.dtype) else {
                throw layout.unfit("'\(scale.name.printable)' is \(scale.dtype.rawValue)")
            }
            let offset =
                try recipe.isUnsigned
                ? source.part(module + "zero_point", of: scale.elementCount, types, file: file)
                : nil
            let svd = try svd(module, layout, source, file)
            let parts =
                [weight, scale] + (offset.map { [$0] } ?? [])
                + (svd.map { [$0.up, $0.down] } ?? [])
            return TensorEncoding(
                weight.name, shape: layout.shape, recipe: "SDNQ (\(recipe.words))", parts: parts
            ) { source in
                let values = try SDNQValues(
                    bytes: source.bytes(of: weight), scales: source.floats(scale, file: file),
                    offsets: offset.map { try source.floats($0, file: file) })
                let terms = try svd.map { svd in
                    try SDNQTerms(
                        svd, source.floats(svd.up, file: file), source.floats(svd.down, file: file))
                }
                let rotation = recipe.rotation(for: layout.shape)
                return { range, target in
                    for (index, row) in range.enumerated() {
                        let output = target + index * layout.columns
                        values.decode(row, layout, recipe, to: output)
                        terms?.add(row, to: output, count: layout.columns)
                        rotation?.apply(to: output, count: layout.columns)
                    }
                }
            }
        }
    }

    /// The low-rank part of a weight; `nil` where it has none.
    private func svd(
        _ module: String, _ layout: SDNQLayout, _ source: any TensorSource, _ file: String
    ) throws -> SDNQTerms.Parts? {
        guard let up = source.info(module + "svd_up"), let down = source.info(module + "svd_down")
        else { return nil }
        let (rows, columns) = (layout.shape[0], layout.columns)
        guard up.shape.count == 2, down.shape.count == 2, up.dtype.isFloatWeight,
            down.dtype.isFloatWeight
        else { throw layout.unfit("'\(up.name.printable)' is not a matrix of floats") }
        if up.shape[0] == rows, down.shape[1] == columns, up.shape[1] == down.shape[0] {
            return .init(up: up, down: down, rank: up.shape[1], isTransposed: false)
        }
        // As for quantized matrix products.
        guard up.shape[1] == rows, down.shape[0] == columns, up.shape[0] == down.shape[1] else {
            throw layout.unfit(
                "'\(up.name.printable)' \(up.shape) and svd_down \(down.shape) do not fit it")
        }
        return .init(up: up, down: down, rank: up.shape[0], isTransposed: true)
    }
}

/// Where the values of a weight and their scales stand.
struct SDNQLayout: Sendable {
    /// Of the weight.
    let shape: [Int]
    /// Values in a row.
    let columns: Int
    /// Groups of input channels with a scale each, and the values of a kernel, each with its own.
    private let (groups, kernel): (Int, Int)
    /// Whether the stored weight is `[in, out]`.
    let isTransposed: Bool
    /// One scale for all.
    private let isSingle: Bool
    /// Bytes of a stored element.
    let elementWidth: Int
    private let name: String
    private let file: String

    /// - Parameter expected: the shape that the network calls for, where it is known.
    /// - Throws: `BadDataError` when weight and scale do not fit each other.
    init(
        _ weight: TensorInfo, _ scale: TensorInfo, _ recipe: SDNQRecipe, expected: [Int]?,
        file: String
    ) throws {
        (name, self.file, elementWidth) = (weight.name, file, weight.dtype.bitWidth / 8)
        func unfit(_ reason: String) -> BadDataError { Self.unfit(weight.name, file, reason) }
        guard
            let count = recipe.elementCount(
                byteCount: weight.byteCount, elements: weight.elementCount, dtype: weight.dtype)
        else {
            throw unfit("it is \(weight.dtype.rawValue) \(weight.shape), not \(recipe.dtype)")
        }
        let scales = scale.shape
        isSingle = scale.elementCount == 1
        isTransposed =
            !isSingle && !recipe.isPacked && scales.count == 2 && scales[0] == 1
            && weight.shape.count == 2 && weight.shape[1] == scales[1]
        var shape: [Int]
        if isSingle {
            shape = recipe.isPacked ? expected ?? [] : weight.shape
            (groups, kernel) = (1, 1)
        } else if isTransposed {
            shape = [weight.shape[1], weight.shape[0]]
            (groups, kernel) = (1, 1)
        } else {
            // [out, 1], [out, groups, 1], [out, 1, kernel …] or [out, groups, 1, kernel …].
            let isGrouped = scales.count == 3 || scales.count == 5
            guard (2...5).contains(scales.count), scales[0] > 0, isGrouped || scales[1] == 1,
                !isGrouped || scales[2] == 1, scale.elementCount > 0
            else { throw unfit("its scale has the shape \(scales)") }
            let sizes = Array(scales.dropFirst(isGrouped ? 3 : 2))
            groups = isGrouped ? scales[1] : 1
            kernel = sizes.reduce(1, *)
            let (row, rest) = count.quotientAndRemainder(dividingBy: scales[0])
            guard rest == 0, row % (groups * kernel) == 0 else {
                throw unfit("its scale has the shape \(scales)")
            }
            shape = [scales[0], row / kernel] + sizes
        }
        // The layout of matrix products does not keep the kernel.
        if let expected, expected.first == shape.first, isTransposed || isSingle,
            expected.count > shape.count
        {
            shape = expected
        }
        guard TensorInfo(name: "", dtype: .f32, shape: shape)?.elementCount == count, count > 0,
            shape[0] > 0
        else { throw unfit("its shape \(shape) does not hold \(count) values") }
        (self.shape, columns) = (shape, count / shape[0])
    }

    func unfit(_ reason: String) -> BadDataError { Self.unfit(name, file, reason) }

    private static func unfit(_ name: String, _ file: String, _ reason: String) -> BadDataError {
        BadDataError(
            file: file, reason: "SDNQ weight '\(name.printable)' cannot be read: \(reason)",
            remedy: "download the file again, or quantize the model again")
    }

    /// Index of the scale for a value of a row.
    func scaleIndex(_ row: Int, _ column: Int) -> Int {
        if isSingle { return 0 }
        if isTransposed { return row }
        let group = column / (columns / groups)
        return (row * groups + group) * kernel + column % kernel
    }
}

/// The numbers of a weight, with scale and zero point.
private struct SDNQValues: Sendable {
    let bytes: ByteView
    let scales: FloatBuffer
    let offsets: FloatBuffer?

    /// Writes a row: q · scale, or q · scale + zero point in one rounding.
    func decode(
        _ row: Int, _ layout: SDNQLayout, _ recipe: SDNQRecipe,
        to output: UnsafeMutablePointer<Float>
    ) {
        let (rows, columns) = (layout.shape[0], layout.columns)
        let start = bytes.address.assumingMemoryBound(to: UInt8.self)
        for column in 0..<columns {
            let element =
                layout.isTransposed ? column * rows + row : row * columns + column
            let value = recipe.value(element, start, width: layout.elementWidth)
            let index = layout.scaleIndex(row, column)
            let scale = scales.pointer[index]
            output[column] =
                offsets.map { $0.pointer[index].addingProduct(value, scale) } ?? value * scale
        }
    }
}

/// The low-rank part of a weight.
private struct SDNQTerms: Sendable {
    struct Parts: Sendable {
        let (up, down): (TensorInfo, TensorInfo)
        let rank: Int
        let isTransposed: Bool
    }

    private let parts: Parts
    private let up: FloatBuffer
    private let down: FloatBuffer

    init(_ parts: Parts, _ up: FloatBuffer, _ down: FloatBuffer) {
        (self.parts, self.up, self.down) = (parts, up, down)
    }

    func add(_ row: Int, to output: UnsafeMutablePointer<Float>, count: Int) {
        let (rank, rows) = (parts.rank, up.count / max(parts.rank, 1))
        for column in 0..<count {
            var sum = Double(output[column])
            for index in 0..<rank {
                let factor = up.pointer[
                    parts.isTransposed ? index * rows + row : row * rank + index]
                let value = down.pointer[
                    parts.isTransposed ? column * rank + index : index * count + column]
                sum += Double(factor) * Double(value)
            }
            output[column] = Float(sum)
        }
    }
}
