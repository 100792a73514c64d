import SanaModel

/// Compares the stored tensors of a converted model with the weights it was made from.
///
/// Errors of a forward show a wrong channel only where the inputs reach it; this shows each.
package enum SourceComparison {
    /// A stored tensor that is not what the source's weights become.
    package struct Deviation: Sendable, Equatable {
        /// Its name in the model.
        package let tensor: String
        /// What is wrong with it.
        package let message: String

        package var problem: Verification.Problem {
            .init(kind: .deviation, message: "\(tensor.printable): \(message)")
        }
    }

    /// Compares every tensor that both have.
    ///
    /// An int8 value must be the one nearest to the weight over the scale of its channel, whatever
    /// rule chose the scale; the largest value may be a clipped one. Floats must be the weight
    /// itself, or the nearest number of their type. What another program has quantized must be
    /// closer to the weights than zeros are by far.
    ///
    /// - Returns: in the order of `model`.
    /// - Throws: errors of reading either.
    package static func run(
        _ model: any TensorSource, source: any TensorSource, workers: WorkerPool
    ) throws -> [Deviation] {
        let tensors = model.tensors
        return try workers.map(tensors.count) { index -> Deviation? in
            let tensor = tensors[index]
            guard let original = source.info(tensor.name), original.shape == tensor.shape,
                original.dtype.isFloatWeight
            else { return nil }
            if tensor.dtype == .i8 { return try compareInt8(tensor, model, original, source) }
            guard model.recipe(of: tensor) == nil else {
                return try compareEncoded(tensor, model, original, source)
            }
            guard tensor.dtype.isFloatWeight else { return nil }
            return try compareFloats(tensor, model, original, source)
        }.compactMap { $0 }
    }

    // MARK: int8

    private static func compareInt8(
        _ tensor: TensorInfo, _ model: any TensorSource, _ original: TensorInfo,
        _ source: any TensorSource
    ) throws -> Deviation? {
        guard let scales = try ChannelScales.values(of: tensor, in: model) else { return nil }
        let rows = tensor.shape[0]
        let columns = tensor.elementCount / rows
        guard columns > 0,
            let weights = try source.bytes(of: original).widened(from: original.dtype)
        else { return nil }
        let wrong = try model.bytes(of: tensor).withUnsafeBytes { bytes in
            (0..<rows).compactMap { row -> (row: Int, factor: Double)? in
                let values = UnsafeRawBufferPointer(
                    rebasing: bytes[row * columns..<(row + 1) * columns])
                let factor = Self.factor(
                    values.bindMemory(to: Int8.self), Double(scales.pointer[row]),
                    UnsafeBufferPointer(start: weights.pointer + row * columns, count: columns))
                return factor.map { (row, $0) }
            }
        }
        guard let first = wrong.max(by: { abs($0.factor - 1) < abs($1.factor - 1) }) else {
            return nil
        }
        let rest = wrong.count > 1 ? " and \(wrong.count - 1) more" : ""
        let factor =
            first.factor.isFinite
            ? "has \(Format.decimal(first.factor, digits: 3)) × the scale of the source's weights"
            : "does not hold the source's weights"
        return Deviation(
            tensor: ChannelScales.name(of: tensor),
            message: "channel \(first.row)\(rest) of \(rows) \(factor)")
    }

    /// How many times the scale that fits the weights best a channel's scale is; `nil` where every
    /// value is the nearest one, infinite where no scale makes them the weights.
    private static func factor(
        _ values: UnsafeBufferPointer<Int8>, _ scale: Double, _ weights: UnsafeBufferPointer<Float>
    ) -> Double? {
        var (product, power, signal) = (0.0, 0.0, 0.0)
        var isNearest = scale > 0
        for (value, weight) in zip(values, weights) {
            let (integer, weight) = (Double(value), Double(weight))
            product += integer * weight
            power += integer * integer
            signal += weight * weight
            let rest = weight - integer * scale
            let isClipped = abs(integer) >= 127 && rest * integer > 0
            // Half a step, and what fp32 loses in the quotient.
            if abs(rest) > 0.501 * scale, !isClipped { isNearest = false }
        }
        guard !isNearest, signal > 0 || power > 0 else { return nil }
        guard product > 0 else { return .infinity }
        let fitted = product / power
        // What is left by the best scale is far more than rounding: other weights.
        let left = signal - product * fitted
        if left > 0.1 * signal { return .infinity }
        // Rounding by another rule leaves the scale right, within what it may turn out by chance.
        let factor = scale / fitted
        return abs(factor - 1) > max(2e-3, 2 / power.squareRoot()) ? factor : nil
    }

    // MARK: Encodings of other programs

    private static func compareEncoded(
        _ tensor: TensorInfo, _ model: any TensorSource, _ original: TensorInfo,
        _ source: any TensorSource
    ) throws -> Deviation? {
        guard let actual = try model.bytes(of: tensor).widened(from: tensor.dtype),
            let expected = try source.bytes(of: original).widened(from: original.dtype)
        else { return nil }
        var (product, power, signal) = (0.0, 0.0, 0.0)
        for index in 0..<tensor.elementCount {
            let (value, weight) = (Double(actual.pointer[index]), Double(expected.pointer[index]))
            product += value * weight
            power += value * value
            signal += weight * weight
        }
        // One bit for a value leaves 36 % of a normal distribution's power.
        let left = signal - (power > 0 ? max(product, 0) * product / power : 0)
        guard !(left <= 0.5 * signal) else { return nil }
        return Deviation(tensor: tensor.name, message: "does not hold the source's weights")
    }

    // MARK: Floats

    private static func compareFloats(
        _ tensor: TensorInfo, _ model: any TensorSource, _ original: TensorInfo,
        _ source: any TensorSource
    ) throws -> Deviation? {
        let (ours, theirs) = try (model.bytes(of: tensor), source.bytes(of: original))
        if tensor.dtype == original.dtype {
            let isSame = ours.withUnsafeBytes { one in
                theirs.withUnsafeBytes { one.elementsEqual($0) }
            }
            return isSame ? nil : Deviation(tensor: tensor.name, message: "is not the source's")
        }
        guard let actual = ours.widened(from: tensor.dtype),
            let expected = theirs.widened(from: original.dtype)
        else { return nil }
        let wrong = (0..<tensor.elementCount).count { index in
            !isNearest(Double(actual.pointer[index]), Double(expected.pointer[index]), tensor.dtype)
        }
        guard wrong > 0 else { return nil }
        return Deviation(
            tensor: tensor.name,
            message: "\(wrong) of \(Format.counted(tensor.elementCount, "value")) are not the "
                + "source's in \(tensor.dtype.rawValue)")
    }

    /// Whether `value` is `weight` rounded to a type; what is beyond its largest number is clipped.
    private static func isNearest(_ value: Double, _ weight: Double, _ dtype: DType) -> Bool {
        switch dtype {
        case .f16:
            let weight = min(max(weight, -65504), 65504)
            return abs(value - weight) <= max(abs(weight) * 0x1.01p-11, 0x1.01p-25)
        case .bf16: return abs(value - weight) <= abs(weight) * 0x1.01p-8
        default: return value == weight
        }
    }
}

extension LoadedModel {
    /// Tensors that are not those of the weights a golden was recorded from, or of the model's own
    /// source, as far as either is known.
    package func deviatingTensors(from golden: GoldenProvenance) -> [String] {
        let known = deviations.map(\.tensor)
        guard !isConverted, golden.weightsDigest != sourceDigest else { return known }
        let changed = golden.tensorHashes.filter { tensorHashes[$0.key] != $0.value }.map(\.key)
        return known + changed.filter { !known.contains($0) }.sorted()
    }
}
