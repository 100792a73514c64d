import SanaModel

/// How a night is shown: one line a step, one verdict.
package struct NightOutcomeReport {
    /// The project file.
    package let project: String
    package let steps: [NightStep]
    /// What the gate says of all recorded runs; `nil` where it could not.
    package let headline: String?
    package let reportPath: String?

    /// That of the first step that failed, else 3 where one is inconclusive.
    package var exitCode: Int32 {
        let codes = steps.map(\.exitCode)
        return codes.first { $0 != 0 && $0 != 3 } ?? (codes.contains(3) ? 3 : 0)
    }

    package var verdict: String { Self.verdict(exitCode) }

    private static func verdict(_ code: Int32) -> String {
        switch code {
        case 0: "pass"
        case 3: "inconclusive"
        default: "fail"
        }
    }

    /// The last line. The gate's own, which the headline of the report is, where it means the same;
    /// else the verdict with the steps that it comes from.
    package var conclusion: String {
        if let headline, let gate = steps.first(where: { $0.name == "gate" }),
            Self.verdict(gate.exitCode) == verdict
        {
            return headline
        }
        let blamed = steps.filter { Self.verdict($0.exitCode) == verdict }
        let names = blamed.map { "\($0.name) \($0.verdict)" }.joined(separator: ", ")
        return "\(verdict.uppercased()): \(names)"
    }

    /// The interface that other programs read; field names are kept by tests.
    package var json: JSONValue {
        .fields([
            "verdict": .string(verdict), "exit_code": .int(Int(exitCode)),
            "project": .string(project), "version": .string(ToolVersion.number),
            "headline": .text(headline), "report": .text(reportPath),
            "steps": .array(
                steps.map {
                    .fields([
                        "name": .string($0.name), "verdict": .string($0.verdict),
                        "exit_code": $0.log == nil ? .null : .int(Int($0.exitCode)),
                        "seconds": .double($0.seconds), "summary": .string($0.summary),
                        "log": .text($0.log),
                    ])
                }),
        ])
    }

    package var text: String { sections(.text) }
    package var markdown: String { sections(.markdown) }

    private func sections(_ style: ReportStyle) -> String {
        var table = TextTable([
            ("step", .left), ("verdict", .left), ("time", .right), ("result", .left),
        ])
        for step in steps {
            let time = step.log == nil ? "" : "\(Format.decimal(step.seconds, digits: 1)) s"
            table.append([step.name, step.verdict, time, Self.shortened(step.summary)])
        }
        let report = reportPath.map { "report: \($0.printable)" }
        return [style.show(table), report.map(style.show), style.show(conclusion)]
            .compactMap { $0 }.joined(separator: style == .text ? "\n" : "\n\n")
    }

    /// A line's beginning: the log has the rest.
    private static func shortened(_ text: String) -> String {
        let text = text.printable
        return text.count <= 100 ? text : text.prefix(99) + "…"
    }
}
