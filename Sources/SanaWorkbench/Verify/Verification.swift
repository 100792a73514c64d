import Foundation
import SanaModel

/// The outcome of comparing one model with one golden.
package struct Verification: Sendable {
    /// One compared activation.
    package struct Layer: Sendable {
        /// Module path, with `.0`, `.1` where the module returns a tuple; `outputs.sample` for the
        /// model's output.
        package let path: String
        package let comparison: Comparison
        /// In the units of the metric.
        package let tolerance: Double
        package let passes: Bool
        /// Whether a rule or a calibration gave it this tolerance.
        package var hasOwnTolerance = false
        /// Values of the golden that are NaN or infinite.
        package var goldenNonfinite = 0
        /// `nil` unless layers ran on golden inputs, too.
        package var isolated: Isolated?
        /// Whether only a few tokens differ and all others agree to rounding, as no weight
        /// explains.
        package var isConfined = false
    }

    /// A way in which the golden and the model do not belong together.
    package struct Problem: Sendable, Equatable {
        package enum Kind: String, Sendable, CaseIterable {
            /// An activation of the default set, one that the contract lists, or an output is not
            /// in the file.
            case missing
            /// An activation in the file that the model does not produce.
            case extra
            case misshapen
            /// The contract lists activations in another order than the model makes them.
            case outOfOrder = "out_of_order"
            /// The golden holds NaN or infinity, which nothing can be compared with.
            case notFinite = "not_finite"
            /// The golden was recorded from other weights.
            case stale
            /// The golden was computed in a precision that cannot meet the tolerance.
            case precision
            /// A trajectory's timesteps or noise levels are not its scheduler's.
            case schedule
            /// A prompt has other tokens in the golden.
            case tokens
            /// A stored tensor is not what the source's weights become.
            case deviation
            /// The model or the golden could not be read, so nothing was compared.
            case unreadable
            /// The model that a project promises is not there, or was made from other weights.
            case absent

            /// In messages; the raw value is for programs.
            package var words: String {
                switch self {
                case .misshapen: "mismatched"
                case .outOfOrder: "out of order"
                case .notFinite: "not finite"
                default: rawValue
                }
            }

            /// Ways in which a comparison that took place may be flawed.
            package static let ofComparisons = allCases.filter {
                $0 != .unreadable && $0 != .absent
            }
        }
        package let kind: Kind
        package let message: String
        /// The layer it is about, if it is about one.
        package var path: String?

        /// As reports and records have it.
        package var line: String { kind == .stale ? message : "\(kind.words): \(message)" }
    }

    package let model: String
    package let reference: String
    package let metric: Metric
    /// The tolerance of layers that no rule and no calibration speaks about.
    package let tolerance: Double
    /// How weights met activations: see `LoadedModel.compute`.
    package let compute: String
    package let numerics: Numerics
    /// Digest of the weights that the model came from.
    package let weightsDigest: String
    /// Types of the stored weights, the one that holds most bytes first.
    package let dtypes: [String]
    /// Bytes of the weights as stored, where they are known.
    var storedBytes: Int?
    package var layers: [Layer] = []
    /// The model's output; `nil` when the golden has none, or one of another shape.
    package var output: Layer?
    package var problems: [Problem] = []
    /// Whether the golden is of other weights, which the user allowed.
    package var isStaleAllowed = false
    /// What makes it fail; `nil` when it passes, or fails by its problems alone.
    package var attribution: Attribution?
    /// Why own errors, asked for or cheap, could not be had.
    package var isolationRefused: String?
    /// What was sampled, where the golden is a trajectory; layers are its steps.
    package var sampling: Sampling?
    /// Stages and pictures, where the golden is a recorded pipeline; layers are what passed between
    /// them.
    package var pipeline: PipelineOutcome?
    /// See `GoldenProvenance.roundingError`.
    package var goldenRounding = 0.0
    package let startedAt: Date
    package var seconds = 0.0

    /// What its errors depend on.
    package var subject: Calibration.Subject {
        .init(
            weightsDigest: weightsDigest, dtypes: dtypes, compute: compute,
            numerics: numerics.rawValue)
    }

    /// What is to blame: a layer, an entry of the golden, or a stage of a pipeline.
    package var cause: String? { pipeline?.cause?.stage.rawValue ?? attribution?.cause }

    /// All that was compared, the output last.
    package var compared: [Layer] { layers + [output].compactMap { $0 } }

    package var verdict: Verdict {
        guard problems.isEmpty, output != nil else { return .fail }
        let failures = compared.filter { !$0.passes }
        guard !failures.isEmpty else { return .pass }
        // Such a golden cannot tell these errors from its own.
        let limit = goldenRounding * Self.accumulatedRoundings
        return failures.allSatisfy { $0.comparison.relativeRMS <= limit } ? .inconclusive : .fail
    }
    package var passes: Bool { verdict == .pass }

    /// Whether the golden is of other weights, and that was not allowed.
    package var isStale: Bool { problems.contains { $0.kind == .stale } }

    /// How many times the rounding of one activation a 16-bit golden's own error is taken to grow
    /// to along the layers.
    private static let accumulatedRoundings = 8.0

    /// The first layer in execution order that is out of tolerance, the output last.
    package var firstOutOfTolerance: String? { compared.first { !$0.passes }?.path }

    /// The layer with the largest error in the metric.
    package var worst: Layer? {
        compared.max { metric.value($0.comparison) < metric.value($1.comparison) }
    }

    /// The smallest `tolerance` that would let every layer pass; infinite where values are not
    /// finite, `nil` where a layer with a tolerance of its own fails.
    package var wouldPassAt: Double? {
        guard !compared.contains(where: { $0.hasOwnTolerance && !$0.passes }) else { return nil }
        let others = compared.filter { !$0.hasOwnTolerance }
        return others.map { metric.value($0.comparison) }.max()
    }

    /// The tolerance that asks most of a golden, and the layer that has it where it is not
    /// everyone's.
    package var strictest: (tolerance: Double, path: String?) {
        let layer = compared.min { $0.tolerance < $1.tolerance }
        return (
            layer?.tolerance ?? tolerance,
            layer.flatMap { $0.hasOwnTolerance ? $0.path : nil }
        )
    }

    /// How many times its tolerance the error of a layer is.
    package func excess(_ layer: Layer) -> Double {
        metric.value(layer.comparison) / max(layer.tolerance, .leastNormalMagnitude)
    }
}

/// The answer of a check.
package enum Verdict: String, Sendable, Comparable {
    case pass
    /// Neither: the evidence does not decide.
    case inconclusive
    case fail

    package static func < (left: Verdict, right: Verdict) -> Bool { left.severity < right.severity }

    private var severity: Int {
        switch self {
        case .pass: 0
        case .inconclusive: 1
        case .fail: 2
        }
    }
}

extension Verification.Problem {
    package static func missing(_ path: String) -> Self {
        Self(kind: .missing, message: "\(path.printable) is not in the golden", path: path)
    }

    package static func misshapen(_ path: String, golden: [Int], model: [Int]) -> Self {
        Self(
            kind: .misshapen,
            message: "\(path.printable): shape \(golden) in the golden, \(model) in the model",
            path: path)
    }

    /// Of inputs by their names in goldens, those with values that are not finite: no layer can
    /// answer for what comes of them.
    package static func notFinite(_ inputs: [(name: String, tensor: DenseTensor?)]) -> [Self] {
        inputs.compactMap { name, tensor in
            guard let count = tensor?.nonfiniteCount, count > 0 else { return nil }
            return notFinite("inputs." + name, count: count)
        }
    }

    package static func notFinite(_ path: String, count: Int) -> Self {
        Self(
            kind: .notFinite,
            message: "\(path.printable): \(Format.counted(count, "value")) of the golden "
                + "\(count == 1 ? "is" : "are") not finite; capture it again", path: path)
    }
}
