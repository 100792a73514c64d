import SanaModel

/// Compares every activation that a golden holds, in the order in which the forward makes them,
/// and keeps no activation: memory does not grow with the number of layers.
///
/// Under an `Isolation` the batch is several runs of the same inputs side by side. The first runs
/// freely. In the others, the golden's values replace captured activations as soon as they have
/// been compared, so that what follows computes from golden inputs.
package final class VerifyProbe: LayerProbe {
    private let golden: Golden
    private let network: any Network
    private let metric: Metric
    private let tolerances: Tolerances
    private let isolation: Isolation?
    private let inputs: LayerInputs
    /// The golden's values of one activation: one buffer for all, since buffers of many sizes that
    /// come and go leave holes in memory that nothing fits in.
    private var reference = FloatBuffer(count: 0)
    /// What was found wrong with single entries.
    private var faults: [Verification.Problem] = []
    package private(set) var layers: [Verification.Layer] = []
    /// Relative RMS error of every layer so far.
    private var errors: [String: Double] = [:]
    /// Captured paths in the order in which the model ran them.
    private var seen: [String] = []
    /// The first failure to read the golden.
    package private(set) var error: (any Error)?

    package init(
        golden: Golden, network: any Network, inputs: LayerInputs, metric: Metric,
        tolerances: Tolerances, isolation: Isolation?
    ) {
        (self.golden, self.metric, self.tolerances) = (golden, metric, tolerances)
        (self.network, self.inputs, self.isolation) = (network, inputs, isolation)
    }

    package func begin(_ path: String) {}

    package func end(_ path: String, _ outputs: [Activation]) {
        for (index, activation) in outputs.enumerated() {
            compare(outputs.count > 1 ? "\(path).\(index)" : path, module: path, activation)
        }
    }

    private func compare(_ path: String, module: String, _ activation: Activation) {
        let name = Golden.activationPrefix + path
        guard error == nil, let shape = golden.shape(name) else { return }
        seen.append(path)
        let runs = isolation?.runs ?? 1
        let free = activation.part(0, of: runs)
        guard shape == free.shape else {
            faults.append(.misshapen(path, golden: shape, model: free.shape))
            return
        }
        do {
            guard try golden.read(name, into: &reference) else { return }
            var layer = layer(path, ErrorSums(free, with: reference), shape)
            if inputs.goldenInput(of: path) != nil, layer.comparison.nonfinite == 0 {
                layer.isConfined = free.isConfined(to: reference)
            }
            // Values that are not finite would spoil all that follows.
            if layer.goldenNonfinite == 0 {
                layer.isolated = isolation.map {
                    isolate($0, path, level: $0.level(of: module), activation)
                }
            }
            layers.append(layer)
            errors[path] = layers.last?.comparison.relativeRMS
        } catch { self.error = error }
    }

    /// The comparison of a run whose sums with `reference` these are.
    private func layer(_ path: String, _ sums: ErrorSums, _ shape: [Int]) -> Verification.Layer {
        let comparison = Comparison(sums, shape: shape)
        let tolerance = tolerances.tolerance(of: path)
        var layer = Verification.Layer(
            path: path, comparison: comparison, tolerance: tolerance,
            passes: metric.passes(comparison, tolerance: tolerance),
            hasOwnTolerance: tolerances.isOwn(path))
        if comparison.nonfinite > 0 {
            let count = shape.reduce(1, *)
            layer.goldenNonfinite = (0..<count).count { !reference.pointer[$0].isFinite }
        }
        if layer.goldenNonfinite > 0 {
            faults.append(.notFinite(path, count: layer.goldenNonfinite))
        }
        return layer
    }

    /// Measures the runs on golden inputs, then continues them with the golden's values.
    private func isolate(
        _ isolation: Isolation, _ path: String, level: Int, _ activation: Activation
    ) -> Verification.Layer.Isolated {
        let own = activation.part(isolation.run(forcing: level), of: isolation.runs)
        let last = activation.part(isolation.runs - 1, of: isolation.runs)
        let result = Verification.Layer.Isolated(
            own: ErrorSums(own, with: reference), local: ErrorSums(last, with: reference),
            inherited: ErrorSums(activation.part(0, of: isolation.runs), with: own),
            incoming: incoming(path))
        for run in isolation.run(forcing: level)..<isolation.runs {
            activation.part(run, of: isolation.runs).assign(reference)
        }
        return result
    }

    /// The largest error among the layer's inputs.
    private func incoming(_ path: String) -> Double {
        inputs.outerInputs(of: path).compactMap { errors[$0] }.max() ?? 0
    }

    /// The comparison of one of the model's outputs, which is no module's; `nil` when the golden
    /// has none, or another shape.
    ///
    /// - Parameters:
    ///   - index: its place among the outputs.
    ///   - sample: of all runs.
    package func output(_ index: Int, _ sample: DenseTensor) throws -> Verification.Layer? {
        let path = Golden.outputPrefix + network.outputs[index]
        let runs = isolation?.runs ?? 1
        let free = sample.part(0, of: runs)
        let shape = golden.shape(path)
        guard shape == free.shape, try golden.read(path, into: &reference) else {
            faults.append(
                shape.map { .misshapen(path, golden: $0, model: free.shape) } ?? .missing(path))
            return nil
        }
        network.clearPadding(reference, ofOutput: index, golden.inputs)
        var layer = layer(path, ErrorSums(free, with: reference), free.shape)
        if let isolation, layer.goldenNonfinite == 0 {
            let own = sample.part(isolation.run(forcing: 0), of: runs)
            let last = ErrorSums(sample.part(runs - 1, of: runs), with: reference)
            layer.isolated = .init(
                own: ErrorSums(own, with: reference), local: last,
                inherited: ErrorSums(free, with: own.values), incoming: incoming(path))
        }
        return layer
    }

    /// Entries that are missing, extra, mismatched, not finite or out of order.
    package func problems(_ graph: ModuleGraph) -> [Verification.Problem] {
        // What is computed in tiles has no activations, whatever the golden has.
        let captures = network.capturesModules
        let expected = captures ? graph.captured.map(\.name) : []
        let stored = Set(golden.activationNames)
        let listed = captures ? golden.listed.map(\.name) : []
        var reported = Set<String>()
        let missing = (expected + listed).filter {
            !stored.contains($0) && reported.insert($0).inserted
        }
        let made = Set(seen)
        let contract = Set(listed)
        let unlisted = golden.activationNames.filter {
            captures && made.contains($0) && !contract.contains($0)
        }
        let extra =
            golden.activationNames.filter { captures && !made.contains($0) }
            + golden.outputNames.filter { name in !graph.results.contains { $0.name == name } }
        return missing.map { .missing($0) }
            + extra.map {
                .init(
                    kind: .extra,
                    message:
                        "\($0.printable) is in the golden, but the model has no such activation")
            }
            + unlisted.map {
                .init(
                    kind: .extra,
                    message: "\($0.printable) is in the golden, but its contract does not list it")
            }
            + golden.unknownNames(network).map {
                .init(kind: .extra, message: "\($0.printable) is not an entry of a golden")
            } + golden.contradictedShapes(among: Set(layers.map(\.path))) + faults
            + disorder(listed.filter(made.contains))
    }

    /// The first place where the contract's order is not the model's.
    private func disorder(_ listed: [String]) -> [Verification.Problem] {
        let names = Set(listed)
        let order = seen.filter(names.contains)
        var counts = Set<String>()
        if let twice = listed.first(where: { !counts.insert($0).inserted }) {
            return [
                .init(kind: .outOfOrder, message: "the contract lists \(twice.printable) twice")
            ]
        }
        guard let place = order.indices.first(where: { listed[$0] != order[$0] }) else { return [] }
        return [
            .init(
                kind: .outOfOrder,
                message:
                    "the contract lists \(listed[place].printable) where the model runs "
                    + "\(order[place].printable): it is not in execution order")
        ]
    }
}

extension Activation {
    /// Whether a few of its tokens differ from `reference` and the others agree to rounding.
    ///
    /// Tokens that are alike, as padding is, count as one: weights may well leave them alone.
    fileprivate func isConfined(to reference: FloatBuffer) -> Bool {
        guard case .tokens = layout, values.rows >= 16 else { return false }
        let (rows, columns) = (values.rows, values.columns)
        var signal = 0.0
        let errors = (0..<rows).map { row -> Double in
            var sum = 0.0
            for column in 0..<columns {
                let theirs = Double(reference.pointer[row * columns + column])
                let difference = Double(values.pointer[row * columns + column]) - theirs
                sum += difference * difference
                signal += theirs * theirs
            }
            return sum
        }
        let scale = signal / Double(rows)
        let differing = errors.count { $0 > 1e-8 * scale }
        let agreeing = (0..<rows).filter { errors[$0] <= 1e-10 * scale }
        guard let first = agreeing.first, differing > 0, differing <= max(1, rows / 16),
            differing + agreeing.count == rows
        else { return false }
        func token(_ row: Int) -> UnsafeBufferPointer<Float> {
            UnsafeBufferPointer(start: values.pointer + row * columns, count: columns)
        }
        let alike = agreeing.count { token(first).elementsEqual(token($0)) }
        return alike <= agreeing.count / 2
    }
}
