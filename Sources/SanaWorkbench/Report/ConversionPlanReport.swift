import SanaModel
import SanaQuant

/// How plans of conversions are shown.
extension ConversionPlan {
    package var json: JSONValue {
        .fields([
            "dtype": .string(target.rawValue), "bytes_before": .int(bytesBefore),
            "bytes_after": .int(bytesAfter),
            "tensors": .array(decisions.map(\.json)),
        ])
    }

    package var text: String {
        table.text
            + "\n\n\(target.rawValue): \(Format.bytes(bytesBefore)) → \(Format.bytes(bytesAfter)) before compression"
    }

    package var table: TextTable { Self.table(decisions, title: "role") }

    /// Tensors of one role and treatment in a row.
    package static func table(_ decisions: [Decision], title: String) -> TextTable {
        var table = TextTable([
            (title, .left), ("tensors", .right), ("from", .left), ("to", .left),
            ("before", .right),
            ("after", .right), ("reason", .left),
        ])
        var groups: [(key: [String], decisions: [Decision])] = []
        for decision in decisions {
            let key = [
                decision.role.name, decision.tensor.dtype.rawValue,
                decision.outputs[0].dtype.rawValue, decision.reason,
            ]
            if let index = groups.firstIndex(where: { $0.key == key }) {
                groups[index].decisions.append(decision)
            } else {
                groups.append((key, [decision]))
            }
        }
        for (key, members) in groups {
            let inexact = members.reduce(0) { $0 + $1.fp16InexactCount }
            table.append([
                key[0], "\(members.count)", key[1], key[2],
                Format.bytes(members.reduce(0) { $0 + $1.bytesBefore }),
                Format.bytes(members.reduce(0) { $0 + $1.bytesAfter }),
                key[3].printable + (inexact > 0 ? " (fp16 changes \(inexact) values)" : ""),
            ])
        }
        return table
    }
}

extension ConversionPlan.Decision {
    package var json: JSONValue {
        .fields([
            "name": .string(tensor.name), "from": .string(tensor.dtype.rawValue),
            "to": .string(outputs[0].dtype.rawValue), "reason": .string(reason),
            "rule": .text(userRule), "fp16_inexact": .int(fp16InexactCount),
            "nonfinite": .int(nonFiniteCount),
            "bytes_before": .int(bytesBefore), "bytes_after": .int(bytesAfter),
        ])
    }

    /// What becomes of the tensor, and which rule decided, in a few lines.
    package var explanation: String {
        """
        \(tensor.name.printable), \(tensor.dtype.rawValue) \(tensor.shape), \
        \(role.name)
          becomes \(outputs.map { "\($0.dtype.rawValue) \($0.name.printable)" }.joined(separator: " and ")), \
        \(Format.bytes(bytesBefore)) → \(Format.bytes(bytesAfter)) before compression
          decided by \(userRule == nil ? "built-in rule: \(reason)" : reason)\
        \(fp16InexactCount > 0 ? " (fp16 changes \(fp16InexactCount) of \(tensor.elementCount) values)" : "")
        """
    }
}

/// What a conversion would do, and what becomes of the rest of the repository.
package struct ConversionForecast {
    package let plan: ConversionPlan
    /// Directory of the transformer, and the other components; `nil` where no repository is made.
    package let repository: (transformer: String, others: [ComponentPlan])?

    package var json: JSONValue {
        guard let repository else { return plan.json }
        return plan.json
            .setting(
                "components",
                to: .object(repository.others.map { .init($0.name, .string($0.treatment.name)) })
            )
            .setting(
                "component_plans",
                to: .array(
                    repository.others.map { component in
                        .fields([
                            "name": .string(component.name),
                            "becomes": .string(component.treatment.name),
                            "files": .int(component.fileCount),
                            "bytes_before": .int(component.bytesBefore),
                            "bytes_after": .int(component.bytesAfter),
                            "tensors": .array(
                                component.plans.flatMap(\.decisions).map(\.json)),
                        ])
                    }))
    }

    package var text: String {
        ([plan.text] + tables.map(\.text)).joined(separator: "\n\n")
    }
    package var markdown: String {
        ([plan.table] + tables).map(\.markdown).joined(separator: "\n\n")
    }

    /// Plans of converted components, then all components.
    private var tables: [TextTable] {
        guard let repository else { return [] }
        var table = TextTable([
            ("component", .left), ("becomes", .left), ("files", .right), ("before", .right),
            ("after", .right),
        ])
        func add(_ name: String, _ action: String, _ files: String, _ before: Int, _ after: Int) {
            table.append([
                name.printable, action, files, Format.bytes(before), Format.bytes(after),
            ])
        }
        add(
            repository.transformer, plan.target.rawValue, "", plan.bytesBefore, plan.bytesAfter)
        for component in repository.others {
            add(
                component.name, component.treatment.name, "\(component.fileCount)",
                component.bytesBefore, component.bytesAfter)
        }
        add(
            "all", "", "", repository.others.reduce(plan.bytesBefore) { $0 + $1.bytesBefore },
            repository.others.reduce(plan.bytesAfter) { $0 + $1.bytesAfter })
        return repository.others.filter { !$0.plans.isEmpty }.map {
            ConversionPlan.table(
                $0.plans.flatMap(\.decisions), title: "tensors of \($0.name.printable)")
        } + [table]
    }
}
