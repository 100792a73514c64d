/// Weights of SDNQ in every recipe but plain int8, which is ours: unsigned, wide and packed
/// integers, floats, groups, scales of other types, code books, the layout for quantized matrix
/// products, SVD and Hadamard rotation.
///
/// Source: sdnq 0.2.8, `dequantizer.py` and `packed_int/unpack.py`; values are those of a model
/// that is loaded in fp32. With SVD and Hadamard rotation sums are made in double precision, so
/// that values differ from the library's by its own rounding, a relative RMS of about 1e-7.
struct SDNQFormat: QuantizationFormat {
    private let model: QuantizedModel
    private let settings: QuantizationSettings

    init?(_ model: QuantizedModel) {
        guard let settings = model.settings, settings.isSDNQ else { return nil }
        self.model = model
        self.settings = settings
        switch model.stored {
        case .float where weights.isEmpty: return nil
        // Types that only their scales tell from weights that are not quantized.
        case .float: break
        // Plain int8 has its own product.
        case .int8 where settings.otherRecipe == nil: return nil
        case .foreign("SDNQ", "int8 in the layout of matrix products", _), .int8: break
        case .foreign("SDNQ", _, _), .foreign("fp8", _, _), .foreign("packed bytes", _, _),
            .foreign("packed integers", _, _):
            break
        case .foreign: return nil
        }
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
        for (weight, scale) in weights {
            let (recipe, scales) = (settings.sdnq(weight.name), settings.sdnqScales(weight.name))
            if let reason = recipe.unsupported {
                return [
                    QuantizationCheck.unsupported("SDNQ", reason, nil, key: settings.recipeKey)
                ]
            }
            if recipe.elementCount(of: weight) == nil {
                return [contradiction(weight, recipe.dtype, key: settings.recipeKey)]
            }
            let fits =
                scales.scale.map { $0.elementCount(of: scale) != nil }
                ?? scale.dtype.isFloatWeight
            guard fits else {
                return [
                    contradiction(
                        scale, scales.scale?.dtype ?? "a float",
                        key: QuantizationCheck.key + ".scale_dtype")
                ]
            }
        }
        return settings.moduleFindings(model.tensors)
    }

    private func contradiction(
        _ tensor: TensorInfo, _ dtype: String, key: String
    ) -> QuantizationFinding {
        .init(
            kind: .contradiction, location: key,
            reason: "\(QuantizationCheck.key) says that '\(tensor.name.printable)' is "
                + "\(dtype.printable), but it is \(tensor.dtype.rawValue) \(tensor.shape)")
    }

    func encodings(
        of source: any TensorSource, shapes: [String: [Int]], file: String
    ) throws -> [TensorEncoding] {
        try weights.map { weight, scale in
            let recipe = settings.sdnq(weight.name)
            let layout = try SDNQLayout(
                weight, scale, recipe, expected: shapes[weight.name], file: file)
            let module = String(weight.name.dropLast("weight".count))
            let (count, recipes) = (scale.elementCount, settings.sdnqScales(weight.name))
            let scales = try SDNQScale(
                (scale.name, module + "scale_2", module + "scale_zero_point"), count: count,
                recipes.scale, of: source, file: file)
            let offsets =
                try recipe.hasZeroPoints
                ? SDNQScale(
                    (module + "zero_point", module + "zero_point_scale", module + "zero_point_2"),
                    count: count, recipes.zeroPoint, of: source, file: file) : nil
            let svd = try svd(module, layout, recipe, source, file)
            let parts =
                [weight] + scales.parts + (offsets?.parts ?? [])
                + (svd.map { [$0.up, $0.down] } ?? [])
            return TensorEncoding(
                weight.name, shape: layout.shape, recipe: "SDNQ (\(recipe.words))", parts: parts
            ) { source in
                let values = try SDNQValues(
                    bytes: source.bytes(of: weight), scales: scales.values(source),
                    offsets: offsets?.values(source))
                let term = try svd.map { svd in
                    try LowRankTerm(
                        up: source.floats(svd.up, file: file),
                        down: source.floats(svd.down, file: file), rank: svd.rank,
                        isTransposed: svd.isTransposed)
                }
                let rotation = recipe.rotation(for: layout.shape)
                return { range, target in
                    values.decode(range, layout, recipe, to: target)
                    for (index, row) in range.enumerated() {
                        let output = target + index * layout.columns
                        term?.add(row, to: output, count: layout.columns)
                        rotation?.apply(to: output, count: layout.columns)
                    }
                }
            }
        }
    }

    /// The low-rank part of a weight as it is stored.
    private struct LowRankParts: Sendable {
        let (up, down): (TensorInfo, TensorInfo)
        let rank: Int
        let isTransposed: Bool
    }

    /// The low-rank part of a weight; `nil` where it has none.
    ///
    /// - Throws: `BadDataError` where the configuration says something else: without it, or with
    ///   one that does not belong, values are wrong and nothing shows it.
    private func svd(
        _ module: String, _ layout: SDNQLayout, _ recipe: SDNQRecipe, _ source: any TensorSource,
        _ file: String
    ) throws -> LowRankParts? {
        let (rows, columns) = (layout.shape[0], layout.columns)
        guard let up = source.info(module + "svd_up"), let down = source.info(module + "svd_down")
        else {
            let hasOne = ["svd_up", "svd_down"].contains { source.info(module + $0) != nil }
            // SDNQ leaves it out where a weight is too small for it.
            let isNeeded = recipe.svdRank.map { $0 <= min(rows, columns) } ?? false
            guard !hasOne, !isNeeded else { throw layout.unfit("svd_up or svd_down is absent") }
            return nil
        }
        guard recipe.svdRank != nil else {
            throw layout.unfit("it has svd_up, but \(QuantizationCheck.key) has no use_svd")
        }
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
    let (groups, kernel): (Int, Int)
    /// Whether the stored weight is `[in, out]`.
    let isTransposed: Bool
    /// One scale or code book for all.
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
        guard let count = recipe.elementCount(of: weight) else {
            throw unfit("it is \(weight.dtype.rawValue) \(weight.shape), not \(recipe.dtype)")
        }
        let (scales, levels) = (scale.shape, recipe.levelCount ?? 1)
        isSingle = scale.elementCount == levels && (levels == 1 || scales == [levels])
        isTransposed =
            !isSingle && !recipe.isPacked && recipe.levelCount == nil && scales.count == 2
            && scales[0] == 1
            && weight.shape.count == 2 && weight.shape[1] == scales[1]
        var shape: [Int]
        if isSingle {
            shape = recipe.isPacked ? expected ?? [] : weight.shape
            (groups, kernel) = (1, 1)
        } else if isTransposed {
            shape = [weight.shape[1], weight.shape[0]]
            (groups, kernel) = (1, 1)
        } else {
            // [out, 1], [out, groups, 1], [out, 1, kernel …] or [out, groups, 1, kernel …]; a code
            // book has its levels for the 1.
            let isGrouped = scales.count == 3 || scales.count == 5
            guard (2...5).contains(scales.count), scales[0] > 0, isGrouped || scales[1] == levels,
                !isGrouped || scales[2] == levels, scale.elementCount > 0
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
        BadDataError.damagedWeights(
            file, "SDNQ weight '\(name.printable)' cannot be read: \(reason)")
    }

    /// Index of the first scale or code book of a row's group.
    func scaleIndex(_ row: Int, group: Int) -> Int {
        isSingle ? 0 : (row * groups + group) * kernel
    }
}

/// The numbers of a weight, with scale and zero point or with a code book.
private struct SDNQValues: Sendable {
    let bytes: ByteView
    let scales: FloatRun
    let offsets: FloatRun?

    /// Scales and zero points of a row.
    private typealias Factors = (scales: UnsafePointer<Float>, offsets: UnsafePointer<Float>?)

    /// Calls `body` with the scales and zero points `range`.
    private func withFactors(_ range: Range<Int>, _ body: (Factors) -> Void) {
        scales.withValues(range) { scales in
            guard let offsets else { return body((scales, nil)) }
            offsets.withValues(range) { body((scales, $0)) }
        }
    }

    /// Writes rows: q · scale, q · scale + zero point in one rounding, or the entry q of a code
    /// book.
    func decode(
        _ rows: Range<Int>, _ layout: SDNQLayout, _ recipe: SDNQRecipe,
        to output: UnsafeMutablePointer<Float>
    ) {
        let start = bytes.address.assumingMemoryBound(to: UInt8.self)
        let columns = layout.columns
        guard !layout.isTransposed else {
            return withFactors(rows) { decodeColumns(rows, layout, recipe, $0, to: output) }
        }
        let (width, levels) = (columns / layout.groups, recipe.levelCount ?? 1)
        for (index, row) in rows.enumerated() {
            let output = output + index * columns
            recipe.unpack(
                row * columns, count: columns, start, width: layout.elementWidth, to: output)
            let first = layout.scaleIndex(row, group: 0) * levels
            withFactors(first..<first + layout.groups * layout.kernel * levels) { factors in
                for group in 0..<layout.groups {
                    let (values, place) = (
                        output + group * width, group * layout.kernel * levels
                    )
                    if recipe.levelCount != nil {
                        look(up: values, width, factors.scales + place, layout.kernel)
                    } else {
                        multiply(values, width, factors, place, layout.kernel)
                    }
                }
            }
        }
    }

    /// The same of a weight that is stored row by row of its transpose, a column of ours at a time.
    private func decodeColumns(
        _ rows: Range<Int>, _ layout: SDNQLayout, _ recipe: SDNQRecipe, _ factors: Factors,
        to output: UnsafeMutablePointer<Float>
    ) {
        let start = bytes.address.assumingMemoryBound(to: UInt8.self)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: rows.count) { values in
            guard let values = values.baseAddress else { return }
            for column in 0..<layout.columns {
                recipe.unpack(
                    column * layout.shape[0] + rows.lowerBound, count: rows.count, start,
                    width: layout.elementWidth, to: values)
                for index in 0..<rows.count {
                    output[index * layout.columns + column] = value(values[index], factors, index)
                }
            }
        }
    }

    private func value(_ number: Float, _ factors: Factors, _ index: Int) -> Float {
        let scale = factors.scales[index]
        return factors.offsets.map { $0[index].addingProduct(number, scale) } ?? number * scale
    }

    /// Numbers of a group to values, each place of a kernel with a scale of its own.
    private func multiply(
        _ values: UnsafeMutablePointer<Float>, _ count: Int, _ factors: Factors, _ first: Int,
        _ kernel: Int
    ) {
        guard kernel == 1 else {
            for index in 0..<count {
                values[index] = value(values[index], factors, first + index % kernel)
            }
            return
        }
        let scale = factors.scales[first]
        if let offset = factors.offsets?[first] {
            for index in 0..<count { values[index] = offset.addingProduct(values[index], scale) }
        } else {
            for index in 0..<count { values[index] *= scale }
        }
    }

    /// Numbers of a group to the entries of its code book, each place of a kernel with one of its
    /// own.
    private func look(
        up values: UnsafeMutablePointer<Float>, _ count: Int, _ levels: UnsafePointer<Float>,
        _ kernel: Int
    ) {
        for index in 0..<count {
            values[index] = levels[Int(values[index]) * kernel + index % kernel]
        }
    }
}
