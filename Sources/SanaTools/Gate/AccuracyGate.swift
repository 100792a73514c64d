/// Compares the errors of a verification with those of earlier ones: results are the same to the bit
/// from run to run, so any rise beyond rounding is one.
enum AccuracyGate {
    struct Finding: Sendable, Equatable {
        let path: String
        /// Relative RMS errors: the lowest of the baseline, and the candidate's; `nil` where values are
        /// not finite.
        let baseline: Double?
        let candidate: Double?
        let verdict: Verdict

        /// candidate / baseline, infinite where the candidate is not finite.
        var ratio: Double {
            guard let candidate else { return .infinity }
            return baseline.map { candidate / $0 } ?? 1
        }
    }

    static func compare(
        _ candidate: [LayerResult], with baseline: [[LayerResult]], _ options: GateOptions
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
                verdict: rises(layer.relativeRms, from: lowest, options) ? .fail : .pass)
        }
    }

    private static func rises(
        _ error: Double?, from baseline: Double?, _ options: GateOptions
    ) -> Bool {
        guard let baseline else { return false }
        guard let error else { return true }
        return error > baseline * (1 + options.errorRise) + GateOptions.rounding
    }
}
