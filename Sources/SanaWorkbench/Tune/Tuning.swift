import SanaModel

/// What a search for precision found.
package struct Tuning {
    package let model: String
    package let references: [String]
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
            model: search.model.label, references: search.references.map(\.path),
            compute: search.compute, tolerance: tolerance, bytesBefore: search.bytesBefore,
            candidates: candidates, front: front, baselines: baselines, chosen: chosen,
            rules: chosen.map { PrecisionSearch.rules($0, candidates) } ?? [])
    }

    package var json: JSONValue {
        func fields(_ choice: PrecisionSearch.Choice) -> JSONValue {
            .fields([
                "bytes": .int(choice.bytes), "relative_power": .double(choice.error),
                "int8": .int(choice.names.count),
            ])
        }
        return .fields([
            "model": .string(model), "references": .array(references.map { .string($0) }),
            "compute": .string(compute.rawValue), "tolerance": .double(tolerance),
            "bytes_before": .int(bytesBefore),
            "tensors": .array(
                candidates.map {
                    .fields([
                        "name": .string($0.name), "bytes_saved": .int($0.bytesSaved),
                        "relative_power": .double($0.error),
                        "built_in": .bool($0.isBuiltIn),
                        "chosen": .bool(chosen?.names.contains($0.name) ?? false),
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
            ("tensor", .left), ("saves", .right), ("output rel. power", .right),
            ("per MB", .right), ("", .left),
        ])
        for candidate in candidates {
            ranking.append([
                candidate.name.printable, Format.bytes(candidate.bytesSaved),
                Format.scientific(candidate.error),
                Format.scientific(candidate.errorPerByte * 1e6),
                chosen?.names.contains(candidate.name) == true ? "int8" : "keep",
            ])
        }
        var curve = TextTable([
            ("int8 tensors", .right), ("size", .right), ("output rel. power", .right), ("", .left),
        ])
        for choice in front {
            curve.append([
                "\(choice.names.count)", Format.bytes(choice.bytes),
                Format.scientific(choice.error),
                choice.error <= tolerance ? "" : "over \(Format.scientific(tolerance))",
            ])
        }
        var comparison = TextTable([
            ("choice", .left), ("size", .right), ("output rel. power", .right),
            ("tuned, no larger", .right), ("output rel. power", .right),
        ])
        for (name, choice, tuned) in baselines {
            comparison.append([
                name, Format.bytes(choice.bytes), Format.scientific(choice.error),
                tuned.map { Format.bytes($0.bytes) } ?? "",
                tuned.map { Format.scientific($0.error) } ?? "",
            ])
        }
        return [
            ("Weights, the cheapest in error per byte first", ranking),
            ("Pareto front", curve), ("Against the usual choices", comparison),
        ]
    }

    /// What was chosen, in one sentence.
    package var summary: String {
        guard let chosen else {
            return "NONE: even without int8 the output's error is over "
                + Format.scientific(tolerance)
        }
        return
            "CHOSEN: \(chosen.names.count) of \(candidates.count) weights in int8, "
            + "\(Format.bytes(bytesBefore)) → \(Format.bytes(chosen.bytes)) before compression, output "
            + "relative power \(Format.scientific(chosen.error)) ≤ \(Format.scientific(tolerance))"
    }
}
