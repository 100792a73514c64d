import SanaModel
import SanaQuant

/// How inspections are shown.
extension Inspection {
    /// The interface that other programs read; field names are kept by tests.
    package var json: JSONValue {
        .fields([
            "model": .string(label),
            "components": .array(
                components.map {
                    .fields([
                        "name": .string($0.name), "class": .string($0.className),
                        "present": .bool($0.isPresent),
                    ])
                }),
            "files": .array(
                files.map { .fields(["name": .string($0.name), "bytes": .int($0.byteCount)]) }),
            "layout": .string(layout.rawValue),
            "encodings": .array(
                encodings.map {
                    .fields([
                        "recipe": .string($0.recipe), "tensors": .int($0.tensors),
                        "stored_bytes": .int($0.bytes),
                    ])
                }), "notes": .array(notes.map { .string($0) }), "lora": .array(adapters),
            "variants": .array(variants.map { $0.isEmpty ? .null : .string($0) }),
            "variant": .text(variant?.isEmpty ?? true ? nil : variant),
            "parameters": .int(parameterCount), "bytes": .int(byteCount),
            "family": .text(family),
            "released": .array(released.map { .string($0) }), "digest": .text(digest),
            "roles": .array(
                groups.map {
                    .fields([
                        "role": .string($0.role.name), "dtype": .string($0.dtype.rawValue),
                        "tensors": .int($0.tensors), "parameters": .int($0.parameters),
                        "bytes": .int($0.bytes),
                    ])
                }),
            "parts": parts.json, "statistics": values?.json ?? .null,
            "tensors": .array(
                tensors.map {
                    .fields([
                        "name": .string($0.name), "dtype": .string($0.dtype.rawValue),
                        "shape": .array($0.shape.map { .int($0) }), "bytes": .int($0.byteCount),
                        "role": .string(expected.role(of: $0).name),
                    ])
                }),
            "problems": .array(
                problems.map {
                    .fields([
                        "id": .string($0.id), "severity": .string($0.severity.rawValue),
                        "where": .string($0.location), "message": .string($0.message),
                        "remedy": .string($0.remedy),
                    ])
                }), "config": configJSON ?? .null,
        ])
    }

    package var text: String { sections(.text) }
    package var markdown: String { sections(.markdown) }

    private var parameterCount: Int { tensors.reduce(0) { $0 + $1.elementCount } }
    private var byteCount: Int { tensors.reduce(0) { $0 + $1.byteCount } }

    /// What the model is, in a few lines.
    private var summary: String {
        var lines = [
            "\(label.printable): \(Format.count(parameterCount)) parameters in \(tensors.count) "
                + "tensors, \(Format.bytes(byteCount))"
        ]
        if let config {
            lines.append(config.summary)
        }
        if let family {
            let alike = released.isEmpty ? "" : ", as in \(released.joined(separator: ", "))"
            lines.append("family \(family)\(alike)")
        }
        if let variant, !variant.isEmpty { lines.append("variant \(variant.printable)") }
        if let digest { lines.append("digest \(digest)") }
        if layout == .original {
            lines.append("stored under the authors' names, shown under diffusers' names")
        }
        for encoding in encodings {
            lines.append(
                "\(Format.counted(encoding.tensors, "tensor")) quantized as "
                    + "\(encoding.recipe.printable), \(Format.bytes(encoding.bytes)) in the file; "
                    + "shown and computed as F32")
        }
        for adapter in adapters {
            let name = adapter["name"]?.string ?? "an adapter"
            let weight = adapter["weight"]?.double.map { " × \($0)" } ?? ""
            lines.append("LoRA added: \(name.printable)\(weight)")
        }
        lines += notes.map { "note: \($0.printable)" }
        return lines.joined(separator: "\n")
    }

    private func sections(_ style: ReportStyle) -> String {
        var sections = [style.show(summary)]
        if !components.isEmpty {
            var table = TextTable([("component", .left), ("class", .left), ("", .left)])
            for component in components {
                table.append([
                    component.name.printable, component.className.printable,
                    component.isPresent ? "" : "absent",
                ])
            }
            sections.append(style.show(table))
        }
        var fileTable = TextTable([("file", .left), ("bytes", .right)])
        for file in files { fileTable.append([file.name.printable, Format.bytes(file.byteCount)]) }
        sections.append(style.show(fileTable))
        var roles = TextTable([
            ("role", .left), ("dtype", .left), ("tensors", .right), ("parameters", .right),
            ("bytes", .right),
        ])
        for group in groups {
            roles.append([
                group.role.name, group.dtype.rawValue, "\(group.tensors)",
                Format.count(group.parameters), Format.bytes(group.bytes),
            ])
        }
        sections.append(style.show(roles))
        if !parts.isEmpty { sections.append(style.show(parts.table)) }
        if let values { sections.append(style.show(values.table)) }
        sections.append(problemSection(style))
        return sections.joined(separator: "\n\n")
    }

    private func problemSection(_ style: ReportStyle) -> String {
        guard !problems.isEmpty else { return problemCount }
        var table = TextTable([
            ("severity", .left), ("id", .left), ("where", .left), ("message", .left),
        ])
        for problem in problems.prefix(Self.shownProblems) {
            table.append([
                problem.severity.rawValue, problem.id, problem.location.printable,
                problem.message.printable,
            ])
        }
        let hidden = problems.count - Self.shownProblems
        let more = hidden > 0 ? "\n… and \(hidden) more" : ""
        // Each remedy once, by the rule it belongs to.
        var seen = Set<String>()
        let remedies = problems.filter { seen.insert($0.id + $0.remedy).inserted }
            .prefix(Self.shownRemedies).map { "\($0.id): \($0.remedy.printable)" }
        return style.show(table) + more + "\n\n" + style.show(remedies.joined(separator: "\n"))
            + "\n\n" + problemCount
    }

    /// How many problems there are, in a few words.
    var problemCount: String {
        guard !problems.isEmpty else { return "no problems found" }
        let errors = problems.count { $0.severity == .error }
        return Format.counted(errors, "error") + ", "
            + Format.counted(problems.count - errors, "warning")
    }

    private static let (shownProblems, shownRemedies) = (50, 20)
}

/// The table of rules.
extension LintRule {
    package static var json: [JSONValue] {
        table.map {
            .fields([
                "id": .string($0.rule.rawValue), "severity": .string($0.severity.rawValue),
                "what": .string($0.what), "remedy": .string($0.remedy),
                "needs_stats": .bool($0.needsValues),
            ])
        }
    }

    package static var textTable: TextTable {
        var list = TextTable([
            ("id", .left), ("severity", .left), ("what", .left), ("remedy", .left),
        ])
        for entry in table {
            list.append([
                entry.rule.rawValue, entry.severity.rawValue,
                entry.what + (entry.needsValues ? " (--stats)" : ""), entry.remedy,
            ])
        }
        return list
    }
}
