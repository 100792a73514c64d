import SanaModel
import SanaQuant
import SanaWorkbench

/// `--container gguf`
extension ConvertCommand {
    func writeGGUF(_ path: String, _ name: String, _ project: ProjectFile?) throws {
        let targets = try targets(project)
        guard let target = targets.first, targets.count == 1, let precision = target.gguf else {
            throw UsageError(
                "--container gguf takes one --dtype: fp16, bf16, or int8 for Q8_0",
                remedy: "choose one of these")
        }
        let file =
            output ?? "\(ModelPath.stem(name).lastPathComponent)-\(precision.rawValue).gguf"
        guard file.hasSuffix(".gguf"), !file.isFolder else {
            throw UsageError(
                "--output \(file.printable) is not a .gguf file", remedy: "name the file ….gguf")
        }
        let checkpoint = try openChecked(path, name).decodingInt8()
        try leaveOutTextEncoder(checkpoint.adapters)
        let writer = try GGUFWriter(
            ConversionSource(
                names == .diffusers ? checkpoint : checkpoint.underOriginalNames()),
            as: precision, config: checkpoint.configJSON,
            name: ModelPath.stem(name).lastPathComponent,
            tool: "sana-tools \(ToolVersion.number)")
        let summary =
            "\(file.printable): \(Format.counted(writer.entries.count, "tensor")), "
            + Format.bytes(writer.byteCount)
        if !dryRun {
            let progress = ProgressLine("convert \(precision.rawValue)")
            defer { progress.finish() }
            try writer.write(
                to: file, replaceExisting: replacing.force, workers: threads.makePool(),
                progress: { progress.update($0, of: $1) })
        }
        try format.show(
            ResultDocument(
                .convertGGUF,
                .fields([
                    "output": .string(file), "bytes_out": .int(writer.byteCount),
                    "tensors": .array(
                        writer.entries.map {
                            .fields([
                                "name": .string($0.name), "from": .string($0.from.rawValue),
                                "to": .string($0.to), "bytes": .int($0.byteCount),
                            ])
                        }),
                ])), text: summary, markdown: Markdown.paragraph(summary))
    }
}

extension ConversionTarget {
    /// What a GGUF file of this type holds; `nil` for fp32.
    fileprivate var gguf: GGUFPrecision? {
        switch self {
        case .fp16: .f16
        case .bf16: .bf16
        case .int8: .q80
        case .fp32: nil
        }
    }
}
