import Foundation
import SanaModel

extension Verification {
    /// What to compare and how strictly.
    package struct Options: Sendable {
        package var tolerances = Tolerances()
        /// `nil`: relative power for quantized weights, relative RMS for float ones.
        package var metric: Metric?
        package var numerics = Numerics.fp32
        /// How int8 weights meet activations.
        package var compute = ComputeMode.standard
        /// How an autoencoder is cut; `nil`: as the golden says.
        package var tile: TileSize?
        /// Accept a golden of other weights.
        package var allowStale = false
        /// Whether layers also run on golden inputs; `nil`: where that is possible and takes no
        /// more than `isolatedOperations`.
        package var isolated: Bool?

        package init(
            tolerances: Tolerances = Tolerances(), metric: Metric? = nil,
            numerics: Numerics = Numerics.fp32,
            compute: ComputeMode = ComputeMode.standard, allowStale: Bool = false,
            isolated: Bool? = nil
        ) {
            (self.tolerances, self.metric, self.numerics) = (tolerances, metric, numerics)
            (self.compute, self.allowStale, self.isolated) = (compute, allowStale, isolated)
        }

        /// Operations of a forward that are a matter of seconds anywhere.
        package static let isolatedOperations = 20_000_000_000
    }

    /// Runs `model` on the golden's inputs and compares every captured activation as it is made.
    ///
    /// Activations are compared in place and dropped, so memory does not grow with their number.
    ///
    /// Inputs that do not fit the model are a problem of the result.
    ///
    /// - Throws: an error of reading the golden.
    package static func run(
        _ model: LoadedModel, _ golden: Golden, _ options: Options, workers: WorkerPool
    ) throws -> Verification {
        let start = ContinuousClock.now
        let metric =
            options.metric
            ?? .usual(
                isQuantized: model.isQuantized
                    || options.compute.products(isInt8: false) == .bf16)
        var result = Verification(
            model: model.label, reference: golden.path, metric: metric,
            tolerance: options.tolerances.base, compute: model.compute(options.compute),
            numerics: options.numerics, weightsDigest: model.sourceDigest,
            dtypes: model.dtypes, startedAt: Date())
        result.goldenRounding = golden.provenance.roundingError ?? 0
        var staleness = golden.provenance.staleness(
            model.sourceDigest, isConverted: model.isConverted)
        if options.allowStale {
            (result.isStaleAllowed, staleness) = (!staleness.isEmpty, [])
        }
        if let problem = golden.provenance.foreignClass(model) {
            result.problems = staleness + [problem]
            return result
        }
        let network = model.network
        try golden.checkInputs(of: network)
        let graph: ModuleGraph
        do throws(InputError) {
            try network.check(golden.inputs)
            graph = try network.graph(network.sizes(of: golden.inputs))
        } catch {
            let message = "the golden's inputs do not fit the model: \(error.description)"
            result.problems = staleness + [Problem(kind: .misshapen, message: message)]
            return result
        }
        let isolation: Isolation?
        switch Isolation.choose(network, graph, golden, options) {
        case .success(let chosen): isolation = chosen
        case .failure(let reason): (isolation, result.isolationRefused) = (nil, reason.text)
        }
        let tensors = model.expected
        let probe = VerifyProbe(
            golden: golden, network: network,
            inputs: LayerInputs(graph, tensors, captured: golden.listed.map(\.name)),
            metric: metric, tolerances: options.tolerances, isolation: isolation)
        let context = ForwardContext(
            workers: workers, numerics: options.numerics, compute: options.compute, probe: probe)
        let outputs = try network.forward(
            network.repeated(golden.inputs, isolation?.runs ?? 1), context)
        if let error = probe.error { throw error }
        let compared = try outputs.enumerated().map { try probe.output($0.offset, $0.element) }
        result.output = compared.last ?? nil
        result.layers = probe.layers + compared.dropLast().compactMap(\.self)
        result.problems =
            staleness + model.deviations.map(\.problem) + probe.problems(graph)
            + golden.provenance.precisionProblems(
                metric, strictest: result.strictest, numerics: options.numerics)
        let nonfinite = golden.nonfiniteInputs(network)
        if nonfinite.isEmpty {
            let inputs = LayerInputs(graph, tensors, captured: result.layers.map(\.path))
            result.attribution = Attribution.find(
                result.compared, inputs, metric: metric, tolerances: options.tolerances,
                noise: max(model.isQuantized ? 1e-2 : 1e-6, result.goldenRounding),
                evidence: .init(
                    hasHashes: golden.provenance.hasHashes,
                    tensors: model.deviatingTensors(from: golden.provenance)))
        }
        result.problems = nonfinite + result.problems
        result.seconds = (ContinuousClock.now - start).inSeconds
        return result
    }
}
