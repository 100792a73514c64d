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
        /// In the units of the metric.
        let tolerance: Double
        let passes: Bool
        /// `nil` unless layers ran on golden inputs, too.
        var isolated: Isolated?

        /// How the error of a layer arose: relative RMS errors, infinite where a value is not
        /// finite.
        struct Isolated: Sendable, Equatable {
            /// Error of the layer on the golden's input.
            let own: Double
            /// The same with golden values for everything captured inside the layer.
            let local: Double
            /// What the error of its input changes in the layer's output.
            let inherited: Double
            /// `inherited` over the largest relative RMS error among the layer's inputs; `nil` where they are
            /// exact or not finite.
            let gain: Double?
        }
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
            /// The contract lists activations in another order than the model makes them.
            case outOfOrder = "out_of_order"
            /// The golden was recorded from other weights.
            case stale
            /// The golden was computed in a precision that cannot meet the tolerance.
            case precision
            /// A trajectory's timesteps or noise levels are not its scheduler's.
            case schedule
        }
        let kind: Kind
        let message: String
    }

    let model: String
    let reference: String
    let metric: Metric
    /// The tolerance of layers that no rule and no calibration speaks about.
    let tolerance: Double
    /// How weights met activations: `fp32`, or a `Compute` for int8 weights.
    let compute: String
    let numerics: Numerics
    /// Digest of the weights that the model came from.
    let weightsDigest: String
    /// Types of the stored weights, the one that holds most bytes first.
    let dtypes: [String]
    var layers: [Layer] = []
    /// The model's output; `nil` when its shape differs from the golden's.
    var output: Layer?
    var problems: [Problem] = []
    /// What makes it fail; `nil` when it passes, or fails by its problems alone.
    var attribution: Attribution?
    /// Why own errors, asked for or cheap, could not be had.
    var isolationRefused: String?
    /// What was sampled, where the golden is a trajectory; layers are its steps.
    var sampling: Sampling?
    /// See `GoldenProvenance.roundingError`.
    var goldenRounding = 0.0
    let startedAt: Date
    var seconds = 0.0

    /// What its errors depend on.
    var subject: Calibration.Subject {
        .init(
            weightsDigest: weightsDigest, dtypes: dtypes, compute: compute,
            numerics: numerics.rawValue)
    }

    /// All that was compared, the output last.
    var compared: [Layer] { layers + [output].compactMap { $0 } }

    var verdict: Verdict {
        guard problems.isEmpty, output != nil else { return .fail }
        let failures = compared.filter { !$0.passes }
        guard !failures.isEmpty else { return .pass }
        // Such a golden cannot tell these errors from its own.
        let limit = goldenRounding * Self.accumulatedRoundings
        return failures.allSatisfy { $0.comparison.relativeRMS <= limit } ? .inconclusive : .fail
    }
    var passes: Bool { verdict == .pass }

    /// How many times the rounding of one activation a 16-bit golden's own error is taken to grow
    /// to along the layers.
    private static let accumulatedRoundings = 8.0

    /// The first layer in execution order that is out of tolerance, the output last.
    var firstOutOfTolerance: String? { compared.first { !$0.passes }?.path }

    /// The layer with the largest error in the metric.
    var worst: Layer? {
        compared.max { metric.value($0.comparison) < metric.value($1.comparison) }
    }

    /// The smallest tolerance that would let every layer pass; infinite where values are not
    /// finite.
    var wouldPassAt: Double? { worst.map { metric.value($0.comparison) } }
}

/// The answer of a check.
enum Verdict: String, Sendable, Comparable {
    case pass
    /// Neither: the evidence does not decide.
    case inconclusive
    case fail

    static func < (left: Verdict, right: Verdict) -> Bool { left.severity < right.severity }

    private var severity: Int {
        switch self {
        case .pass: 0
        case .inconclusive: 1
        case .fail: 2
        }
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
