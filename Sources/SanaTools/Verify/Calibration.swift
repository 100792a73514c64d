import SanaModel
import SanaQuant

/// Per-layer tolerances made from what a healthy model needed: its errors times a margin.
///
/// Stored as JSON:
/// `{"format": "sana-tolerances", "version": 1, "metric": …, "margin": …, "layers": {path: T}}`.
struct Calibration: Sendable, Equatable {
    private static let format = "sana-tolerances"
    private static let version = 1

    let metric: Metric
    let margin: Double
    /// Tolerances in the units of `metric`, by path.
    let layers: [String: Double]

    /// Errors below this relative RMS are rounding, which other processors do in another order.
    private static let roundingError = 2e-6

    /// From healthy results of one metric.
    ///
    /// The margin multiplies relative RMS, whatever the metric. A layer that several results have
    /// gets what the worst of them needs; none gets less than fp32 rounding may cost.
    ///
    /// - Returns: `nil` when a value is not finite, or metrics differ.
    init?(_ results: [Verification], margin: Double) {
        guard let metric = results.first?.metric, results.allSatisfy({ $0.metric == metric })
        else { return nil }
        var layers: [String: Double] = [:]
        for layer in results.flatMap(\.compared) {
            guard layer.comparison.nonfinite == 0, layer.comparison.relativeRMS.isFinite else {
                return nil
            }
            let limit = max(layer.comparison.relativeRMS * margin, Self.roundingError)
            let tolerance = metric == .relativePower ? limit * limit : limit
            layers[layer.path] = max(layers[layer.path] ?? 0, tolerance)
        }
        (self.metric, self.margin, self.layers) = (metric, margin, layers)
    }

    /// Reads a file that `write` made.
    ///
    /// - Throws: `FileError`, `BadDataError`.
    init(path: String) throws {
        let json = try JSONFile.read(path)
        func bad(_ reason: String) -> BadDataError {
            BadDataError(
                file: path, reason: reason,
                remedy: "write it again with 'sana-tools verify --calibrate'")
        }
        guard json["format"]?.string == Self.format, json["version"]?.int == Self.version else {
            throw bad("is no file of tolerances of version \(Self.version)")
        }
        guard let metric = json["metric"]?.string.flatMap(Metric.init),
            let margin = json["margin"]?.double, let members = json["layers"]?.members
        else { throw bad("has no metric, margin and layers") }
        var layers: [String: Double] = [:]
        for member in members {
            guard let tolerance = member.value.double, tolerance >= 0, tolerance.isFinite else {
                throw bad("the tolerance of '\(member.key.printable)' is no non-negative number")
            }
            layers[member.key] = tolerance
        }
        (self.metric, self.margin, self.layers) = (metric, margin, layers)
    }

    /// - Parameter paths: the order of the layers in the file.
    /// - Throws: `FileError`.
    func write(_ path: String, order paths: [String]) throws {
        var seen = Set<String>()
        let members = paths.compactMap { path in
            layers[path].flatMap { tolerance in
                seen.insert(path).inserted
                    ? JSONValue.Member(path, .double(tolerance)) : nil
            }
        }
        let json = JSONValue.fields([
            "format": .string(Self.format), "version": .int(Self.version),
            "metric": .string(metric.rawValue), "margin": .double(margin),
            "layers": .object(members),
        ])
        let file = try OutputFile(path, replaceExisting: true)
        try file.write(Array((json.text(indent: 2) + "\n").utf8))
        try file.commit()
    }
}
