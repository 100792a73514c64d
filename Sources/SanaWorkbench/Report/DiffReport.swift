import SanaModel

/// How differences between checkpoints are shown.
extension CheckpointDiff {
    /// The interface that other programs read; field names are kept by tests.
    package var json: JSONValue {
        .fields([
            "verdict": .string(passes ? "pass" : "fail"), "first": .string(first),
            "second": .string(second), "tolerance": .double(tolerance),
            "tensors": .array(
                entries.map { entry in
                    let comparison: Comparison? =
                        if case .values(let values) = entry.relation { values } else { nil }
                    return .fields([
                        "name": .string(entry.name), "relation": .string(entry.relation.name),
                        "first": entry.first.map(Self.json) ?? .null,
                        "second": entry.second.map(Self.json) ?? .null,
                        "relative_rms": .double(entry.relativeRMS),
                        "max_abs": .double(comparison?.maxAbs ?? (entry.isExact ? 0 : nil)),
                        "verdict": .string(fails(entry) ? "fail" : "pass"),
                    ])
                }),
        ])
    }

    private static func json(_ tensor: TensorInfo) -> JSONValue {
        .fields([
            "dtype": .string(tensor.dtype.rawValue), "shape": .array(tensor.shape.map { .int($0) }),
        ])
    }

    package func text(all: Bool) -> String { "\(table(all: all).text)\n\n\(summary)" }
    package func markdown(all: Bool) -> String { "\(table(all: all).markdown)\n\n\(summary)" }

    /// A row for each tensor that differs, or for each tensor.
    private func table(all: Bool) -> TextTable {
        var table = TextTable([
            ("tensor", .left), ("relation", .left), ("first", .left), ("second", .left),
            ("rel. RMS", .right), ("max abs", .right),
        ])
        for entry in entries
        where all || !entry.isExact || entry.first?.dtype != entry.second?.dtype {
            let values: [String] =
                if case .values(let comparison) = entry.relation {
                    [
                        Format.scientific(comparison.relativeRMS),
                        Format.scientific(comparison.maxAbs),
                    ]
                } else if entry.isExact { ["0", "0"] } else { ["", ""] }
            table.append(
                [
                    entry.name.printable, entry.relation.name, Self.text(entry.first),
                    Self.text(entry.second),
                ] + values)
        }
        return table
    }

    private static func text(_ tensor: TensorInfo?) -> String {
        tensor.map { "\($0.dtype.rawValue) \($0.shape)" } ?? "–"
    }

    private var summary: String {
        let exact = entries.count(where: \.isExact)
        let failed = entries.count(where: fails)
        return "\(passes ? "PASS" : "FAIL"): \(exact) of \(entries.count) tensors exact, "
            + "\(failed) beyond a relative RMS of \(Format.scientific(tolerance))"
    }
}

extension CheckpointDiff.Entry {
    fileprivate var isExact: Bool { if case .exact = relation { true } else { false } }
}

extension CheckpointDiff.Relation {
    fileprivate var name: String {
        switch self {
        case .onlyInFirst: "only in first"
        case .onlyInSecond: "only in second"
        case .shape: "shape"
        case .type: "type"
        case .bytes: "bytes"
        case .exact: "exact"
        case .values: "values"
        }
    }
}
