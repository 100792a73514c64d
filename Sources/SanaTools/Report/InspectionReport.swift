import SanaModel
import SanaQuant

/// How inspections are shown.
extension Inspection {
    /// The interface that other programs read; field names are kept by tests.
    var json: JSONValue {
        .fields([
            "model": .string(model.label),
            "components": .array(
                components.map {
                    .fields([
                        "name": .string($0.name), "class": .string($0.className),
                        "present": .bool($0.isPresent),
                    ])
                }), "files": .array(files.map(\.json)), "layout": .string(layout.rawValue),
            "parameters": .int(model.source.parameterCount),
            "bytes": .int(model.source.tensors.reduce(0) { $0 + $1.byteCount }),
            "digest": .text(digest),
            "roles": .array(
                groups.map {
                    .fields([
                        "role": .string($0.role.rawValue), "dtype": .string($0.dtype.rawValue),
                        "tensors": .int($0.tensors), "parameters": .int($0.parameters),
                        "bytes": .int($0.bytes),
                    ])
                }),
            "tensors": .array(
                model.source.tensors.map {
                    .fields([
                        "name": .string($0.name), "dtype": .string($0.dtype.rawValue),
                        "shape": .array($0.shape.map { .int($0) }), "bytes": .int($0.byteCount),
                        "role": .string(TensorRole(of: $0).rawValue),
                    ])
                }),
            "problems": .array(
                problems.map {
                    .fields([
                        "id": .string($0.id), "severity": .string($0.severity.rawValue),
                        "where": .string($0.location), "message": .string($0.message),
                        "remedy": .text($0.remedy),
                    ])
                }), "config": model.configJSON,
        ])
    }

    var text: String { sections { $0.text } }
    var markdown: String { sections { $0.markdown } }

    private struct File {
        let name: String
        let bytes: Int
        var json: JSONValue { .fields(["name": .string(name), "bytes": .int(bytes)]) }
    }

    private var files: [File] {
        switch model.kind {
        case .checkpoint(let checkpoint):
            checkpoint.files.map {
                File(name: $0.path.lastPathComponent, bytes: $0.fileBytes.count)
            }
        case .archive(let archive):
            [File(name: archive.path.lastPathComponent, bytes: archive.byteCount)]
        }
    }

    /// Whose names the stored tensors have.
    private var layout: Checkpoint.Layout {
        if case .checkpoint(let checkpoint) = model.kind { checkpoint.layout } else { .diffusers }
    }

    private func sections(_ show: (TextTable) -> String) -> String {
        let config = model.config
        var parts = [
            """
            \(model.label.printable): \(Format.count(model.source.parameterCount)) parameters in \
            \(model.source.tensors.count) tensors, \(Format.bytes(model.source.tensors.reduce(0) { $0 + $1.byteCount }))
            \(config.numLayers) layers, \(config.numAttentionHeads) × \(config.attentionHeadDim) heads, cross-attention \
            \(config.numCrossAttentionHeads) × \(config.crossAttentionHeadDim), captions \(config.captionChannels), \
            latent \(config.inChannels) × \(config.sampleSize)²\(digest.map { "\ndigest \($0)" } ?? "")\(layout == .original
                ? "\nstored under NVlabs' names, shown under those of diffusers" : "")
            """
        ]
        if !components.isEmpty {
            var table = TextTable([("component", .left), ("class", .left), ("", .left)])
            for component in components {
                table.append([
                    component.name.printable, component.className.printable,
                    component.isPresent ? "" : "absent",
                ])
            }
            parts.append(show(table))
        }
        var fileTable = TextTable([("file", .left), ("bytes", .right)])
        for file in files { fileTable.append([file.name.printable, Format.bytes(file.bytes)]) }
        parts.append(show(fileTable))
        var roles = TextTable([
            ("role", .left), ("dtype", .left), ("tensors", .right), ("parameters", .right),
            ("bytes", .right),
        ])
        for group in groups {
            roles.append([
                group.role.rawValue, group.dtype.rawValue, "\(group.tensors)",
                Format.count(group.parameters), Format.bytes(group.bytes),
            ])
        }
        parts.append(show(roles))
        if problems.isEmpty {
            parts.append("no problems found")
        } else {
            var table = TextTable([
                ("severity", .left), ("id", .left), ("where", .left), ("message", .left),
            ])
            for problem in problems.prefix(50) {
                table.append([
                    problem.severity.rawValue, problem.id, problem.location.printable,
                    problem.message.printable,
                ])
            }
            let more = problems.count > 50 ? "\n… and \(problems.count - 50) more" : ""
            parts.append(show(table) + more)
        }
        return parts.joined(separator: "\n\n")
    }
}
