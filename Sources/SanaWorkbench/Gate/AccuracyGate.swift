/// Compares the errors of a verification with those of earlier ones: results are the same to the
/// bit from run to run, so any rise beyond rounding is one.
package enum AccuracyGate {
    package struct Finding: Sendable, Equatable {
        package let path: String
        /// Relative RMS errors: the lowest of the baseline, and the candidate's; `nil` where values
        /// are not finite.
        package let baseline: Double?
        package let candidate: Double?
        package let verdict: Verdict

        /// candidate / baseline, infinite where the candidate is not finite.
        package var ratio: Double {
            guard let candidate else { return .infinity }
            return baseline.map { candidate / $0 } ?? 1
        }
    }

    /// How many times the error of other weights of the same model may be: of floats it is
    /// rounding, which weights change by a few times, of int8 it hardly differs.
    package static let (ratioOfOtherFloats, ratioOfOtherInt8) = (10.0, 2.0)

    /// - Parameter largestRatio: how many times the lowest error of the baseline is no rise.
    package static func compare(
        _ candidate: [LayerResult], with baseline: [[LayerResult]], largestRatio: Double
    ) -> [Finding] {
        var known: [String: [Double?]] = [:]
        for layer in baseline.joined() where layer.tolerance != nil {
            known[layer.path, default: []].append(layer.relativeRms)
        }
        return candidate.compactMap { layer in
            guard layer.tolerance != nil, let errors = known[layer.path] else { return nil }
            let lowest = errors.compactMap { $0 }.min()
            return Finding(
                path: layer.path, baseline: lowest, candidate: layer.relativeRms,
                verdict: rises(layer.relativeRms, from: lowest, largestRatio) ? .fail : .pass)
        }
    }

    private static func rises(
        _ error: Double?, from baseline: Double?, _ largestRatio: Double
    ) -> Bool {
        guard let baseline else { return false }
        guard let error else { return true }
        return error > baseline * largestRatio + GateOptions.rounding
    }
}
