import SanaModel
import SanaQuant

/// How conversions are shown.
extension ConversionOutcome {
    /// The interface that other programs read; field names are kept by tests.
    package var json: JSONValue {
        var json = result.json
        if let repository {
            json = json.setting("repository", to: .string(repository.output))
                .setting(
                    "whole",
                    to: .fields([
                        "bytes_in": .int(bytesIn), "bytes_out": .int(bytesOut),
                        "seconds": .double(seconds),
                        "values": ValueCounts(allTensors.map(\.tensor)).json,
                    ])
                )
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

    /// Ends with how all values came out.
    ///
    /// - Parameter isShort: show totals and the largest errors, not every tensor.
    package func text(isShort: Bool = false) -> String {
        guard let repository else { return result.text(isShort: isShort) }
        let others = repository.components.map { "\($0.name.printable): \($0.treatment.name)" }
        let summary =
            "repository \(repository.output.printable)"
            + (others.isEmpty ? "" : "; " + others.joined(separator: ", "))
        let tables = convertedComponents.map { name, tensors in
            ConversionResult.tables(
                tensors, title: "tensor of \(name.printable)", isShort: isShort)
                + "\n\n\(name.printable): \(ConversionResult.summary(tensors))"
        }
        return
            (tables + [result.text([summary], isShort: isShort)]
            + (tables.isEmpty ? [] : [whole])).joined(separator: "\n\n")
    }

    package var markdown: String {
        let tables =
            [result.table]
            + convertedComponents.map {
                ConversionResult.table($0.tensors, title: "tensor of \($0.name.printable)")
            }
        return (tables.map(\.markdown) + (components.isEmpty ? [] : [Markdown.paragraph(whole)]))
            .joined(separator: "\n\n")
    }

    /// Components other than the transformer that were converted, in the order of their names.
    private var convertedComponents: [(name: String, tensors: [ConversionResult.Tensor])] {
        components.sorted { $0.key < $1.key }.map { ($0.key, $0.value.flatMap(\.tensors)) }
    }

    // MARK: The whole

    private var results: [ConversionResult] { [result] + components.values.flatMap { $0 } }
    private var bytesIn: Int { results.reduce(0) { $0 + $1.bytesIn } }
    private var bytesOut: Int { results.reduce(0) { $0 + $1.bytesOut } }
    private var seconds: Double { results.reduce(0) { $0 + $1.seconds } }

    /// Every tensor, and what stands before its name.
    private var allTensors: [(prefix: String, tensor: ConversionResult.Tensor)] {
        result.tensors.map { ((repository?.transformer ?? "") + ": ", $0) }
            + convertedComponents.flatMap { name, tensors in tensors.map { (name + ": ", $0) } }
    }

    /// All networks together, in a line.
    private var whole: String {
        "\(Format.counted(components.count + 1, "network")): \(Format.bytes(bytesIn)) → "
            + "\(Format.bytes(bytesOut)), ratio "
            + "\(Format.decimal(Double(bytesIn) / Double(max(1, bytesOut)))), in "
            + "\(Format.decimal(seconds)) s; " + ConversionResult.summary(allTensors)
    }
}

extension ComponentTreatment {
    package var name: String {
        switch self {
        case .link: "link"
        case .copy: "copy"
        case .skip: "skip"
        case .convert(let target): target.rawValue
        }
    }
}

extension ConversionResult {
    package var json: JSONValue {
        .fields([
            "output": .string(output), "bytes_in": .int(bytesIn), "bytes_out": .int(bytesOut),
            "ratio": .double(ratio), "seconds": .double(seconds),
            "values": ValueCounts(tensors).json,
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

    /// - Parameter notes: lines before the last one, which says how the values came out.
    package func text(_ notes: [String] = [], isShort: Bool = false) -> String {
        let lines =
            files.map(\.path.printable) + adapters.map(\.text) + notes + [
                "\(Format.bytes(bytesIn)) → \(Format.bytes(bytesOut)), ratio "
                    + "\(Format.decimal(ratio)), in \(Format.decimal(seconds)) s; "
                    + Self.summary(tensors)
            ]
        return Self.tables(tensors, title: "tensor", isShort: isShort) + "\n\n"
            + lines.joined(separator: "\n")
    }

    /// A row for each tensor that changed; or one for each reason, and the largest errors.
    fileprivate static func tables(_ tensors: [Tensor], title: String, isShort: Bool) -> String {
        guard isShort else { return table(tensors, title: title).text }
        let worst = tensors.filter { !$0.statistics.isExact }
            .sorted { $0.statistics.relativeRMS > $1.statistics.relativeRMS }
        return
            ([reasonTable(tensors)] + (worst.isEmpty ? [] : [errorTable(worst.prefix(5), title)]))
            .map(\.text).joined(separator: "\n\n")
    }

    /// How many tensors became what, and why.
    private static func reasonTable(_ tensors: [Tensor]) -> TextTable {
        var table = TextTable([
            ("tensors", .right), ("from", .left), ("to", .left), ("values changed", .right),
            ("reason", .left),
        ])
        var groups: [(key: [String], tensors: [Tensor])] = []
        for tensor in tensors {
            let key = [tensor.from.rawValue, tensor.to.rawValue, tensor.reason]
            if let index = groups.firstIndex(where: { $0.key == key }) {
                groups[index].tensors.append(tensor)
            } else {
                groups.append((key, [tensor]))
            }
        }
        for (key, members) in groups {
            let changed = members.reduce(0) { $0 + $1.statistics.changed }
            table.append([
                "\(members.count)", key[0], key[1], changed == 0 ? "0" : Format.count(changed),
                key[2].printable,
            ])
        }
        return table
    }

    /// The largest errors.
    private static func errorTable(_ tensors: ArraySlice<Tensor>, _ title: String) -> TextTable {
        var table = TextTable([
            ("\(title), largest error first", .left), ("to", .left), ("rel. RMS", .right),
            ("max error", .right),
        ])
        for tensor in tensors {
            table.append([
                tensor.name.printable, tensor.to.rawValue,
                Format.scientific(tensor.statistics.relativeRMS),
                Format.scientific(tensor.statistics.maxError),
            ])
        }
        return table
    }

    /// How the values came out, in a few words.
    static func summary(_ tensors: [Tensor]) -> String { summary(tensors.map { ("", $0) }) }

    /// - Parameter named: tensors, and what stands before their names.
    static func summary(_ named: [(prefix: String, tensor: Tensor)]) -> String {
        let tensors = named.map(\.tensor)
        let counts = ValueCounts(tensors)
        let exact = tensors.count(where: \.statistics.isExact)
        let nonFinite = tensors.reduce(0) { $0 + $1.nonFinite }
        var parts: [String] = []
        if exact == tensors.count {
            parts.append(nonFinite > 0 ? "every finite value exact" : "every value exact")
        } else {
            let worst = named.max {
                $0.tensor.statistics.relativeRMS < $1.tensor.statistics.relativeRMS
            }
            parts.append(
                "\(exact) of \(tensors.count) tensors exact; \(counts.exact) values exact, "
                    + "\(counts.rounded) rounded (\(counts.flushed) flushed to zero), "
                    + "\(counts.clipped) clipped, largest relative RMS "
                    + "\(Format.scientific(worst?.tensor.statistics.relativeRMS ?? 0)) in "
                    + (worst.map { ($0.prefix + $0.tensor.name).printable } ?? ""))
        }
        let kept = named.filter(\.tensor.isKeptFromFP16)
        if !kept.isEmpty {
            let names = kept.prefix(5).map { ($0.prefix + $0.tensor.name).printable }
                .joined(separator: ", ")
            let others = kept.count > 5 ? " and \(kept.count - 5) more" : ""
            parts.append(
                "\(kept.count) \(kept.count == 1 ? "tensor" : "tensors") stayed "
                    + "\(kept[0].tensor.from.rawValue), since fp16 would change "
                    + "\(kept.reduce(0) { $0 + $1.tensor.fp16Inexact }) of their values: "
                    + names + others)
        }
        if nonFinite > 0 {
            let holders = tensors.count { $0.nonFinite > 0 }
            parts.append(
                "\(nonFinite) values of \(holders) tensors are NaN or infinite and were kept")
        }
        return parts.joined(separator: "; ")
    }

    package var table: TextTable { Self.table(tensors, title: "tensor") }

    /// A row for each tensor whose values changed or are not all finite, or that was kept from
    /// fp16, and one for each way in which others kept every value.
    package static func table(_ tensors: [Tensor], title: String) -> TextTable {
        var table = TextTable(
            [
                (title, .left), ("from", .left), ("to", .left), ("rel. RMS", .right),
                ("max error", .right), ("changed", .right), ("clipped", .right),
                ("flushed", .right),
                ("NaN or Inf", .right), ("reason", .left),
            ], optional: ["NaN or Inf", "flushed", "clipped", "changed", "from", "max error"])
        var groups: [(key: [String], tensors: [Tensor])] = []
        for tensor in tensors {
            let statistics = tensor.statistics
            let types = [tensor.from.rawValue, tensor.to.rawValue]
            guard statistics.isExact, tensor.nonFinite == 0, !tensor.isKeptFromFP16 else {
                let inexact = tensor.isKeptFromFP16 ? " (\(tensor.fp16Inexact))" : ""
                table.append(
                    [tensor.name.printable] + types + [
                        Format.scientific(statistics.relativeRMS),
                        Format.scientific(statistics.maxError), "\(statistics.changed)",
                        "\(statistics.clipped)", "\(statistics.flushed)", "\(tensor.nonFinite)",
                        tensor.reason.printable + inexact,
                    ])
                continue
            }
            let key = types + [tensor.reason]
            if let index = groups.firstIndex(where: { $0.key == key }) {
                groups[index].tensors.append(tensor)
            } else {
                groups.append((key, [tensor]))
            }
        }
        for (key, members) in groups {
            table.append(
                [
                    "\(members.count) exact tensor\(members.count == 1 ? "" : "s")", key[0], key[1],
                    "0", "0", "0", "0", "0", "0",
                    key[2].printable,
                ])
        }
        return table
    }
}

/// How many values of some tensors came out in which way.
package struct ValueCounts: Equatable {
    package var exact = 0
    /// Changed, but not clipped.
    package var rounded = 0
    /// Rounded to zero; also counted in `rounded`.
    package var flushed = 0
    package var clipped = 0

    package init(_ tensors: [ConversionResult.Tensor]) {
        for statistics in tensors.map(\.statistics) {
            exact += statistics.elements - statistics.changed
            rounded += statistics.changed - statistics.clipped
            flushed += statistics.flushed
            clipped += statistics.clipped
        }
    }

    package var json: JSONValue {
        .fields([
            "exact": .int(exact), "rounded": .int(rounded), "flushed": .int(flushed),
            "clipped": .int(clipped),
        ])
    }
}

extension ConversionResult.Tensor {
    /// Whether it kept its type because fp16 would change some of its values.
    package var isKeptFromFP16: Bool { fp16Inexact > 0 && from == to }
}

extension LoraAdapter {
    package var json: JSONValue {
        .fields([
            "name": .string(path.lastPathComponent), "sha256": .string(sha256),
            "weight": .double(weight), "modules": .int(moduleCount),
        ])
    }

    package var text: String {
        "added \(path.printable) × \(weight) to \(moduleCount) weights (SHA-256 \(sha256))"
    }
}
