import SanaModel

/// Weights whose faults a golden cannot show, since changing them moves nothing that it holds.
package enum GoldenBlindness {
    /// Names of the weights of `model` that no output depends on with the golden's inputs.
    ///
    /// Where a forward for each tensor takes too long, only what the network knows of its inputs is
    /// told.
    ///
    /// - Throws: `Unknown`, errors of reading weights, or of a forward.
    package static func find(
        _ model: OpenedModel, _ loaded: LoadedModel, _ golden: Golden, workers: WorkerPool
    ) throws -> [String] {
        let (network, inputs) = (try loaded.configured(by: golden).network, golden.inputs)
        do throws(InputError) { try network.check(inputs) } catch {
            throw Unknown(reason: error.description)
        }
        let graph = try network.graph(network.sizes(of: inputs))
        let operations = graph.operations
        // An autoencoder's encoder takes no part in decoding.
        let roots = Set(graph.modules.map { root(of: $0.path) })
        let expected = model.config.expectedTensors(in: model.source)
        let names = model.source.tensors.filter { tensor in
            tensor.dtype.isFloatWeight
                && expected[tensor.name].map { roots.contains(root(of: $0.module)) } ?? true
        }.map(\.name)
        let (total, overflows) = operations.multipliedReportingOverflow(by: names.count)
        guard !overflows, total <= affordableOperations else {
            return network.hidden(names, by: inputs)
        }
        let source = try model.source.resident(using: workers)
        let reference = try network.forward(inputs, ForwardContext(workers: workers))
        return try names.filter { name in
            let changed = try model.config.network(
                ChangedSource(source, changing: name), label: model.label
            )[loaded.entry]?.configured(by: golden.contract, file: golden.path)
            let outputs =
                try changed?.forward(inputs, ForwardContext(workers: workers)) ?? reference
            return zip(outputs, reference).allSatisfy { output, expected in
                let sums = ErrorSums(output, with: expected.values)
                return sums.nonfinite == 0 && sums.squaredDifference == 0
            }
        }
    }

    /// What to say of them; `nil` where there are none.
    package static func warning(_ path: String, _ names: [String]) -> String? {
        guard !names.isEmpty else { return nil }
        return "\(path.printable) cannot show faults in "
            + names.prefix(3).map(\.printable).joined(separator: ", ")
            + (names.count > 3 ? " and \(names.count - 3) more" : "")
            + ": nothing changes with its inputs"
    }

    /// Why nothing can be said of a golden.
    struct Unknown: Error { let reason: String }

    /// The first part of a module's path.
    private static func root(of path: String) -> Substring { path.prefix { $0 != "." } }

    /// Operations of all forwards that are still a matter of seconds.
    private static let affordableOperations = 5 * Verification.Options.isolatedOperations
}

/// A source one of whose tensors has other values.
private struct ChangedSource: TensorSource {
    private let base: any TensorSource
    private let name: String
    package let tensors: [TensorInfo]

    package init(_ base: any TensorSource, changing name: String) {
        (self.base, self.name) = (base, name)
        tensors = base.tensors.map { tensor in
            guard tensor.name == name else { return tensor }
            return TensorInfo(name: name, dtype: .f32, shape: tensor.shape) ?? tensor
        }
    }

    package func info(_ name: String) -> TensorInfo? {
        name == self.name ? tensors.first { $0.name == name } : base.info(name)
    }

    package func rows(of tensor: TensorInfo) throws -> EncodedRows? {
        tensor.name == name ? nil : try base.rows(of: tensor)
    }

    package func bytes(of tensor: TensorInfo) throws -> ByteView {
        guard tensor.name == name, let original = base.info(name),
            let values = try base.bytes(of: original).widened(from: original.dtype)
        else { return try base.bytes(of: tensor) }
        let count = original.elementCount
        var power = 0.0
        for index in 0..<count {
            power += Double(values.pointer[index]) * Double(values.pointer[index])
        }
        let step = 0.25 * Float((power / Double(max(count, 1))).squareRoot()) + 1e-3
        // No scaling, which a norm would take back, and no pattern that sums to nothing.
        for index in 0..<count where index.isMultiple(of: 3) { values.pointer[index] += step }
        return ByteView(count: 4 * count) {
            $0.copyBytes(from: UnsafeRawBufferPointer(start: values.pointer, count: 4 * count))
        }
    }
}
