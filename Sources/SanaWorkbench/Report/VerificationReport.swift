import SanaModel

/// How verifications are shown.
extension Verification {
    /// How much of the table of layers is shown.
    package struct Detail {
        /// `false`: only failing layers, the cause, the worst and the output.
        package var allLayers = true
        /// Every statistic.
        package var isWide = false

        package init(allLayers: Bool = true, isWide: Bool = false) {
            (self.allLayers, self.isWide) = (allLayers, isWide)
        }
    }

    /// The interface that other programs read; field names are kept by tests.
    package var json: JSONValue {
        .fields([
            "model": .string(model), "reference": .string(reference),
            "verdict": .string(verdict.rawValue),
            "metric": .string(metric.rawValue), "tolerance": .double(tolerance),
            "would_pass_at": .double(wouldPassAt),
            "compute": .string(compute), "numerics": .string(numerics.rawValue),
            "first_out_of_tolerance": .text(firstOutOfTolerance),
            "cause": .text(cause),
            "cause_component": .text(pipeline?.cause?.component?.rawValue),
            "cause_module": .text(pipeline?.cause?.module),
            "cause_entry": .text(pipeline?.cause?.entry),
            "cause_basis": .text(attribution?.basis.rawValue),
            "other_causes": .array((attribution?.others ?? []).map { .string($0) }),
            "cause_tensors": .array(
                (attribution?.tensors ?? pipeline?.cause?.tensors ?? []).map { .string($0) }),
            "cause_alternative": .text(attribution?.alternative),
            "allowed": .bool(isStaleAllowed),
            "trajectory": sampling?.json ?? .null,
            "stages": pipeline?.json ?? .null,
            "isolated": .bool(layers.contains { $0.isolated != nil }),
            "problems": .array(
                problems.map {
                    .fields(["id": .string($0.kind.rawValue), "message": .string($0.message)])
                }), "seconds": .double(seconds),
            "layers": .array(layers.map { $0.json(metric) }),
            "output": output?.json(metric) ?? .null,
            "dtypes": .array(dtypes.map { .string($0) }),
            "stored_bytes": storedBytes.map(JSONValue.int) ?? .null,
        ])
    }

    /// A verdict line, the cause, the problems and the table of layers.
    ///
    package func text(_ detail: Detail) -> String {
        var lines = [
            "\(verdict.rawValue.uppercased())  \(model.printable)  against  \(reference.printable)",
            "      \(metric.label) ≤ \(Format.scientific(tolerance)), compute "
                + "\(ComputeMode.label(ofRecord: compute)), "
                + "numerics \(numerics.rawValue), \(compared.count) \(unit) in \(Format.decimal(seconds)) s",
        ]
        // What follows from a stale golden is no news.
        lines += problems.filter { $0.kind == .stale }.map { "      " + $0.line }
        if let sampling { lines.append("      " + sampling.text) }
        lines += (pipeline?.summary ?? []).map { "      " + $0 }
        if let worst {
            let error = metric.value(worst.comparison)
            lines.append(
                "      largest \(metric.rawValue) \(Format.scientific(error)) at "
                    + worst.path.printable
                    + (output.map { ", output \(Format.scientific(metric.value($0.comparison)))" }
                        ?? ""))
        }
        lines += explanation.map { "      " + $0 }
        let others = problems.filter { $0.kind != .stale }
        lines += others.prefix(20).map { "      " + $0.line }
        if others.count > 20 { lines.append("      … and \(others.count - 20) more problems") }
        return lines.joined(separator: "\n") + "\n" + layerTable(detail, \.text)
    }

    /// The table of layers and what it leaves out; empty where nothing was compared.
    private func layerTable(_ detail: Detail, _ text: (TextTable) -> String) -> String {
        guard !compared.isEmpty else { return "" }
        let shown = shownLayers(detail)
        let rest = isStale ? compared.count - shown.count : 0
        return "\n" + text(table(shown, detail))
            + (rest > 0 ? "\n\n… and \(rest) more \(unit): --allow-stale shows them all" : "")
            + "\n"
    }

    package func markdown(_ detail: Detail) -> String {
        let signs: [Verdict: String] = [.pass: "✅", .fail: "❌", .inconclusive: "❔"]
        let isFirst = { (problem: Problem) in problem.kind == .stale }
        let lines = problems.filter(isFirst).map(\.line) + (pipeline?.summary ?? []) + explanation
        let list = (lines + problems.filter { !isFirst($0) }.map(\.line))
            .map { "- " + Markdown.inline($0) }.joined(separator: "\n")
        return
            "### \(signs[verdict] ?? "") \(Markdown.code(model)) against "
            + "\(Markdown.code(reference))\n\n"
            + "\(verdict.rawValue): `\(metric.label)` ≤ \(Format.scientific(tolerance)), compute "
            + "\(ComputeMode.label(ofRecord: compute)), numerics \(numerics.rawValue).\n\n"
            + "\(list.isEmpty ? "" : list + "\n\n")"
            + layerTable(detail, \.markdown).drop { $0 == "\n" }
    }

    /// What is counted.
    private var unit: String {
        pipeline != nil ? "entries" : sampling == nil ? "layers" : "steps"
    }

    /// What is wrong, in sentences; empty when all layers pass.
    package var explanation: [String] {
        var lines = [pipeline?.explanation].compactMap(\.self)
        if let attribution {
            lines.append("cause: \(attribution.cause.printable), \(evidence(attribution))")
            if !attribution.others.isEmpty {
                let names = attribution.others.prefix(5).map(\.printable).joined(separator: ", ")
                let rest = attribution.others.count - 5
                lines.append(
                    "also out of tolerance by themselves: \(names)"
                        + (rest > 0 ? " and \(rest) more" : ""))
            }
        }
        if let first = firstOutOfTolerance {
            lines.append("first out of tolerance: \(first.printable)")
        }
        if let remedy { lines.append(remedy) }
        if verdict == .inconclusive {
            lines.append(
                "the golden's own 16-bit rounding may explain all of this; record it in float32")
        }
        if let isolationRefused {
            lines.append("own errors could not be measured: \(isolationRefused)")
        }
        return lines
    }

    /// The tolerance that would do, where layers fail.
    private var remedy: String? {
        let failing = compared.filter { !$0.passes }
        guard !failing.isEmpty else { return nil }
        guard failing.allSatisfy({ metric.value($0.comparison).isFinite }) else {
            return "would pass at no tolerance: values are not finite or the golden is zero"
        }
        if let wouldPassAt {
            return "would pass at tolerance \(Format.roundedUp(wouldPassAt)) \(metric.rawValue)"
        }
        guard let layer = failing.max(by: { excess($0) < excess($1) }) else { return nil }
        let (value, own) = (metric.value(layer.comparison), Format.scientific(layer.tolerance))
        if failing.count == 1 {
            return "would pass if \(layer.path.printable) had a tolerance of "
                + "\(Format.roundedUp(value)) \(metric.rawValue); its own is \(own)"
        }
        return "\(Format.counted(failing.count, "layer")) fail; the furthest from its tolerance of "
            + "\(own) is \(layer.path.printable) with \(Format.scientific(value)) \(metric.rawValue)"
    }

    /// Why a layer, or an entry of the golden, is the cause.
    private func evidence(_ attribution: Attribution) -> String {
        guard let layer = compared.first(where: { $0.path == attribution.cause }) else {
            return
                "an entry of the golden that the rest of the golden contradicts: capture it again"
        }
        let tensors = attribution.tensors
        let names = tensors.prefix(3).map(\.printable).joined(separator: ", ")
        let changed =
            tensors.isEmpty
            ? ""
            : "; \(names)" + (tensors.count > 3 ? " and \(tensors.count - 3) more" : "")
                + (tensors.count == 1 ? " is" : " are") + " not as recorded"
        let doubt = attribution.alternative.map {
            "; or the golden's \($0.printable), which has no hash, is not what was recorded"
        }
        guard let isolated = layer.isolated else {
            return "where the error jumps to \(Format.scientific(layer.comparison.relativeRMS)) "
                + "relative RMS; --isolated measures own errors" + changed + (doubt ?? "")
        }
        return
            "own error \(Format.scientific(isolated.own)) relative RMS on golden input, "
            + "\(Format.scientific(isolated.inherited)) inherited" + changed + (doubt ?? "")
    }

    /// The layers that `detail` calls for: of a stale comparison the worst only.
    private func shownLayers(_ detail: Detail) -> [Layer] {
        if isStale {
            let worst = compared.sorted { excess($0) > excess($1) }.prefix(Self.layersOfStale)
            return compared.filter { layer in worst.contains { $0.path == layer.path } }
        }
        let kept = [worst?.path, attribution?.cause, output?.path]
        return compared.filter {
            detail.allLayers || !$0.passes || kept.contains($0.path)
        }
    }

    /// How many layers a comparison with a stale golden shows.
    private static let layersOfStale = 5

    private func table(_ layers: [Layer], _ detail: Detail) -> TextTable {
        let isIsolated = compared.contains { $0.isolated != nil }
        let columns = Self.columns.filter { column in
            switch column.use {
            case .always: true
            case .isolated: isIsolated
            case .wideIsolated: isIsolated && detail.isWide
            case .wide: detail.isWide
            case .power: detail.isWide || metric == .relativePower
            }
        }
        var table = TextTable(
            columns.map { ($0.title, $0.alignment) } + [("", .left)],
            optional: [
                "golden max", "fp16 room", "mean", "at", "p99", "inside golden", "gain",
                "1 − cosine", "SQNR dB", "max abs", "inherited", "own",
            ])
        let worst = worst?.path
        for layer in layers {
            table.append(
                columns.map { $0.cell(layer) } + [notes(layer, isWorst: layer.path == worst)])
        }
        return table
    }

    /// One column of the table.
    private struct Column: Sendable {
        package enum Use { case always, isolated, wideIsolated, power, wide }
        package let title: String
        package var alignment = TextTable.Alignment.right
        package var use = Use.always
        package let cell: @Sendable (Layer) -> String
    }

    private static let columns: [Column] = [
        Column(title: "layer", alignment: .left) { $0.path.printable },
        Column(title: "rel. RMS") { Format.scientific($0.comparison.relativeRMS) },
        Column(title: "own", use: .isolated) {
            $0.isolated.map { Format.scientific($0.own) } ?? ""
        },
        Column(title: "inherited", use: .isolated) {
            $0.isolated.map { Format.scientific($0.inherited) } ?? ""
        },
        Column(title: "gain", use: .isolated) {
            $0.isolated?.gain.map { Format.decimal($0) } ?? ""
        },
        Column(title: "inside golden", use: .wideIsolated) {
            $0.isolated.map { Format.scientific($0.local) } ?? ""
        },
        Column(title: "rel. power", use: .power) {
            Format.scientific($0.comparison.relativePower)
        },
        Column(title: "max abs") { Format.scientific($0.comparison.maxAbs) },
        Column(title: "at", alignment: .left, use: .wide) {
            "[\($0.comparison.maxAbsIndex.map(String.init).joined(separator: ","))]"
        },
        Column(title: "mean", use: .wide) { Format.scientific($0.comparison.meanAbs) },
        Column(title: "p99", use: .wide) { Format.scientific($0.comparison.p99Abs) },
        Column(title: "1 − cosine") { Format.scientific(1 - $0.comparison.cosine) },
        Column(title: "SQNR dB") {
            $0.comparison.sqnrDecibels.map { Format.decimal($0, digits: 1) } ?? "exact"
        },
        Column(title: "golden max", use: .wide) {
            Format.scientific($0.comparison.goldenMaxAbs)
        },
        Column(title: "fp16 room", use: .wide) { layer in
            let room = layer.comparison.fp16Headroom
            return room.isFinite ? Format.scientific(room) : ""
        },
    ]

    private func notes(_ layer: Layer, isWorst: Bool) -> String {
        var notes: [String] = []
        if !layer.passes {
            let value = metric.value(layer.comparison)
            notes.append("FAIL")
            if value.isFinite {
                notes.append("would pass at \(Format.roundedUp(value)) \(metric.rawValue)")
            }
        }
        if layer.tolerance != tolerance {
            notes.append("tolerance \(Format.scientific(layer.tolerance)) \(metric.rawValue)")
        }
        if layer.comparison.nonfinite > 0 {
            notes.append("\(Format.counted(layer.comparison.nonfinite, "value")) not finite")
        }
        if layer.path == attribution?.cause { notes.append("← cause") }
        if let attribution, attribution.basis == .golden,
            attribution.cause == Golden.entry(layer.path)
        {
            notes.append("← the golden's entry is in doubt")
        }
        if isWorst { notes.append("← largest") }
        return notes.joined(separator: " ")
    }
}

extension Verification.Sampling {
    fileprivate var text: String {
        "\(scheduler.printable), \(steps) steps, guidance \(Format.decimal(guidanceScale))"
    }

    fileprivate var json: JSONValue {
        .fields([
            "scheduler": .string(scheduler), "steps": .int(steps),
            "guidance_scale": .double(guidanceScale),
        ])
    }
}

extension Verification.Layer {
    fileprivate func json(_ metric: Metric) -> JSONValue {
        .fields([
            "path": .string(path), "relative_rms": .double(comparison.relativeRMS),
            "relative_power": .double(comparison.relativePower),
            "max_abs": .double(comparison.maxAbs),
            "max_abs_index": .array(comparison.maxAbsIndex.map(JSONValue.int)),
            "mean_abs": .double(comparison.meanAbs), "p99_abs": .double(comparison.p99Abs),
            "cosine": .double(comparison.cosine), "sqnr_db": .double(comparison.sqnrDecibels),
            "own_relative_rms": .double(isolated?.own),
            "local_relative_rms": .double(isolated?.local),
            "inherited_relative_rms": .double(isolated?.inherited),
            "gain": .double(isolated?.gain),
            "nonfinite": .int(comparison.nonfinite), "golden_rms": .double(comparison.goldenRMS),
            "golden_max_abs": .double(comparison.goldenMaxAbs),
            "fp16_headroom": .double(comparison.fp16Headroom),
            "tolerance": .double(tolerance),
            "would_pass_at": .double(metric.value(comparison)),
            "verdict": .string((passes ? Verdict.pass : .fail).rawValue),
        ])
    }
}
