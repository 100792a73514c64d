import SanaModel

/// How judgements of the gate are shown.
extension Gate.Judgement {
    /// `pass`, `inconclusive`, `regress`, or `fail` of a verification that failed.
    package var word: String { failure == nil ? verdict.gateWord : Verdict.fail.rawValue }

    package var json: JSONValue {
        .fields([
            "verdict": .string(word), "run": .int(Int(run.joined.id)),
            "uuid": .string(run.run.uuid), "kind": .string(run.run.kind),
            "model": .string(run.run.modelPath), "dtype": .string(run.joined.dtype),
            "reference": .text(run.run.reference),
            "baseline": .array(baseline.map { .int(Int($0.joined.id)) }),
            "pooled": .array(pooled.map { .int(Int($0.joined.id)) }),
            "weights_changed_since": weightsChangedSince.map { .int(Int($0)) } ?? .null,
            "failure": .text(failure), "allowed": .bool(run.run.allowed),
            "reason": .text(reason), "doubts": .array((latency?.doubts ?? []).map { .string($0) }),
            "canary_gflops": .fields([
                "baseline": .double(latency?.canary.baseline),
                "candidate": .double(latency?.canary.candidate),
            ]),
            "host_sensitivity": .double(latency?.sensitivity),
            "left_out": .fields([
                "baseline": .int(latency?.leftOut.baseline ?? 0),
                "candidate": .int(latency?.leftOut.candidate ?? 0),
            ]),
            "drift": drift?.json ?? .null,
            "unmatched": .array(unmatched.map { .string($0) }),
            "layers": .array(
                (latency?.findings ?? []).map(\.json) + accuracy.map(\.json)),
        ])
    }

    /// What got worse, worst first; without any, what was compared.
    package var text: String { heading + (table.map { "\n" + $0.text } ?? "") }
    package var markdown: String {
        Markdown.paragraph(heading) + (table.map { "\n\n" + $0.markdown } ?? "")
    }

    /// The verdict and its reasons in a few lines.
    package var heading: String {
        let ids = { (runs: [RunSummary]) in
            runs.map { "\($0.joined.id)" }.joined(separator: ", ")
        }
        let runs = ids(baseline)
        let subject =
            "\(word.uppercased()): \(run.run.kind.printable) of \(run.run.modelPath.printable) "
            + (pooled.isEmpty ? "(run " : "(runs \(ids(pooled)), ") + "\(run.joined.id)"
            + (runs.isEmpty ? ")" : " against \(runs))")
        return subject + ((failure ?? reason).map { ": \($0)" } ?? "") + summary
            + (run.run.allowed ? "\n  a golden of other weights was allowed" : "")
            + (weightsChangedSince.map { "\n  weights changed since run \($0)" } ?? "")
            + ((drift.flatMap(\.warning).map { [$0] } ?? []) + (latency?.doubts ?? []) + leftOut)
            .map { "\n  \($0)" }.joined()
            + (unmatched.isEmpty
                ? ""
                : "\n  not in both: \(unmatched.prefix(5).map(\.printable).joined(separator: ", "))"
                    + (unmatched.count > 5 ? " and \(unmatched.count - 5) more" : ""))
    }

    /// Runs named above that do not count.
    private var leftOut: [String] {
        guard let counts = latency?.leftOut else { return [] }
        let pairs = [
            (counts.candidate, pooled.count + 1, "judged"),
            (counts.baseline, baseline.count, "baseline"),
        ]
        return pairs.filter { $0.0 > 0 }.map { count, all, name in
            "\(count) of \(all) \(name) runs do not count: their threads ran on other cores than usual"
        }
    }

    /// The newest run of the baseline that had other weights; `nil` where all had the same.
    private var weightsChangedSince: Int64? {
        baseline.last { $0.joined.digest != run.joined.digest }?.joined.id
    }

    private var summary: String {
        if let latency {
            let total = latency.total
            return ": \(Format.nanoseconds(total.wall.candidate)) per forward, "
                + "\(Format.change(total.wall.rawRatio)) wall time, "
                + "\(Format.change(total.decisive.ratio)) CPU time against the canary (95 %: "
                + "\(Format.change(total.decisive.interval.low)) to "
                + "\(Format.change(total.decisive.interval.high)); limit "
                + "\(Format.change(1 + total.limit)))"
        }
        guard reason == nil, !accuracy.isEmpty else { return "" }
        let rises = accuracy.count { $0.verdict == .fail }
        return
            (rises == 0
            ? ": no error rose among \(accuracy.count) layers"
            : ": the error of \(rises) of \(accuracy.count) layers rose")
            + (isOfOtherWeights ? ", compared with other weights" : "")
    }

    private var table: TextTable? {
        if let latency, latency.verdict != .pass {
            let worst = latency.findings.filter { $0.verdict != .pass }
                .sorted { ($0.verdict, $0.decisive.ratio) > ($1.verdict, $1.decisive.ratio) }
            return LatencyGate.table(worst)
        }
        let rises = accuracy.filter { $0.verdict == .fail }
        return rises.isEmpty ? nil : AccuracyGate.table(rises)
    }
}

extension DriftGate.Finding {
    fileprivate var json: JSONValue {
        .fields([
            "alarm": .bool(isAlarm), "sum": .double(sum), "limit": .double(Cusum.alarm),
            "ratio": .double(ratio), "since": since.map { .int(Int($0)) } ?? .null,
            "reference": .array(reference.map { .int(Int($0)) }),
        ])
    }

    /// What an alarm says, and what to do where the slowdown is meant; `nil` where there is none.
    fileprivate var warning: String? {
        guard isAlarm, let first = reference.first, let last = reference.last, let since else {
            return nil
        }
        return
            "drift: \(Format.change(ratio)) CPU time since run \(since), against runs \(first) to "
            + "\(last) (cumulative sum \(Format.decimal(sum, digits: 1)), limit "
            + "\(Format.decimal(Cusum.alarm, digits: 0))); if intended, pin the newest run with "
            + "'sana-tools history baseline set'"
    }
}

extension Verdict {
    /// As the gate says it.
    package var gateWord: String { self == .fail ? "regress" : rawValue }
}

extension Format {
    /// A ratio as `+3.1 %`.
    package static func change(_ ratio: Double) -> String {
        (ratio < 1 ? "−" : "+") + percent(abs(ratio - 1))
    }
}

extension LatencyGate {
    package static func table(_ findings: [Finding]) -> TextTable {
        var table = TextTable(
            [
                ("layer", .left), ("baseline", .right), ("now", .right), ("change", .right),
                ("normalized", .right), ("95 %", .left), ("limit", .right), ("p", .right),
                ("verdict", .left),
            ], optional: ["p", "limit", "95 %", "change"])
        for finding in findings {
            table.append([
                finding.path.printable, Format.nanoseconds(finding.wall.baseline),
                Format.nanoseconds(finding.wall.candidate), Format.change(finding.wall.rawRatio),
                Format.change(finding.decisive.ratio),
                "\(Format.change(finding.decisive.interval.low)) to "
                    + Format.change(finding.decisive.interval.high),
                Format.change(1 + finding.limit), Format.scientific(finding.decisive.pValue),
                finding.verdict.gateWord,
            ])
        }
        return table
    }
}

extension LatencyGate.Finding {
    package var json: JSONValue {
        .fields([
            "path": .string(path), "measure": .string("latency_ns"),
            "baseline": .double(wall.baseline), "candidate": .double(wall.candidate),
            "ratio": .double(wall.rawRatio), "adjusted_ratio": .double(wall.ratio),
            "interval": .interval(wall.interval), "p_value": .double(wall.pValue),
            "cpu_ratio": .double(cpu?.rawRatio), "cpu_adjusted_ratio": .double(cpu?.ratio),
            "cpu_interval": .interval(cpu?.interval), "cpu_p_value": .double(cpu?.pValue),
            "share": .double(share), "threshold": .double(threshold), "limit": .double(limit),
            "spread": .double(decisive.comparison.spread),
            "verdict": .string(verdict.gateWord),
        ])
    }
}

extension AccuracyGate {
    package static func table(_ findings: [Finding]) -> TextTable {
        var table = TextTable([
            ("layer", .left), ("rel. RMS before", .right), ("now", .right), ("verdict", .left),
        ])
        for finding in findings {
            table.append([
                finding.path.printable, finding.baseline.map(Format.scientific) ?? "not finite",
                finding.candidate.map(Format.scientific) ?? "not finite",
                finding.verdict.gateWord,
            ])
        }
        return table
    }
}

extension AccuracyGate.Finding {
    package var json: JSONValue {
        .fields([
            "path": .string(path), "measure": .string("relative_rms"),
            "baseline": .double(baseline), "candidate": .double(candidate),
            "verdict": .string(verdict.gateWord),
        ])
    }
}

/// How an outcome is shown.
extension NightOutcome {
    package var json: JSONValue {
        .fields([
            "verdict": .string(word), "headline": .string(headline),
            "failed_steps": .array(failedSteps.map { .string($0) }),
            "unverified": .array(
                unverified.map {
                    .fields(["model": .string($0.model), "verified_at": .string($0.date)])
                }), "runs": .array(judgements.map(\.json)),
        ])
    }

    /// The worst first, the answer last.
    package var text: String {
        (blocks(\.text) + unverified.map(\.text) + [line]).joined(separator: "\n")
    }

    /// The answer first, since a summary shows its beginning, and last.
    package var markdown: String {
        let answer = "**\(Markdown.inline(line))**"
        return
            ([answer] + blocks(\.markdown) + unverified.map { Markdown.paragraph($0.text) }
            + [answer]).joined(separator: "\n\n")
    }

    private func blocks(_ text: (Gate.Judgement) -> String) -> [String] { ordered.map(text) }
}
