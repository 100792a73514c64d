import SanaModel

/// How verifications are shown.
extension Verification {
    /// The interface that other programs read; field names are kept by tests.
    var json: JSONValue {
        .fields([
            "model": .string(model), "reference": .string(reference), "verdict": .string(verdict),
            "metric": .string(metric.rawValue), "tolerance": .double(tolerance),
            "compute": .string(compute), "numerics": .string(numerics.rawValue),
            "first_out_of_tolerance": .text(firstOutOfTolerance), "cause": .null,
            "problems": .array(
                problems.map {
                    .fields(["id": .string($0.kind.rawValue), "message": .string($0.message)])
                }), "seconds": .double(seconds),
            "layers": .array(layers.map(\.json)), "output": output?.json ?? .null,
        ])
    }

    /// A verdict line, the problems and the table of layers.
    ///
    /// - Parameter allLayers: `false` shows the failing layers, the worst and the output alone.
    func text(allLayers: Bool) -> String {
        var lines = ["\(verdict.uppercased())  \(model.printable)  against  \(reference.printable)"]
        lines.append(
            "      \(metric.rawValue) ≤ \(Format.scientific(tolerance)), compute \(compute), numerics "
                + "\(numerics.rawValue), \(layers.count) layers in \(Format.decimal(seconds)) s")
        if let worst {
            lines.append(
                "      largest error \(Format.scientific(metric.value(worst.comparison))) at \(worst.path)"
                    + (output.map { ", output \(Format.scientific(metric.value($0.comparison)))" }
                        ?? ""))
        }
        if let first = firstOutOfTolerance {
            lines.append("      first out of tolerance: \(first)")
        }
        lines += problems.prefix(20).map { "      \($0.kind.rawValue): \($0.message)" }
        if problems.count > 20 { lines.append("      … and \(problems.count - 20) more problems") }
        let table = table(allLayers: allLayers)
        return lines.joined(separator: "\n") + "\n\n" + table.text + "\n"
    }

    func markdown(allLayers: Bool) -> String {
        let first = firstOutOfTolerance.map { " First out of tolerance: `\($0)`." } ?? ""
        let list = problems.map { "- \($0.kind.rawValue): \($0.message)" }.joined(separator: "\n")
        return "### \(passes ? "✅" : "❌") `\(model.printable)` against `\(reference.printable)`\n\n"
            + "`\(metric.rawValue)` ≤ \(Format.scientific(tolerance)), compute \(compute), numerics "
            + "\(numerics.rawValue).\(first)\n\n\(list.isEmpty ? "" : list + "\n\n")"
            + table(allLayers: allLayers).markdown + "\n"
    }

    private func table(allLayers: Bool) -> TextTable {
        var table = TextTable([
            ("layer", .left), ("rel. RMS", .right), ("rel. power", .right), ("max abs", .right),
            ("1 − cosine", .right), ("SQNR dB", .right), ("", .left),
        ])
        let worst = worst?.path
        for layer in layers + [output].compactMap({ $0 }) {
            guard
                allLayers || !layer.passes || layer.path == worst || layer.path == Golden.outputPath
            else { continue }
            let comparison = layer.comparison
            table.append([
                layer.path, Format.scientific(comparison.relativeRMS),
                Format.scientific(comparison.relativePower), Format.scientific(comparison.maxAbs),
                Format.scientific(1 - comparison.cosine),
                comparison.sqnrDecibels.map { Format.decimal($0, digits: 1) } ?? "exact",
                (layer.passes ? "" : "FAIL")
                    + (comparison.nonfinite > 0 ? " \(comparison.nonfinite) values not finite" : "")
                    + (layer.path == worst ? " ← largest" : ""),
            ])
        }
        return table
    }
}

extension Verification.Layer {
    fileprivate var json: JSONValue {
        .fields([
            "path": .string(path), "relative_rms": .double(comparison.relativeRMS),
            "relative_power": .double(comparison.relativePower),
            "max_abs": .double(comparison.maxAbs), "cosine": .double(comparison.cosine),
            "sqnr_db": .double(comparison.sqnrDecibels), "own_relative_rms": .null,
            "nonfinite": .int(comparison.nonfinite), "tolerance": .double(tolerance),
            "verdict": .string(passes ? "pass" : "fail"),
        ])
    }
}
