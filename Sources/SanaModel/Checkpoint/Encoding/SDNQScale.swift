/// How the scales and zero points of a weight are quantized themselves; `nil` for floats.
struct SDNQScaleRecipes: Sendable {
    let scale: SDNQRecipe?
    let zeroPoint: SDNQRecipe?

    /// Why they cannot be read, for messages; `nil` where they can.
    var unreadable: String? {
        // Packed scales do not keep their shape, from which that of the weight is told.
        let found = [scale, zeroPoint].compactMap(\.self).first {
            $0.unsupported != nil || $0.isPacked
        }
        return found.map { "with quantized scales (\($0.unsupported ?? $0.dtype))" }
    }
}

/// The scales or zero points of an SDNQ weight: floats, or integers or fp8 with one scale, one zero
/// point or one code book for all of them.
struct SDNQScale: Sendable {
    private let tensor: TensorInfo
    private let recipe: SDNQRecipe?
    private let outer: TensorInfo?
    private let offset: TensorInfo?
    private let file: String

    /// - Parameters:
    ///   - names: of the tensor, of its scale and of its zero point.
    ///   - count: number of values.
    /// - Throws: `BadDataError` for tensors that are absent or do not fit.
    init(
        _ names: (tensor: String, scale: String, zeroPoint: String), count: Int,
        _ recipe: SDNQRecipe?, of source: any TensorSource, file: String
    ) throws {
        (self.recipe, self.file) = (recipe, file)
        guard let recipe else {
            tensor = try source.part(names.tensor, of: count, DType.floatWeights, file: file)
            (outer, offset) = (nil, nil)
            return
        }
        guard let tensor = source.info(names.tensor),
            recipe.elementCount(of: tensor) == count
        else {
            throw BadDataError.damagedWeights(
                file, "'\(names.tensor.printable)' is not \(count) values of \(recipe.dtype)")
        }
        self.tensor = tensor
        outer = try source.part(
            names.scale, of: recipe.levelCount ?? 1, DType.floatWeights, file: file)
        offset =
            try recipe.hasZeroPoints
            ? source.part(names.zeroPoint, of: 1, DType.floatWeights, file: file) : nil
    }

    /// The stored tensors that hold them.
    var parts: [TensorInfo] { [tensor, outer, offset].compactMap(\.self) }

    /// - Throws: errors of the source.
    func values(_ source: any TensorSource) throws -> FloatRun {
        guard let recipe, let outer else { return try source.floatRun(tensor, file: file) }
        let (count, bytes) = (tensor.elementCount, try source.bytes(of: tensor))
        let (scales, values) = (try source.floats(outer, file: file), FloatBuffer(count: count))
        let offset = try offset.map { try source.floats($0, file: file).values[0] }
        recipe.unpack(
            0, count: count, bytes.address.assumingMemoryBound(to: UInt8.self),
            width: tensor.dtype.bitWidth / 8, to: values.pointer)
        for index in 0..<count {
            let number = values.pointer[index]
            values.pointer[index] =
                recipe.levelCount != nil
                ? scales.pointer[Int(number)]
                : offset?.addingProduct(number, scales.pointer[0]) ?? number * scales.pointer[0]
        }
        return .made(values)
    }
}
