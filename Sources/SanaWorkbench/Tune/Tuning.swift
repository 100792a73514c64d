import Libc
import SanaModel

/// What errors of a search are.
package enum PrecisionMeasure: Sendable {
    /// ‖a−r‖²/‖r‖² of the output.
    case relativePower
    /// Mean squared difference of levels over the square of the largest; shown as PSNR.
    case psnr

    /// The error of a PSNR in decibels.
    package static func power(_ decibels: Double) -> Double { pow(10, -decibels / 10) }

    /// The PSNR of an error; `nil` for none.
    static func decibels(_ error: Double) -> Double? { error > 0 ? -10 * log10(error) : nil }

    var title: String { self == .psnr ? "PSNR" : "output rel. power" }

    func text(_ error: Double) -> String {
        guard self == .psnr else { return Format.scientific(error) }
        return Self.decibels(error).map { "\(Format.decimal($0, digits: 1)) dB" } ?? "equal"
    }

    /// A field of JSON documents.
    func member(_ error: Double) -> JSONValue.Member {
        self == .psnr
            ? .init("psnr_db", .double(Self.decibels(error)))
            : .init("relative_power", .double(error))
    }

    /// What an error is at most, or a PSNR at least.
    func bound(_ tolerance: Double) -> String { (self == .psnr ? "≥ " : "≤ ") + text(tolerance) }
}

/// What a search for precision found.
package struct Tuning {
    package let model: String
    package let references: [String]
    let measure: PrecisionMeasure
    package let compute: ComputeMode
    package let tolerance: Double
    package let bytesBefore: Int
    package let candidates: [PrecisionSearch.Candidate]
    package let front: [PrecisionSearch.Choice]
    /// What people do without a search, and the tuned choice of at most their size.
    package let baselines:
        [(name: String, choice: PrecisionSearch.Choice, tuned: PrecisionSearch.Choice?)]
    /// The smallest choice found within the tolerance; `nil` when there is none.
    package let chosen: PrecisionSearch.Choice?
    /// For `convert --rule-file`.
    package let rules: [String]
}

extension Tuning {
    /// Ranks, measures and chooses.
    ///
    /// - Throws: `InputError`, and what reading the model or the references throws.
    package static func run(_ search: PrecisionSearch, tolerance: Double) throws -> Tuning {
        let candidates = try search.rank()
        let front = try search.front(candidates)
        let chosen = try search.smallest(within: tolerance, candidates, front)
        let baselines = try search.baselines(candidates).map { name, choice in
            (name, choice, try search.best(atMost: choice.bytes, candidates, front))
        }
        return Tuning(
            model: search.subject.label, references: search.subject.references,
            measure: search.subject.measure, compute: search.compute, tolerance: tolerance,
            bytesBefore: search.subject.bytesBefore,
            candidates: candidates, front: front, baselines: baselines, chosen: chosen,
            rules: chosen.map(search.rules) ?? [])
    }

    package var json: JSONValue {
        func fields(_ choice: PrecisionSearch.Choice) -> JSONValue {
            .object([
                .init("bytes", .int(choice.bytes)), measure.member(choice.error),
                .init("int8", .int(choice.names.count)),
            ])
        }
        return .fields([
            "model": .string(model), "references": .array(references.map { .string($0) }),
            "compute": .string(compute.rawValue),
            "tolerance": .double(
                measure == .psnr ? PrecisionMeasure.decibels(tolerance) : tolerance),
            "bytes_before": .int(bytesBefore),
            "tensors": .array(
                candidates.map {
                    .object([
                        .init("name", .string($0.name)), .init("bytes_saved", .int($0.bytesSaved)),
                        measure.member($0.error), .init("built_in", .bool($0.isBuiltIn)),
                        .init("chosen", .bool(chosen?.names.contains($0.name) ?? false)),
                    ])
                }), "front": .array(front.map(fields)),
            "baselines": .array(
                baselines.map { name, choice, tuned in
                    .fields([
                        "name": .string(name), "baseline": fields(choice),
                        "tuned": tuned.map(fields) ?? .null,
                    ])
                }), "chosen": chosen.map(fields) ?? .null,
            "rules": .array(rules.map { .string($0) }),
        ])
    }

    /// The ranking, the front, the baselines and the choice.
    package var tables: [(title: String, table: TextTable)] {
        var ranking = TextTable([
            (measure == .psnr ? "module" : "tensor", .left), ("saves", .right),
            (measure.title, .right), ("per MB", .right), ("", .left),
        ])
        for candidate in candidates {
            ranking.append([
                candidate.name.printable, Format.bytes(candidate.bytesSaved),
                measure.text(candidate.error),
                Format.scientific(candidate.errorPerByte * 1e6),
                chosen?.names.contains(candidate.name) == true ? "int8" : "keep",
            ])
        }
        var curve = TextTable([
            (measure == .psnr ? "int8 modules" : "int8 tensors", .right), ("size", .right),
            (measure.title, .right), ("", .left),
        ])
        for choice in front {
            curve.append([
                "\(choice.names.count)", Format.bytes(choice.bytes),
                measure.text(choice.error),
                choice.error <= tolerance ? "" : "not \(measure.bound(tolerance))",
            ])
        }
        var comparison = TextTable([
            ("choice", .left), ("size", .right), (measure.title, .right),
            ("tuned, no larger", .right), (measure.title, .right),
        ])
        for (name, choice, tuned) in baselines {
            comparison.append([
                name, Format.bytes(choice.bytes), measure.text(choice.error),
                tuned.map { Format.bytes($0.bytes) } ?? "",
                tuned.map { measure.text($0.error) } ?? "",
            ])
        }
        return [
            ("Weights, cheapest in error per byte first", ranking),
            ("Pareto front", curve), ("Compared with the usual choices", comparison),
        ]
    }

    /// What was chosen, in one sentence.
    package var summary: String {
        guard let chosen else {
            return measure == .psnr
                ? "NONE: even without int8, the image's PSNR is not \(measure.bound(tolerance))"
                : "NONE: even without int8, the output's error is above "
                    + Format.scientific(tolerance)
        }
        let (what, error) =
            measure == .psnr
            ? ("modules", "PSNR \(measure.text(chosen.error))")
            : ("weights", "output relative power \(measure.text(chosen.error))")
        return
            "CHOSEN: \(chosen.names.count) of \(candidates.count) \(what) in int8, "
            + "\(Format.bytes(bytesBefore)) → \(Format.bytes(chosen.bytes)) before compression, "
            + "\(error) \(measure.bound(tolerance))"
    }
}
