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
    /// Other layers that are out of tolerance by themselves, in execution order.
    let others: [String]
}

extension Attribution {
    /// Explains the first failure among `layers`; `nil` when none fails.
    ///
    /// Errors count relative to the tolerance of their layer, as RMS, own errors relative to what a
    /// calibration found the layer to add by itself, if it did. Where own errors are known,
    /// the cause is the layer with the largest one up to the first failure, or the module around
    /// it when that is out of tolerance even with golden values inside: then its own parameters
    /// are wrong. Otherwise the cause is where the error grows most from input to output, among
    /// the layers whose error is large enough to explain the failure.
    ///
    /// - Parameters:
    ///   - layers: in execution order, the output last.
    ///   - noise: relative RMS error that a healthy layer of such weights adds, where no
    ///     calibration in `tolerances` tells it.
    static func find(
        _ layers: [Verification.Layer], _ inputs: LayerInputs, metric: Metric,
        tolerances: Tolerances, noise: Double
    ) -> Attribution? {
        guard let failure = layers.firstIndex(where: { !$0.passes }) else { return nil }
        func limit(_ layer: Verification.Layer) -> Double {
            max(metric.relativeRMS(layer.tolerance), .leastNormalMagnitude)
        }
        if layers.contains(where: { $0.isolated != nil }) {
            return byOwnError(layers, upTo: failure) { layer in
                let own = tolerances.ownLimit(of: layer.path).map { max($0, .leastNormalMagnitude) }
                return (layer.isolated?.local ?? 0) / (own ?? limit(layer))
            }
        }
        let errors = Dictionary(
            layers.map { ($0.path, $0.comparison.relativeRMS / limit($0)) }
        ) { first, _ in first }
        /// How far the error of a layer exceeds that of its inputs.
        func jump(_ layer: Verification.Layer) -> Double {
            let error = errors[layer.path] ?? 0
            let inherited = inputs.inputs(of: layer.path).compactMap { errors[$0] }.max() ?? 0
            let healthy = tolerances.healthyShare(of: layer.path) ?? noise / limit(layer)
            let before = max(inherited, healthy)
            return error.isFinite ? error / before : before.isFinite ? .infinity : 0
        }
        let needed = (errors[layers[failure].path] ?? 0) / Self.largestGain
        let candidates = layers[...failure].filter { (errors[$0.path] ?? 0) >= needed }
        let cause = candidates.reduce(candidates.first) { best, layer in
            best.map { jump(layer) > jump($0) ? layer : $0 } ?? layer
        }
        return Attribution(cause: cause?.path ?? layers[failure].path, basis: .jump, others: [])
    }

    /// How much a layer may amplify the relative error of its input before it counts as the place
    /// where the error arose.
    private static let largestGain = 4.0

    private static func byOwnError(
        _ layers: [Verification.Layer], upTo failure: Int, ratio: (Verification.Layer) -> Double
    ) -> Attribution {
        var cause = layers[0]
        for layer in layers[...failure] where ratio(layer) > ratio(cause) { cause = layer }
        let around = layers.filter { layer in
            cause.path.hasPrefix(layer.path + ".") && ratio(layer) > 1
        }
        if let outermost = around.min(by: { $0.path.utf8.count < $1.path.utf8.count }) {
            cause = outermost
        }
        return Attribution(
            cause: cause.path, basis: .own,
            others: layers.filter { ratio($0) > 1 && $0.path != cause.path }.map(\.path))
    }
}
