import SanaModel

/// The layer that makes a comparison fail, which need not be the first that shows it.
struct Attribution: Sendable, Equatable {
    enum Basis: String, Sendable {
        /// Errors of layers on golden inputs.
        case own
        /// Where the error jumps between a layer's inputs and its output.
        case jump
    }

    /// Path of the layer to blame.
    let cause: String
    let basis: Basis
    /// Other layers that are out of tolerance by themselves, the worst first.
    let others: [String]
}

extension Attribution {
    /// Explains why some of `layers` fail; `nil` when none does.
    ///
    /// Errors count relative to the tolerance of their layer, as RMS, own errors relative to what a
    /// calibration found the layer to add by itself, if it did. Where own errors are known, the
    /// cause is the layer with the largest one up to the first failure, or the module around it when
    /// that is out of tolerance even with golden values inside: then its own parameters are wrong.
    /// Otherwise the cause is where the error grows most from input to output, among the layers up to
    /// the first failure whose error is large enough to explain it.
    ///
    /// Since a healthy layer that fails by a hair may stand before the one that matters, a later
    /// layer is the cause where it is so much worse that no gain explains it.
    ///
    /// - Parameters:
    ///   - layers: in execution order, the output last. Those with a golden that is not finite
    ///     neither fail by themselves nor explain others.
    ///   - noise: relative RMS error that a healthy layer of such weights adds, where no
    ///     calibration in `tolerances` tells it.
    static func find(
        _ layers: [Verification.Layer], _ inputs: LayerInputs, metric: Metric,
        tolerances: Tolerances, noise: Double
    ) -> Attribution? {
        let layers = layers.filter { $0.goldenNonfinite == 0 }
        guard let failure = layers.firstIndex(where: { !$0.passes }) else { return nil }
        func limit(_ layer: Verification.Layer) -> Double {
            max(metric.relativeRMS(layer.tolerance), .leastNormalMagnitude)
        }
        if layers.contains(where: { $0.isolated != nil }) {
            return byOwnError(layers, firstFailure: failure) { layer in
                let own = tolerances.ownLimit(of: layer.path).map { max($0, .leastNormalMagnitude) }
                return (layer.isolated?.local ?? 0) / (own ?? limit(layer))
            }
        }
        let errors = Dictionary(
            layers.map { ($0.path, $0.comparison.relativeRMS / limit($0)) }
        ) { first, _ in first }
        /// How far the error of a layer exceeds that of its inputs, and of those in `others`.
        func jump(_ layer: Verification.Layer, _ others: [String] = []) -> Double {
            let error = errors[layer.path] ?? 0
            let inherited =
                (inputs.inputs(of: layer.path) + others).compactMap { errors[$0] }.max() ?? 0
            let healthy = tolerances.healthyShare(of: layer.path) ?? noise / limit(layer)
            let before = max(inherited, healthy)
            return error.isFinite ? error / before : before.isFinite ? .infinity : 0
        }
        let needed = (errors[layers[failure].path] ?? 0) / Self.largestGain
        let early = layers[...failure].filter { (errors[$0.path] ?? 0) >= needed }
            .map { ($0, jump($0)) }
        let late = layers[(failure + 1)...].filter { !$0.passes }
            .map { ($0, jump($0, inputs.insides(of: $0.path))) }
        let cause = worst(early, unless: late) ?? layers[failure]
        return Attribution(cause: cause.path, basis: .jump, others: [])
    }

    /// A layer, and how bad it is.
    private typealias Measured = (layer: Verification.Layer, measure: Double)

    /// The first of the worst of `early`, unless one of `late` is so much worse that no gain explains
    /// it.
    private static func worst(
        _ early: [Measured], unless late: [Measured]
    ) -> Verification.Layer? {
        func first(_ layers: [Measured]) -> Measured? {
            layers.reduce(layers.first) { best, next in
                best.map { next.measure > $0.measure ? next : $0 }
            }
        }
        guard let best = first(early) else { return first(late)?.layer }
        guard let other = first(late), other.measure > largestGain * best.measure else {
            return best.layer
        }
        return other.layer
    }

    /// How much a layer may amplify the relative error of its input before it counts as the place
    /// where the error arose.
    private static let largestGain = 4.0

    private static func byOwnError(
        _ layers: [Verification.Layer], firstFailure: Int, ratio: (Verification.Layer) -> Double
    ) -> Attribution {
        let measured = layers.map { ($0, ratio($0)) }
        // What runs after the first failure counts where it is out of tolerance by itself.
        let late = measured[(firstFailure + 1)...].filter { $0.1 > 1 }
        var cause =
            worst(Array(measured[...firstFailure]), unless: late) ?? layers[firstFailure]
        let around = layers.filter { layer in
            cause.path.hasPrefix(layer.path + ".") && ratio(layer) > 1
        }
        if let outermost = around.min(by: { $0.path.utf8.count < $1.path.utf8.count }) {
            cause = outermost
        }
        return Attribution(
            cause: cause.path, basis: .own,
            others: layers.filter { ratio($0) > 1 && $0.path != cause.path }
                .sorted { ratio($0) > ratio($1) }.map(\.path))
    }
}
