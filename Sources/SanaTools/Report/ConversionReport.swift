import SanaModel
import SanaQuant

/// How conversions and their plans are shown.
extension ConversionResult {
    /// The interface that other programs read; field names are kept by tests.
    var json: JSONValue {
        .fields([
            "output": .string(output), "bytes_in": .int(bytesIn), "bytes_out": .int(bytesOut),
            "ratio": .double(ratio), "seconds": .double(seconds),
            "source_digest": .string(manifest.weightsDigest),
            "tensors": .array(
                tensors.map {
                    .fields([
                        "name": .string($0.name), "from": .string($0.from.rawValue),
                        "to": .string($0.to.rawValue), "reason": .string($0.reason),
                        "relative_rms": .double($0.statistics.relativeRMS),
                        "max_error": .double($0.statistics.maxError),
                        "exact": .bool($0.statistics.isExact),
                        "clipped": .int($0.statistics.clipped),
                        "flushed": .int($0.statistics.flushed),
                    ])
                }),
        ])
    }

    var text: String {
        let exact = tensors.filter(\.statistics.isExact).count
        let worst = tensors.max { $0.statistics.relativeRMS < $1.statistics.relativeRMS }
        let error =
            exact == tensors.count
            ? "every value exact"
            : "\(exact) of \(tensors.count) tensors exact, largest relative RMS "
                + "\(Format.scientific(worst?.statistics.relativeRMS ?? 0)) in \(worst?.name.printable ?? "")"
        return table.text + "\n\n" + """
            \(output.printable)
            \(Format.bytes(bytesIn)) → \(Format.bytes(bytesOut)), ratio \(Format.decimal(ratio)), in \
            \(Format.decimal(seconds)) s; \(error)
            """
    }

    /// A row for each tensor whose values changed, and one that counts the others.
    var table: TextTable {
        var table = TextTable([
            ("tensor", .left), ("from", .left), ("to", .left), ("rel. RMS", .right),
            ("max error", .right), ("clipped", .right), ("flushed", .right),
        ])
        let changed = tensors.filter { !$0.statistics.isExact }
        for tensor in changed {
            let statistics = tensor.statistics
            table.append([
                tensor.name.printable, tensor.from.rawValue, tensor.to.rawValue,
                Format.scientific(statistics.relativeRMS), Format.scientific(statistics.maxError),
                "\(statistics.clipped)", "\(statistics.flushed)",
            ])
        }
        table.append([
            "\(tensors.count - changed.count) exact tensors", "", "", "0", "0", "0", "0",
        ])
        return table
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
            "rule": .text(userRule),
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
          decided by \(userRule == nil ? "built-in rule: \(reason)" : reason)
        """
    }
}
