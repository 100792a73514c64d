import COpenBLAS

/// A low-rank change of one module as numbers: w + up · down.
public struct LoraMatrices: Sendable {
    /// As diffusers calls it.
    public let module: String
    public let rank: Int
    /// `[rank, columns]`.
    public let down: FloatBuffer
    /// `[rows, rank]`.
    public let up: FloatBuffer
    /// The shape of the weight.
    public let shape: [Int]

    /// Its two tensors as diffusers and peft store them, for a transformer.
    public var stored: [StoredTensor] {
        let ones = Array(repeating: 1, count: shape.count - 2)
        let columns = down.count / max(rank, 1)
        return [
            ("lora_A", [rank, columns] + ones, down), ("lora_B", [shape[0], rank] + ones, up),
        ].compactMap { name, shape, values in
            TensorInfo(
                name: "transformer.\(module).\(name).weight", dtype: .f32, shape: shape
            ).map { info in
                StoredTensor(
                    info,
                    ByteView(
                        UnsafeRawBufferPointer(start: values.pointer, count: info.byteCount)))
            }
        }
    }
}

/// Making one low-rank adapter of several.
public enum LoraMerge {
    /// One adapter that adds what all of `adapters` add: their matrices side by side, each with its
    /// factor in `up`.
    ///
    /// - Parameter model: the weights that they are for, which tell what modules in other spellings
    ///   are called.
    /// - Throws: `BadDataError` for a module that the model does not have, or that changes in
    ///   another form than a product.
    public static func merge(
        _ adapters: [LoraAdapter], for model: any TensorSource, file: String
    ) throws -> [LoraMatrices] {
        let targets = LoraTargets(model)
        var parts: [String: [(LoraDelta.Product, Int, Double, LoraAdapter)]] = [:]
        for adapter in adapters {
            for (module, delta) in adapter.deltas {
                let found = targets.targets(of: module)
                try FusedTensors.check(delta, module, found.map(\.weight), adapter, file)
                guard case .product(let product) = delta.form, delta.magnitude == nil else {
                    throw BadDataError(
                        file: adapter.path,
                        reason:
                            "'\(module.printable)' is a \(delta.kind), not a product of two "
                            + "matrices",
                        remedy:
                            "add it with 'convert MODEL --lora', then 'lora extract' the difference"
                    )
                }
                for target in found {
                    let name = String(target.weight.name.dropLast(".weight".count))
                    parts[name, default: []].append(
                        (product, target.firstRow, delta.scale * delta.weight, adapter))
                }
            }
        }
        return try parts.sorted { $0.key < $1.key }.map { module, parts in
            guard let weight = model.info(module + ".weight"), weight.shape.count >= 2 else {
                throw BadDataError(file: file, reason: "'\(module.printable)' has no weight")
            }
            return try merge(module, weight, parts)
        }
    }

    private static func merge(
        _ module: String, _ weight: TensorInfo,
        _ parts: [(LoraDelta.Product, Int, Double, LoraAdapter)]
    ) throws -> LoraMatrices {
        let (rows, columns) = (weight.shape[0], weight.elementCount / max(weight.shape[0], 1))
        let rank = parts.reduce(0) { $0 + $1.0.rank }
        let (down, up) = (FloatBuffer(count: rank * columns), FloatBuffer(count: rows * rank))
        var first = 0
        for (product, firstRow, scale, adapter) in parts {
            let file = adapter.file
            let (a, b) = (
                try file.floats(product.down, file: file.path),
                try file.floats(product.up, file: file.path)
            )
            (down.pointer + first * columns).update(from: a.pointer, count: product.rank * columns)
            for row in 0..<rows {
                for index in 0..<product.rank {
                    let value = b.pointer[(firstRow + row) * product.rank + index]
                    up.pointer[row * rank + first + index] = Float(Double(value) * scale)
                }
            }
            first += product.rank
        }
        return LoraMatrices(module: module, rank: rank, down: down, up: up, shape: weight.shape)
    }
}

/// Making an adapter of the difference of two models.
public enum LoraExtraction {
    /// What became of one weight.
    public struct Module: Sendable {
        public let name: String
        /// ‖Δ‖ / ‖base‖.
        public let change: Double
        /// ‖Δ − up · down‖ / ‖Δ‖.
        public let error: Double
        /// `nil` for what no product of matrices holds: norms, tables, biases, kernels.
        public let matrices: LoraMatrices?
    }

    /// The best product of `rank` for every weight that differs, by singular value decomposition in
    /// double precision.
    ///
    /// - Parameters:
    ///   - tuned: the changed model.
    ///   - base: the model that it was made from; tensors of the same names and shapes.
    /// - Throws: `BadDataError` for models of different shapes, errors of the sources,
    ///   `MemoryError`.
    public static func extract(
        _ tuned: any TensorSource, from base: any TensorSource, rank: Int, file: String,
        progress: (Int, Int) -> Void
    ) throws -> [Module] {
        try Arithmetic.prepareBLAS(callers: 1)
        var modules: [Module] = []
        for (index, tensor) in tuned.tensors.enumerated() {
            progress(index, tuned.tensors.count)
            guard let other = base.info(tensor.name), other.shape == tensor.shape else {
                throw BadDataError(
                    file: file,
                    reason:
                        "'\(tensor.name.printable)' \(tensor.shape) has no counterpart in the base "
                        + "model",
                    remedy: "give the model that this one was made from")
            }
            guard tensor.dtype.isFloatWeight, other.dtype.isFloatWeight else {
                throw BadDataError(
                    file: file,
                    reason: "'\(tensor.name.printable)' is \(tensor.dtype.rawValue) or "
                        + "\(other.dtype.rawValue), and a difference takes floats",
                    remedy: "give the float checkpoints")
            }
            let (ours, theirs) = (
                try tuned.floats(tensor, file: file), try base.floats(other, file: file)
            )
            if let module = try module(tensor, ours, theirs, rank: rank, file: file) {
                modules.append(module)
            }
        }
        return modules
    }

    private static func module(
        _ tensor: TensorInfo, _ ours: FloatBuffer, _ theirs: FloatBuffer, rank: Int, file: String
    ) throws -> Module? {
        let count = tensor.elementCount
        var difference = [Double](repeating: 0, count: count)
        var (power, reference) = (0.0, 0.0)
        for index in 0..<count {
            let base = Double(theirs.pointer[index])
            difference[index] = Double(ours.pointer[index]) - base
            power += difference[index] * difference[index]
            reference += base * base
        }
        guard power > 0 else { return nil }
        guard power.isFinite else {
            throw BadDataError(
                file: file, reason: "the difference of '\(tensor.name.printable)' is not finite")
        }
        let change = reference > 0 ? (power / reference).squareRoot() : .infinity
        let isMatrix =
            tensor.name.hasSuffix(".weight") && tensor.shape.count >= 2
            && tensor.shape.dropFirst(2).allSatisfy { $0 == 1 } && tensor.shape[1] > 1
        guard isMatrix else {
            return Module(name: tensor.name, change: change, error: 1, matrices: nil)
        }
        let (rows, columns) = (tensor.shape[0], tensor.shape[1])
        let full = min(rows, columns)
        var values = [Double](repeating: 0, count: full)
        var left = [Double](repeating: 0, count: rows * full)
        var right = [Double](repeating: 0, count: full * columns)
        let status = blas_svd(
            Int32(rows), Int32(columns), &difference, &values, &left, &right)
        guard status == 0 else {
            throw MemoryError("OpenBLAS cannot decompose a matrix (dgesdd: \(status))")
        }
        let kept = min(rank, full)
        let (down, up) = (FloatBuffer(count: kept * columns), FloatBuffer(count: rows * kept))
        for index in 0..<kept {
            // The factor is dealt out evenly, which keeps both within fp16.
            let factor = values[index].squareRoot()
            for column in 0..<columns {
                down.pointer[index * columns + column] = Float(
                    right[index * columns + column] * factor)
            }
            for row in 0..<rows {
                up.pointer[row * kept + index] = Float(left[row * full + index] * factor)
            }
        }
        let rest = values.dropFirst(kept).reduce(0) { $0 + $1 * $1 }
        return Module(
            name: tensor.name, change: change, error: (rest / power).squareRoot(),
            matrices: LoraMatrices(
                module: String(tensor.name.dropLast(".weight".count)), rank: kept, down: down,
                up: up, shape: tensor.shape))
    }
}
