import SanaModel

/// How a paired profile and its verdict are shown, as the gate shows its own.
package struct PairedReport {
    package let profile: PairedProfile
    package let result: PairedGate.Result

    package init(_ profile: PairedProfile) {
        (self.profile, result) = (profile, PairedGate.judge(profile))
    }

    /// The interface that other programs read; field names are kept by tests.
    package var json: JSONValue {
        let samples = [profile.total] + profile.blocks
        return .fields([
            "verdict": .string(result.verdict.gateWord), "kind": .string("pairs"),
            "model": .string(profile.candidate), "against": .string(profile.baseline),
            "pairs": .int(profile.total.pairs.count), "threads": .int(profile.threads),
            "batch": .int(profile.sizes.batch), "height": .int(profile.sizes.height),
            "width": .int(profile.sizes.width),
            "caption_tokens": .int(profile.sizes.tokens), "sizes": profile.sizes.json,
            "other_load": .double(profile.otherLoad),
            "doubts": .array(result.doubts.map { .string($0) }),
            "unmatched": .array(profile.unmatched.map { .string($0) }),
            "layers": .array(zip(result.findings, samples).map { $0.json($1) }),
        ])
    }

    package var text: String { heading + "\n" + table.text }
    package var markdown: String { Markdown.paragraph(heading) + "\n\n" + table.markdown }

    var heading: String {
        let total = result.findings.first.map {
            ": \(Format.change($0.cpu.ratio)) CPU time, \(Format.change($0.wall.ratio)) wall time"
        }
        return "\(result.verdict.gateWord.uppercased()): \(profile.candidate.printable) against "
            + "\(profile.baseline.printable), \(profile.total.pairs.count) pairs of \(profile.unit)"
            + (total ?? "") + result.doubts.map { "\n  \($0)" }.joined()
            + (profile.unmatched.isEmpty
                ? ""
                : "\n  not in both: "
                    + profile.unmatched.prefix(5).map(\.printable).joined(separator: ", "))
    }

    private var table: TextTable {
        var table = TextTable(
            [
                ("layer", .left), ("against", .right), ("now", .right), ("wall time", .right),
                ("CPU time", .right), ("95 %", .left), ("p", .right), ("verdict", .left),
            ], optional: ["p", "95 %", "wall time"])
        for finding in result.findings {
            table.append([
                finding.path.printable, Format.nanoseconds(finding.wall.baseline),
                Format.nanoseconds(finding.wall.candidate), Format.change(finding.wall.ratio),
                Format.change(finding.cpu.ratio),
                finding.decisive.interval.map {
                    "\(Format.change($0.low)) to \(Format.change($0.high))"
                } ?? "",
                Format.scientific(finding.decisive.pValue), finding.verdict.gateWord,
            ])
        }
        return table
    }
}

extension PairedGate.Finding {
    fileprivate func json(_ samples: PairedProfile.Samples) -> JSONValue {
        func list(_ value: (PairedProfile.Pair) -> Double) -> JSONValue {
            .array(samples.pairs.map { .int(Int(value($0))) })
        }
        return .fields([
            "path": .string(path), "measure": .string("latency_ns"),
            "baseline": .double(wall.baseline), "candidate": .double(wall.candidate),
            "ratio": .double(wall.ratio), "interval": .interval(wall.interval),
            "p_value": .double(wall.pValue), "cpu_ratio": .double(cpu.ratio),
            "cpu_interval": .interval(cpu.interval), "cpu_p_value": .double(cpu.pValue),
            "verdict": .string(verdict.gateWord),
            "candidate_ns": list(\.candidate.wall), "baseline_ns": list(\.baseline.wall),
            "candidate_cpu_ns": list(\.candidate.cpu), "baseline_cpu_ns": list(\.baseline.cpu),
        ])
    }
}
