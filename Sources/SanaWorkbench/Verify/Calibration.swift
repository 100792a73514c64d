import SanaModel
import SanaQuant

/// Per-layer tolerances made from what a healthy model needed: its errors times a margin.
///
/// Stored as JSON:
/// `{"format": "sana-tolerances", "version": 1, "metric": …, "margin": …, "layers": {path: T}}`,
/// and of what they were made since then: `weights_digest`, `dtypes`, `compute`, `numerics`,
/// `references`, names of goldens, `own`, `{path: relative RMS}`, and `scales` of int8 weights, see
/// `ChannelScales`.
package struct Calibration: Sendable, Equatable {
    private static let format = "sana-tolerances"
    private static let version = 1

    package let metric: Metric
    package let margin: Double
    /// Tolerances in the units of `metric`, by path.
    package let layers: [String: Double]
    /// Relative RMS that layers may add by themselves, by path; empty where own errors were not
    /// measured.
    package var own: [String: Double] = [:]
    /// Scales of the model's int8 weights, by name; empty in files that do not say.
    package var scales: [String: [Float]] = [:]
    /// Names of the goldens they were made with, sorted; empty in files that do not say.
    package var references: [String] = []
    /// The runs they were made for; `nil` for all, as in files that do not say.
    package var subject: Subject?

    /// What errors depend on: the same layers need other tolerances in other types.
    package struct Subject: Sendable, Equatable {
        /// Digest of the source weights, see `WeightsDigest`.
        package let weightsDigest: String
        /// Types of the stored weights, sorted.
        package let dtypes: [String]
        /// See `Verification.compute`.
        package let compute: String
        /// `Numerics`, as text.
        package let numerics: String

        package init(weightsDigest: String, dtypes: [String], compute: String, numerics: String) {
            self.weightsDigest = weightsDigest
            self.dtypes = dtypes.sorted()
            (self.compute, self.numerics) = (compute, numerics)
        }

        package init(_ model: LoadedModel, _ options: Verification.Options) {
            self.init(
                weightsDigest: model.sourceDigest, dtypes: model.dtypes,
                compute: model.compute(options.compute), numerics: options.numerics.rawValue)
        }

        /// For messages.
        package var text: String {
            "\(dtypes.joined(separator: "+")), \(ComputeMode.label(ofRecord: compute)), \(numerics)"
        }
    }

    /// Whether they are for runs of `other`.
    ///
    /// - Parameter allowStale: whatever its source weights.
    package func applies(to other: Subject, allowStale: Bool) -> Bool {
        guard let subject else { return true }
        return subject.dtypes == other.dtypes && subject.compute == other.compute
            && subject.numerics == other.numerics
            && (allowStale || subject.weightsDigest == other.weightsDigest)
    }

    /// Bytes: the scales of a model of 4.8 billion parameters are 10 MB of text.
    private static let largestFile = 64 << 20

    /// Errors below this relative RMS are rounding, which other CPUs do in another order.
    private static let roundingError = 2e-6

    /// From healthy results of one metric.
    ///
    /// The margin multiplies relative RMS, whatever the metric. A layer that several results have
    /// gets what the worst of them needs; none gets less than fp32 rounding may cost.
    ///
    /// - Returns: `nil` when a value is not finite, or metrics or subjects differ.
    package init?(_ results: [Verification], margin: Double) {
        guard let first = results.first,
            results.allSatisfy({ $0.metric == first.metric && $0.subject == first.subject })
        else { return nil }
        let metric = first.metric
        var layers: [String: Double] = [:]
        var own: [String: Double] = [:]
        for layer in results.flatMap(\.compared) {
            guard layer.comparison.nonfinite == 0, layer.comparison.relativeRMS.isFinite else {
                return nil
            }
            let limit = max(layer.comparison.relativeRMS * margin, Self.roundingError)
            let tolerance = metric == .relativePower ? limit * limit : limit
            layers[layer.path] = max(layers[layer.path] ?? 0, tolerance)
            guard let local = layer.isolated?.local else { continue }
            guard local.isFinite else { return nil }
            own[layer.path] = max(own[layer.path] ?? 0, max(local * margin, Self.roundingError))
        }
        (self.metric, self.margin, self.layers) = (metric, margin, layers)
        (self.own, subject) = (own, first.subject)
        references = Set(results.map { $0.reference.lastPathComponent }).sorted()
    }

    /// Reads a file that `write` made.
    ///
    /// - Throws: `FileError`, `BadDataError`.
    package init(path: String) throws {
        let json = try JSONFile.read(path, maximumByteCount: Self.largestFile)
        func bad(_ reason: String) -> BadDataError {
            BadDataError(
                file: path, reason: reason,
                remedy: "write it again with 'sana-tools verify --calibrate'")
        }
        guard json["format"]?.string == Self.format, json["version"]?.int == Self.version else {
            throw bad("is not a tolerances file of version \(Self.version)")
        }
        guard let metric = json["metric"]?.string.flatMap(Metric.init),
            let margin = json["margin"]?.double, let members = json["layers"]?.members
        else { throw bad("has no metric, margin and layers") }
        func numbers(_ members: [JSONValue.Member]) throws -> [String: Double] {
            var result: [String: Double] = [:]
            for member in members {
                guard let tolerance = member.value.double, tolerance >= 0, tolerance.isFinite else {
                    throw bad(
                        "the tolerance of '\(member.key.printable)' is not a non-negative number")
                }
                result[member.key] = tolerance
            }
            return result
        }
        layers = try numbers(members)
        if let value = json["own"] {
            guard let members = value.members else { throw bad("\"own\" is not an object") }
            own = try numbers(members)
        }
        if let value = json["scales"] {
            guard let read = ChannelScales.read(value) else {
                throw bad("\"scales\" are not F32 values in Base64")
            }
            scales = read
        }
        if let value = json["references"] {
            references = value.array?.compactMap(\.string) ?? []
            guard references.count == value.array?.count else {
                throw bad("\"references\" are not names")
            }
        }
        (self.metric, self.margin) = (metric, margin)
        let keys = ["weights_digest", "dtypes", "compute", "numerics"]
        guard keys.contains(where: { json[$0] != nil }) else { return }
        let dtypes = json["dtypes"]?.array?.compactMap(\.string) ?? []
        guard let digest = json[keys[0]]?.string, let compute = json[keys[2]]?.string,
            let numerics = json[keys[3]]?.string, !dtypes.isEmpty,
            dtypes.count == json["dtypes"]?.array?.count
        else { throw bad("has some of \(keys.joined(separator: ", ")), but not all") }
        subject = Subject(
            weightsDigest: digest, dtypes: dtypes, compute: compute, numerics: numerics)
    }

    /// - Parameter paths: the order of the layers in the file.
    /// - Throws: `FileError`.
    package func write(_ path: String, order paths: [String]) throws {
        var seen = Set<String>()
        let order = paths.filter { seen.insert($0).inserted }
        func object(_ values: [String: Double]) -> JSONValue {
            .object(
                order.compactMap { path in
                    values[path].map { JSONValue.Member(path, .double($0)) }
                })
        }
        var json = JSONValue.fields([
            "format": .string(Self.format), "version": .int(Self.version),
            "metric": .string(metric.rawValue), "margin": .double(margin),
        ])
        if let subject {
            json = json.setting("weights_digest", to: .string(subject.weightsDigest))
                .setting("dtypes", to: .array(subject.dtypes.map { .string($0) }))
                .setting("compute", to: .string(subject.compute))
                .setting("numerics", to: .string(subject.numerics))
        }
        if !references.isEmpty {
            json = json.setting("references", to: .array(references.map { .string($0) }))
        }
        json = json.setting("layers", to: object(layers))
        if !own.isEmpty { json = json.setting("own", to: object(own)) }
        if !scales.isEmpty { json = json.setting("scales", to: ChannelScales.json(scales)) }
        let file = try OutputFile(path, replaceExisting: true)
        try file.write(Array((json.text(indent: 2) + "\n").utf8))
        try file.commit()
    }
}
