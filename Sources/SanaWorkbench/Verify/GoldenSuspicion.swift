import SanaModel

/// Finds entries of a golden that contradict what was recorded around them.
///
/// Two kinds of evidence: what follows computes rightly from the model's values and wrongly from
/// the golden's, or everything that follows agrees to rounding although the entry is far off.
/// Weights explain neither.
package struct GoldenSuspicion {
    private let layers: [Verification.Layer]
    private let inputs: LayerInputs
    private let noise: Double

    /// - Parameters: see `Attribution.find`.
    package init(_ layers: [Verification.Layer], _ inputs: LayerInputs, noise: Double) {
        (self.layers, self.inputs, self.noise) = (layers, inputs, noise)
    }

    /// Weights rounded to so much leave no error that could be called rounding.
    private static let coarse = 1e-4

    /// Paths of the activations in doubt, in execution order.
    package var entries: [String] {
        layers.filter { !$0.passes && $0.comparison.nonfinite == 0 }.map(\.path).filter(isSuspect)
    }

    private func isSuspect(_ path: String) -> Bool {
        guard let layer = layers.first(where: { $0.path == path }) else { return false }
        let following = layers.filter { feeds($0.path).contains(path) }
        guard !following.isEmpty, following.allSatisfy(\.passes) else { return false }
        // From the golden's value wrong, from ours right.
        let isContradicted = following.contains { next in
            guard let local = next.isolated?.local else { return false }
            return local > max(10 * noise, 3 * next.comparison.relativeRMS)
        }
        // A shift of all keys changes no softmax, so what follows says nothing about it.
        guard !isContradicted, noise < Self.coarse, !path.hasSuffix(".attn2.to_k") else {
            return isContradicted
        }
        let error = layer.comparison.relativeRMS
        return layers.filter { inputs.ancestors(of: $0.path).contains(path) }.allSatisfy {
            $0.passes && $0.comparison.relativeRMS <= min(3 * noise, error / 100)
        }
    }

    /// Captured layers that a layer computes from when it runs on golden values.
    private func feeds(_ path: String) -> [String] {
        inputs.inputs(of: path) + inputs.insides(of: path)
    }

    /// Whether the errors of a layer are those of `entries`: it is one, or it passes and was run on
    /// one.
    package func isTainted(_ layer: Verification.Layer, by entries: [String]) -> Bool {
        if entries.contains(layer.path) { return true }
        return layer.passes && layer.isolated != nil
            && feeds(layer.path).contains(where: entries.contains)
    }
}
