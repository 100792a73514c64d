import SanaModel
import SanaQuant

/// One network, weight by weight, by the relative error power of the worst of its outputs.
package struct ForwardPrecision: PrecisionSubject {
    package let model: OpenedModel
    package let goldens: [Golden]
    package let compute: ComputeMode
    package let numerics: Numerics
    package let workers: WorkerPool

    package init(
        model: OpenedModel, goldens: [Golden], compute: ComputeMode, numerics: Numerics,
        workers: WorkerPool
    ) {
        (self.model, self.goldens, self.workers) = (model, goldens, workers)
        (self.compute, self.numerics) = (compute, numerics)
    }

    package var label: String { model.label }
    package var references: [String] { goldens.map(\.path) }
    package var measure: PrecisionMeasure { .relativePower }
    package var standingRules: [String] { [] }
    package var bytesBefore: Int { model.source.tensors.reduce(0) { $0 + $1.byteCount } }

    package var items: [PrecisionItem] {
        let builtIn = Set(model.builtInInt8)
        return model.source.tensors.compactMap { tensor in
            guard let saved = QuantizedSource.savedBytes(tensor), saved > 0 else { return nil }
            return PrecisionItem(
                name: tensor.name, bytesSaved: saved, isBuiltIn: builtIn.contains(tensor.name),
                pattern: tensor.name.asPattern)
        }
    }

    /// Every weight that `convert --dtype int8` takes, and the same but for the first and the last
    /// block.
    package var baselines: [(name: String, names: Set<String>)] {
        let builtIn = model.builtInInt8
        let networks = (try? model.config.unbound().network.entries) ?? []
        let blocks = networks.flatMap { entry in
            ((try? entry.network.graph(entry.network.sizes(SizeRequest())).modules) ?? [])
                .filter { $0.isOutermost && $0.isBlock }
        }
        let ends = [blocks.first, blocks.last].compactMap { $0 }.map { $0.path + "." }
        let inner = builtIn.filter { name in !ends.contains { name.hasPrefix($0) } }
        return [
            ("convert --dtype int8", Set(builtIn)),
            ("except the first and last block", Set(inner)),
        ]
    }

    package func errors(_ names: Set<String>) throws -> [Double] {
        let source = QuantizedSource(model.source, quantizing: names)
        let bound = try model.config.network(source, label: model.label)
        let context = ForwardContext(workers: workers, numerics: numerics, compute: compute)
        return try goldens.map { golden in
            let outputs: [DenseTensor]
            let network = try Self.network(bound, golden)
            do { outputs = try network.forward(golden.inputs, context) } catch {
                guard let error = error as? any DiagnosticError else { throw error }
                throw BadDataError(
                    file: golden.path,
                    reason: "the golden's inputs do not fit the model: \(error.description)",
                    remedy: "give only goldens of this model")
            }
            return try zip(network.outputs, outputs).map { name, output in
                let name = Golden.outputPrefix + name
                guard golden.shape(name) == output.shape,
                    let reference = try golden.values(name)
                else {
                    throw BadDataError(
                        file: golden.path, reason: "\(name) has another shape than the output",
                        remedy: "record the golden again with 'sana-tools capture'")
                }
                return Comparison(ErrorSums(output, with: reference), shape: output.shape)
                    .relativePower
            }.max() ?? 0
        }
    }

    /// The forward that a golden is of.
    private static func network(
        _ bound: BoundNetwork, _ golden: Golden
    ) throws -> any Network {
        let entry = golden.provenance.entry ?? bound.entries[0].name
        guard let network = bound[entry] else {
            throw BadDataError(
                file: golden.path,
                reason: "contract: entry is \"\((entry ?? "").printable)\", which the model does "
                    + "not have")
        }
        return try network.configured(by: golden.contract, file: golden.path)
    }
}

extension OpenedModel {
    /// Weights that `convert --dtype int8` takes by itself.
    var builtInInt8: [String] {
        let rules = ConversionRule.builtIn(for: .int8, config.expectedTensors(in: source))
        return source.tensors.filter { tensor in
            rules.first { $0.matches(tensor) }?.conversion == .int8PerChannel
        }.map(\.name)
    }
}
