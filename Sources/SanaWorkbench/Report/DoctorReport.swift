import SanaModel

/// How the checks of `doctor` are shown.
package struct DoctorReport {
    package let checks: [HealthCheck]

    package init(checks: [HealthCheck]) {
        self.checks = checks
    }

    package var isHealthy: Bool { !checks.contains { $0.status == .error } }

    /// The interface that other programs read; field names are kept by tests.
    package var json: JSONValue {
        .fields([
            "verdict": .string(isHealthy ? "pass" : "fail"),
            "version": .string(ToolVersion.number),
            "checks": .array(
                checks.map {
                    .fields([
                        "group": .string($0.group), "name": .string($0.name),
                        "status": .string($0.status.rawValue), "detail": .string($0.detail),
                        "hint": .text($0.hint),
                    ])
                }),
        ])
    }

    package var text: String { sections(.text) }
    package var markdown: String { sections(.markdown) }

    private func sections(_ style: ReportStyle) -> String {
        var table = TextTable([
            ("group", .left), ("check", .left), ("status", .left), ("found", .left),
        ])
        for check in checks {
            table.append([check.group, check.name, check.status.rawValue, check.detail])
        }
        let hints = checks.compactMap { check in
            check.hint.map { "\(check.status.rawValue): \(check.name): \($0)" }
        }
        return ([style.show(table)] + hints.map { style.show($0) } + [style.show(summary)])
            .joined(separator: style == .text ? "\n" : "\n\n")
    }

    private var summary: String {
        let errors = checks.count { $0.status == .error }
        let warnings = checks.count { $0.status == .warning }
        guard errors + warnings > 0 else { return "PASS: no problems found" }
        return (isHealthy ? "PASS: " : "FAIL: ")
            + "\(Format.counted(errors, "error")), \(Format.counted(warnings, "warning"))"
    }
}
