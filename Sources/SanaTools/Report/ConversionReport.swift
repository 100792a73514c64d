import SanaModel
import SanaQuant

/// How conversions and their plans are shown.
extension ConversionOutcome {
    /// The interface that other programs read; field names are kept by tests.
    var json: JSONValue {
        var json = result.json
        if let repository {
            json = json.setting("repository", to: .string(repository.output))
                .setting(
                    "components",
                    to: .object(
                        repository.components.map { .init($0.name, .string($0.treatment.name)) })
                )
                .setting(
                    "component_tensors",
                    to: .object(
                        components.sorted { $0.key < $1.key }.map {
                            .init($0.key, .array($0.value.flatMap(\.tensors).map(\.json)))
                        }))
        }
        return json
    }

    var text: String {
        guard let repository else { return result.text }
        let others = repository.components.map { "\($0.name.printable): \($0.treatment.name)" }
        let converted = components.sorted { $0.key < $1.key }.map { name, results in
            "\(name.printable): \(ConversionResult.errors(results.flatMap(\.tensors)))"
        }
        let summary =
            "repository \(repository.output.printable)"
            + (others.isEmpty ? "" : "; " + others.joined(separator: ", "))
        return ([result.text, summary] + converted).joined(separator: "\n")
    }
}

extension ComponentTreatment {
    var name: String {
        switch self {
        case .link: "link"
        case .copy: "copy"
        case .skip: "skip"
        case .convert(let target): target.rawValue
        }
    }
}

extension ConversionResult {
    var json: JSONValue {
        .fields([
            "output": .string(output), "bytes_in": .int(bytesIn), "bytes_out": .int(bytesOut),
            "ratio": .double(ratio), "seconds": .double(seconds),
            "source_digest": .string(sourceDigest), "lora": .array(adapters.map(\.json)),
            "files": .array(
                files.map {
                    .fields([
                        "path": .string($0.path), "content_sha256": .string($0.contentSHA256),
                    ])
                }),
            "tensors": .array(tensors.map(\.json)),
        ])
    }

    var text: String {
        return table.text + "\n\n" + """
            \(files.map(\.path.printable).joined(separator: "\n"))
            \(Format.bytes(bytesIn)) → \(Format.bytes(bytesOut)), ratio \(Format.decimal(ratio)), in \
            \(Format.decimal(seconds)) s; \(Self.errors(tensors))
            """ + adapters.map { "\n" + $0.text }.joined()
    }

    /// How exact tensors came out, in a few words.
    fileprivate static func errors(_ tensors: [Tensor]) -> String {
        let exact = tensors.count(where: \.statistics.isExact)
        guard exact < tensors.count else { return "every value exact" }
        let worst = tensors.max { $0.statistics.relativeRMS < $1.statistics.relativeRMS }
        return "\(exact) of \(tensors.count) tensors exact, largest relative RMS "
            + "\(Format.scientific(worst?.statistics.relativeRMS ?? 0)) in \(worst?.name.printable ?? "")"
    }

    /// A row for each tensor whose values changed, and one that counts the others.
    var table: TextTable {
        var table = TextTable([
            ("tensor", .left), ("from", .left), ("to", .left), ("rel. RMS", .right),
            ("max error", .right), ("clipped", .right), ("flushed", .right),
            ("NaN or Inf", .right),
        ])
        let changed = tensors.filter { !$0.statistics.isExact || $0.nonFinite > 0 }
        for tensor in changed {
            let statistics = tensor.statistics
            table.append([
                tensor.name.printable, tensor.from.rawValue, tensor.to.rawValue,
                Format.scientific(statistics.relativeRMS), Format.scientific(statistics.maxError),
                "\(statistics.clipped)", "\(statistics.flushed)", "\(tensor.nonFinite)",
            ])
        }
        table.append([
            "\(tensors.count - changed.count) exact tensors", "", "", "0", "0", "0", "0", "0",
        ])
        return table
    }
}

extension LoraAdapter {
    var json: JSONValue {
        .fields([
            "name": .string(path.lastPathComponent), "sha256": .string(sha256),
            "weight": .double(weight), "modules": .int(moduleCount),
        ])
    }

    var text: String {
        "added \(path.printable) × \(weight) to \(moduleCount) weights (SHA-256 \(sha256))"
    }
}

extension ConversionPlan {
    var json: JSONValue {
        .fields([
            "dtype": .string(target.rawValue), "bytes_before": .int(bytesBefore),
            "bytes_after": .int(bytesAfter),
            "tensors": .array(decisions.map(\.json)),
        ])
    }

    var text: String {
        table.text
            + "\n\n\(target.rawValue): \(Format.bytes(bytesBefore)) → \(Format.bytes(bytesAfter)) before compression"
    }

    /// Tensors of one role and treatment in a row.
    var table: TextTable {
        var table = TextTable([
            ("role", .left), ("tensors", .right), ("from", .left), ("to", .left),
            ("before", .right),
            ("after", .right), ("reason", .left),
        ])
        var groups: [(key: [String], decisions: [Decision])] = []
        for decision in decisions {
            let key = [
                TensorRole(of: decision.tensor).rawValue, decision.tensor.dtype.rawValue,
                decision.outputs[0].dtype.rawValue, decision.reason,
            ]
            if let index = groups.firstIndex(where: { $0.key == key }) {
                groups[index].decisions.append(decision)
            } else {
                groups.append((key, [decision]))
            }
        }
        for (key, members) in groups {
            table.append([
                key[0], "\(members.count)", key[1], key[2],
                Format.bytes(members.reduce(0) { $0 + $1.bytesBefore }),
                Format.bytes(members.reduce(0) { $0 + $1.bytesAfter }), key[3],
            ])
        }
        return table
    }
}

extension ConversionPlan.Decision {
    var json: JSONValue {
        .fields([
            "name": .string(tensor.name), "from": .string(tensor.dtype.rawValue),
            "to": .string(outputs[0].dtype.rawValue), "reason": .string(reason),
            "rule": .text(userRule), "fp16_inexact": .int(fp16InexactCount),
            "nonfinite": .int(nonFiniteCount),
            "bytes_before": .int(bytesBefore), "bytes_after": .int(bytesAfter),
        ])
    }

    /// What becomes of the tensor, and which rule decided, in a few lines.
    var explanation: String {
        """
        \(tensor.name.printable), \(tensor.dtype.rawValue) \(tensor.shape), \
        \(TensorRole(of: tensor).rawValue)
          becomes \(outputs.map { "\($0.dtype.rawValue) \($0.name.printable)" }.joined(separator: " and ")), \
        \(Format.bytes(bytesBefore)) → \(Format.bytes(bytesAfter)) before compression
          decided by \(userRule == nil ? "built-in rule: \(reason)" : reason)\
        \(fp16InexactCount > 0 ? " (\(fp16InexactCount) of \(tensor.elementCount))" : "")
        """
    }
}
