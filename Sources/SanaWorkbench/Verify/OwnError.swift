import SanaModel

extension Verification.Layer {
    /// How the error of a layer arose: relative RMS errors, infinite where a value is not finite.
    ///
    /// `Isolation` says which runs measure it, `VerifyProbe` makes them.
    package struct Isolated: Sendable, Equatable {
        /// Error of the layer on the golden's input.
        package let own: Double
        /// The same error, with every captured value inside the layer replaced by the golden's.
        package let local: Double
        /// What the error of its input changes in the layer's output.
        package let inherited: Double
        /// `inherited` over the largest relative RMS error among the layer's inputs; `nil` where
        /// they are exact or not finite.
        package let gain: Double?
    }
}

extension Verification.Layer.Isolated {
    /// - Parameters:
    ///   - own: the run on the golden's input against the golden.
    ///   - local: the run with golden values inside the layer, too, against the golden.
    ///   - inherited: the free run against that on the golden's input.
    ///   - incoming: the largest relative RMS error among the layer's inputs.
    package init(own: ErrorSums, local: ErrorSums, inherited: ErrorSums, incoming: Double) {
        // Of the golden alone; sums leave out elements where the other side is not finite.
        let signal = max(own.squaredReference, local.squaredReference)
        func relative(_ sums: ErrorSums) -> Double {
            guard sums.nonfinite == 0 else { return .infinity }
            return sums.squaredDifference == 0
                ? 0 : (sums.squaredDifference / signal).squareRoot()
        }
        (self.own, self.local) = (relative(own), relative(local))
        let inherited = relative(inherited)
        self.inherited = inherited
        gain =
            incoming > 0 && incoming.isFinite && inherited.isFinite
            ? inherited / incoming : nil
    }
}
