import Foundation
import SanaModel

/// What makes a comparison fail: a layer, which need not be the first that shows it, or an entry of
/// the golden.
package struct Attribution: Sendable, Equatable {
    package enum Basis: String, Sendable {
        /// Errors of layers on golden inputs.
        case own
        /// Where the error jumps between a layer's inputs and its output.
        case jump
        /// An entry of the golden that contradicts the rest of it.
        case golden
    }

    /// Path of the layer to blame; with `golden`, name of the entry in the file.
    package var cause: String
    package var basis: Basis
    /// Other layers that are out of tolerance by themselves, the worst first.
    package var others: [String]
    /// Tensors of the cause that are not those of the golden's, or of the source's, weights.
    package var tensors: [String] = []
    /// Name of an input of the golden that would explain it as well: it has no hash.
    package var alternative: String?
}

extension Attribution {
    /// What is known in addition to the errors.
    package struct Evidence: Sendable {
        /// Whether the entries of the golden are known to be what was recorded.
        package var hasHashes = false
        /// Tensors of the model that are not those of the golden's, or of the source's, weights.
        package var tensors: [String] = []
    }

    /// Explains why some of `layers` fail; `nil` when none does.
    ///
    /// Errors count relative to the tolerance of their layer, as RMS, own errors relative to what a
    /// calibration found the layer to add by itself, if it did. Where own errors are known, the
    /// cause is the layer with the largest one up to the first failure, or the module around it
    /// when that is out of tolerance even with golden values inside: then its own parameters are
    /// wrong. Otherwise the cause is where the error grows most from input to output, among the
    /// layers up to the first failure whose error is large enough to explain it.
    ///
    /// Since a healthy layer that fails by a hair may come before the one that matters, a later
    /// layer is the cause where it is so much worse that no gain explains it.
    ///
    /// A layer that passes is the cause only if the first failure computes from it. Entries of a
    /// golden without hashes that contradict what was recorded around them are named instead of
    /// layers (see `GoldenSuspicion`), and tensors that are known to differ decide between layers.
    ///
    /// - Parameters:
    ///   - layers: in execution order, the output last. Those with a golden that is not finite
    ///     neither fail by themselves nor explain others.
    ///   - noise: relative RMS error that a healthy layer of such weights adds, where no
    ///     calibration in `tolerances` tells it.
    package static func find(
        _ layers: [Verification.Layer], _ inputs: LayerInputs, metric: Metric,
        tolerances: Tolerances, noise: Double, evidence: Evidence = .init()
    ) -> Attribution? {
        var layers = layers.filter { $0.goldenNonfinite == 0 }
        guard layers.contains(where: { !$0.passes }) else { return nil }
        let suspicion = GoldenSuspicion(layers, inputs, noise: noise)
        // A layer with a tensor that is known to differ has a reason of its own to be off.
        let changed = Set(
            evidence.tensors.flatMap { inputs.owners(of: $0, among: layers.map(\.path)) })
        let suspects =
            evidence.hasHashes ? [] : suspicion.entries.filter { !changed.contains($0) }
        if !suspects.isEmpty {
            layers = layers.filter { !suspicion.isTainted($0, by: suspects) }
            guard layers.contains(where: { !$0.passes }) else {
                return Attribution(
                    cause: Golden.entry(suspects[0]), basis: .golden,
                    others: suspects.dropFirst().map(Golden.entry))
            }
        }
        guard let failure = layers.firstIndex(where: { !$0.passes }) else { return nil }
        func limit(_ layer: Verification.Layer) -> Double {
            max(metric.relativeRMS(layer.tolerance), .leastNormalMagnitude)
        }
        let upstream = inputs.ancestors(of: layers[failure].path)
        func isEarly(_ layer: Verification.Layer) -> Bool {
            !layer.passes || upstream.contains(layer.path)
        }
        var result: Attribution
        if layers.contains(where: { $0.isolated != nil }) {
            result = byOwnError(layers, firstFailure: failure, isEarly: isEarly, inputs) { layer in
                let own = tolerances.ownLimit(of: layer.path).map { max($0, .leastNormalMagnitude) }
                return (layer.isolated?.local ?? 0) / (own ?? limit(layer))
            }
        } else {
            let errors = Dictionary(
                layers.map { ($0.path, $0.comparison.relativeRMS / limit($0)) }
            ) { first, _ in first }
            result = byJump(layers, firstFailure: failure, isEarly: isEarly, errors, inputs) {
                tolerances.healthyShare(of: $0.path) ?? noise / limit($0)
            }
        }
        result.decide(by: evidence.tensors, layers, inputs, firstFailure: layers[failure].path)
        if !evidence.hasHashes, result.tensors.isEmpty {
            let input = inputs.goldenInput(of: result.cause)
            if let input, layers.contains(where: { $0.path == result.cause && $0.isConfined }) {
                return Attribution(cause: input, basis: .golden, others: result.others)
            }
            result.alternative = input
        }
        return result
    }

    /// A layer, and how bad it is.
    private typealias Measured = (layer: Verification.Layer, measure: Double)

    /// The first of the worst of `early`, unless one of `late` is so much worse that no gain
    /// explains it.
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

    // MARK: Jumps

    /// - Parameters:
    ///   - errors: in parts of the tolerance, by path.
    ///   - healthy: the error of a healthy layer, in the same.
    private static func byJump(
        _ layers: [Verification.Layer], firstFailure failure: Int,
        isEarly: (Verification.Layer) -> Bool, _ errors: [String: Double], _ inputs: LayerInputs,
        healthy: (Verification.Layer) -> Double
    ) -> Attribution {
        /// How far the error of a layer exceeds that of its inputs, and of those in `others`.
        func jump(_ layer: Verification.Layer, _ others: [String] = []) -> Double {
            let error = errors[layer.path] ?? 0
            let inherited =
                (inputs.inputs(of: layer.path) + others).compactMap { errors[$0] }.max() ?? 0
            let before = max(inherited, healthy(layer))
            return error.isFinite ? error / before : before.isFinite ? .infinity : 0
        }
        let needed = (errors[layers[failure].path] ?? 0) / Self.largestGain
        let early = layers[...failure]
            .filter { isEarly($0) && (errors[$0.path] ?? 0) >= needed }.map { ($0, jump($0)) }
        let late = layers[(failure + 1)...].filter { !$0.passes }
            .map { ($0, jump($0, inputs.insides(of: $0.path))) }
        let worst = worst(early, unless: late) ?? layers[failure]
        let cause = modulatedBlock(around: worst.path, layers, inputs) ?? worst
        let others = layers.filter { !$0.passes && !inputs.isRelated($0.path, cause.path) }
            .map { ($0.path, jump($0, inputs.insides(of: $0.path))) }
            .filter { $0.1 > Self.largestGain }.sorted { $0.1 > $1.1 }.map(\.0)
        return Attribution(cause: cause.path, basis: .jump, others: others)
    }

    /// The block around a part of a self-attention all of whose projections fail although the norm
    /// before them passes: what the block makes of that norm is wrong.
    private static func modulatedBlock(
        around path: String, _ layers: [Verification.Layer], _ inputs: LayerInputs
    ) -> Verification.Layer? {
        guard let (block, twins) = inputs.twins(of: path) else { return nil }
        func passes(_ path: String) -> Bool? { layers.first { $0.path == path }?.passes }
        let norms = inputs.norms(before: path)
        guard !norms.isEmpty, norms.allSatisfy({ passes($0) == true }),
            twins.allSatisfy({ passes($0) == false })
        else { return nil }
        return layers.first { $0.path == block }
    }

    // MARK: Own errors

    private static func byOwnError(
        _ layers: [Verification.Layer], firstFailure: Int,
        isEarly: (Verification.Layer) -> Bool, _ inputs: LayerInputs,
        ratio: (Verification.Layer) -> Double
    ) -> Attribution {
        let measured = layers.map { ($0, ratio($0)) }
        // What runs after the first failure counts where it is out of tolerance by itself.
        let late = measured[(firstFailure + 1)...].filter { $0.1 > 1 }
        let early = measured[...firstFailure].filter { isEarly($0.0) }
        var cause = worst(Array(early), unless: late) ?? layers[firstFailure]
        let around = layers.filter { layer in
            cause.path.hasPrefix(layer.path + ".") && ratio(layer) > 1
        }
        if let outermost = around.min(by: { $0.path.utf8.count < $1.path.utf8.count }) {
            cause = outermost
        } else if let block = commonInput(of: cause, layers, inputs, ratio) {
            cause = block
        }
        return Attribution(
            cause: cause.path, basis: .own,
            others: layers.filter { ratio($0) > 1 && $0.path != cause.path }
                .sorted { ratio($0) > ratio($1) }.map(\.path))
    }

    /// The block whose modulation is wrong where all that its self-attention computes from its
    /// input is: three projections do not fail at once.
    private static func commonInput(
        of cause: Verification.Layer, _ layers: [Verification.Layer],
        _ inputs: LayerInputs, _ ratio: (Verification.Layer) -> Double
    ) -> Verification.Layer? {
        guard let (block, twins) = inputs.twins(of: cause.path) else { return nil }
        let failing = layers.filter { twins.contains($0.path) && ratio($0) > 1 }
        guard failing.count == twins.count else { return nil }
        return layers.first { $0.path == block }
    }

    // MARK: Tensors

    /// How many layers with other tensors still tell something: a fine-tune changes them all.
    private static let mostOwners = 8

    /// If errors point to tensors that are known to differ, or close to them, blames those. A
    /// jump of the error alone accuses no layer whose tensors are right.
    private mutating func decide(
        by tensors: [String], _ layers: [Verification.Layer], _ inputs: LayerInputs,
        firstFailure: String
    ) {
        let paths = layers.map(\.path)
        var owners: [String: [String]] = [:]
        for tensor in tensors {
            for path in inputs.owners(of: tensor, among: paths) {
                owners[path, default: []].append(tensor)
            }
        }
        guard !owners.isEmpty, owners.count <= Self.mostOwners else { return }
        if owners[cause] == nil {
            let upstream = inputs.ancestors(of: firstFailure)
            let failing = Set(layers.filter { !$0.passes }.map(\.path))
            let explaining = paths.filter { path in
                owners[path] != nil
                    && (failing.contains(path) || upstream.contains(path)
                        || inputs.isRelated(path, firstFailure))
            }
            // The one whose errors were blamed on what is inside it, else the first.
            let owner = explaining.first { inputs.isRelated($0, cause) } ?? explaining.first
            guard let owner else { return }
            cause = owner
        }
        self.tensors = owners[cause] ?? []
        let known = paths.filter { owners[$0] != nil && $0 != cause }
        let suspects = basis == .own ? others : []
        others =
            known.filter { !inputs.isOneModule($0, cause) }
            + suspects.filter { other in
                other != cause && !known.contains(other)
                    && !([cause] + known).contains { inputs.isRelated(other, $0) }
            }
    }
}
