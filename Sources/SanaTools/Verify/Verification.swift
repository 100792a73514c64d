import Foundation
import SanaModel

/// The outcome of comparing one model with one golden.
struct Verification: Sendable {
    /// One compared activation.
    struct Layer: Sendable {
        /// Module path, with `.0`, `.1` where the module returns a tuple; `outputs.sample` for the
        /// model's output.
        let path: String
        let comparison: Comparison
        let tolerance: Double
        let passes: Bool
    }

    /// A way in which the golden and the model do not belong together.
    struct Problem: Sendable, Equatable {
        enum Kind: String, Sendable {
            /// An activation of the default set, or one that the contract lists, is not in the
            /// file.
            case missing
            /// An activation in the file that the model does not produce.
            case extra
            case misshapen
            /// The golden was recorded from other weights.
            case stale
            /// The golden was computed in a precision that cannot meet the tolerance.
            case precision
        }
        let kind: Kind
        let message: String
    }

    let model: String
    let reference: String
    let metric: Metric
    let tolerance: Double
    /// How weights met activations: `fp32`, or `w8a16` for dequantized int8 weights.
    let compute: String
    let numerics: Numerics
    let layers: [Layer]
    /// The model's output; `nil` when its shape differs from the golden's.
    let output: Layer?
    let problems: [Problem]
    let startedAt: Date
    let seconds: Double

    var passes: Bool {
        problems.isEmpty && layers.allSatisfy(\.passes) && output?.passes == true
    }
    var verdict: String { passes ? "pass" : "fail" }

    /// The first layer in execution order that is out of tolerance, the output last.
    var firstOutOfTolerance: String? {
        (layers + [output].compactMap { $0 }).first { !$0.passes }?.path
    }

    /// The layer with the largest error in the metric.
    var worst: Layer? {
        (layers + [output].compactMap { $0 }).max {
            metric.value($0.comparison) < metric.value($1.comparison)
        }
    }
}

extension Verification {
    /// What to compare and how strictly.
    struct Options: Sendable {
        var tolerance = 1e-3
        /// `nil`: relative power for int8 weights, relative RMS for float ones.
        var metric: Metric?
        var numerics = Numerics.fp32
        /// Accept a golden of other weights.
        var allowStale = false
    }

    /// Runs `model` on the golden's inputs and compares every captured activation as it is made.
    ///
    /// Activations are compared in place and dropped, so memory does not grow with their number.
    ///
    /// Inputs that do not fit the model are a problem of the result.
    ///
    /// - Throws: an error of reading the golden.
    static func run(
        _ model: LoadedModel, _ golden: Golden, _ options: Options, workers: WorkerPool
    ) throws -> Verification {
        let (startedAt, start) = (Date(), ContinuousClock.now)
        let metric = options.metric ?? (model.isQuantized ? .relativePower : .relativeRMS)
        let probe = VerifyProbe(golden: golden, metric: metric, tolerance: options.tolerance)
        let context = ForwardContext(workers: workers, numerics: options.numerics, probe: probe)
        let sample: DenseTensor
        do throws(InputError) {
            sample = try model.transformer.forward(golden.inputs, context)
        } catch {
            return Verification(
                model: model.label, reference: golden.path, metric: metric,
                tolerance: options.tolerance, compute: model.compute, numerics: options.numerics,
                layers: [], output: nil,
                problems: [
                    Problem(
                        kind: .misshapen,
                        message: "the golden's inputs do not fit the model: \(error.description)")
                ], startedAt: startedAt, seconds: (ContinuousClock.now - start).inSeconds)
        }
        if let error = probe.error { throw error }

        var problems = probe.problems(expected: model.transformer.config.defaultActivations)
        problems += golden.precisionProblems(
            metric, tolerance: options.tolerance, numerics: options.numerics)
        if golden.contract.weightsDigest != model.sourceDigest, !options.allowStale {
            problems.append(
                Problem(
                    kind: .stale,
                    message:
                        "golden is stale: recorded from weights \(String(golden.contract.weightsDigest.prefix(12)).printable), the model's are \(model.sourceDigest.prefix(12)); capture it again, or --allow-stale"
                ))
        }
        var output: Layer?
        if golden.shape(Golden.outputName) == sample.shape,
            let reference = try golden.values(Golden.outputName)
        {
            let comparison = Comparison(ErrorSums(sample, with: reference))
            output = Layer(
                path: Golden.outputPath, comparison: comparison, tolerance: options.tolerance,
                passes: metric.passes(comparison, tolerance: options.tolerance))
        } else {
            problems.append(
                .misshapen(
                    Golden.outputPath, golden: golden.shape(Golden.outputName), model: sample.shape)
            )
        }
        return Verification(
            model: model.label, reference: golden.path, metric: metric,
            tolerance: options.tolerance,
            compute: model.compute, numerics: options.numerics, layers: probe.layers,
            output: output,
            problems: problems, startedAt: startedAt,
            seconds: (ContinuousClock.now - start).inSeconds)
    }
}

extension Verification.Problem {
    static func misshapen(_ path: String, golden: [Int]?, model: [Int]) -> Self {
        Self(
            kind: .misshapen,
            message:
                "\(path.printable): golden has \(golden.map { "\($0)" } ?? "nothing"), the model makes \(model)"
        )
    }
}

/// Compares every activation that a golden holds, in the order in which the forward makes them.
final class VerifyProbe: LayerProbe {
    private let golden: Golden
    private let metric: Metric
    private let tolerance: Double
    private var seen = Set<String>()
    private var misshapen: [Verification.Problem] = []
    private(set) var layers: [Verification.Layer] = []
    /// The first failure to read the golden.
    private(set) var error: (any Error)?

    init(golden: Golden, metric: Metric, tolerance: Double) {
        (self.golden, self.metric, self.tolerance) = (golden, metric, tolerance)
    }

    func begin(_ path: String) {}

    func end(_ path: String, _ outputs: [Activation]) {
        for (index, activation) in outputs.enumerated() {
            compare(outputs.count > 1 ? "\(path).\(index)" : path, activation)
        }
    }

    private func compare(_ path: String, _ activation: Activation) {
        let name = Golden.activationPrefix + path
        guard error == nil, let shape = golden.shape(name) else { return }
        seen.insert(path)
        guard shape == activation.shape else {
            misshapen.append(.misshapen(path, golden: shape, model: activation.shape))
            return
        }
        do {
            guard let reference = try golden.values(name) else { return }
            let comparison = Comparison(ErrorSums(activation, with: reference))
            layers.append(
                .init(
                    path: path, comparison: comparison, tolerance: tolerance,
                    passes: metric.passes(comparison, tolerance: tolerance)))
        } catch { self.error = error }
    }

    /// Entries that are missing, extra or misshapen.
    ///
    /// - Parameter expected: the default set of the model.
    func problems(expected: [String]) -> [Verification.Problem] {
        let stored = Set(golden.activationNames)
        let listed = golden.contract.activations.map(\.name)
        var reported = Set<String>()
        let missing = (expected + listed).filter {
            !stored.contains($0) && reported.insert($0).inserted
        }
        let extra = golden.activationNames.filter { !seen.contains($0) }
        return missing.map {
            .init(kind: .missing, message: "\($0.printable) is not in the golden")
        }
            + extra.map {
                .init(
                    kind: .extra,
                    message:
                        "\($0.printable) is in the golden, but the model makes no such activation")
            }
            + golden.unknownNames.map {
                .init(kind: .extra, message: "\($0.printable) is no entry that goldens have")
            } + golden.contradictedShapes(among: Set(layers.map(\.path))) + misshapen
    }
}
