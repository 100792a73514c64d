import SanaModel
import SanaQuant

/// How digests are shown.
package struct DigestReport {
    package let model: String
    /// The archive, when it is one; its hashes have been checked.
    package let archive: Archive.Manifest?
    package let files: FileDigests?
    /// `WeightsDigest`, where the model is a Sana transformer or a safetensors file.
    package let weightsDigest: String?
    package let byteCount: Int
    package let seconds: Double

    package init(
        model: String, archive: Archive.Manifest?, files: FileDigests?, weightsDigest: String?,
        byteCount: Int, seconds: Double
    ) {
        (self.model, self.archive, self.files) = (model, archive, files)
        (self.weightsDigest, self.byteCount, self.seconds) = (weightsDigest, byteCount, seconds)
    }

    /// The interface that other programs read; field names are kept by tests.
    package var json: JSONValue {
        .fields([
            "model": .string(model), "verdict": .string(verdict),
            "weights_digest": .text(weightsDigest),
            "content_sha256": .text(archive?.contentSHA256), "root": .text(archive?.root),
            "files": .array(
                (files?.entries ?? []).map {
                    .fields([
                        "name": .string($0.name), "bytes": .int($0.byteCount),
                        "hash": .text($0.hash?.text), "expected": .text($0.expected?.text),
                        "status": .string($0.status),
                        "problem": .text($0.problem ?? $0.own.fault?.description),
                        "damaged": .array($0.own.damages.map { .string($0.entry) }),
                    ])
                }),
            "bytes": .int(byteCount), "seconds": .double(seconds),
        ])
    }

    package var text: String { sections(.text) }
    package var markdown: String { sections(.markdown) }

    /// `unknown` where nothing says what the hashes should be.
    private var verdict: String {
        guard let files else { return "pass" }
        if files.entries.contains(where: { $0.isWrong || $0.problem != nil }) { return "fail" }
        return files.entries.contains(where: \.isKnown) ? "pass" : "unknown"
    }

    private func sections(_ style: ReportStyle) -> String {
        var parts: [String] = []
        if let files {
            var table = TextTable([
                ("file", .left), ("bytes", .right), ("hash", .left), ("status", .left),
            ])
            for entry in files.entries {
                table.append([
                    entry.name.printable, Format.bytes(entry.byteCount), entry.hash?.text ?? "",
                    entry.status,
                ])
            }
            parts.append(style.show(table))
        }
        var lines: [String] = []
        if let weightsDigest {
            lines.append(
                "\(archive == nil ? "weights" : "source weights")  \(weightsDigest)")
        }
        if let archive {
            lines.append("root            \(archive.root)")
            lines.append("every tensor matches its hash in the manifest")
        }
        lines.append(
            "\(Format.bytes(byteCount)) in \(Format.decimal(seconds)) s, "
                + "\(Format.bytes(Int(Double(byteCount) / max(seconds, 1e-9))))/s")
        return (parts + [style.show(lines.joined(separator: "\n"))]).joined(separator: "\n\n")
    }
}

extension FileDigests.Entry {
    fileprivate var status: String {
        if problem != nil { return "UNREADABLE" }
        return isWrong ? "WRONG" : isKnown ? "ok" : "unknown"
    }
}
