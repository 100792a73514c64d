import ArgumentParser
import Foundation
import SanaModel
import SanaQuant

/// `sana-tools convert`
struct ConvertCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "convert",
        abstract: "Convert a checkpoint's weights into a zstd-packed archive.",
        discussion: """
            int8 quantizes the attention projections and 1×1 convolutions of the blocks per output channel and keeps \
            everything else in its own type. fp16 of a BF16 checkpoint is exact: a tensor with values that fp16 would \
            change (below 2⁻¹⁷ or beyond 65504) stays BF16, unless --allow-rounding.

            --rule decides before these rules do: the first one whose regular expression matches the whole name of a \
            tensor makes it TYPE (int8, fp16, bf16, fp32, or keep for its own), rounding where it must.

            Without MODEL, sana-tools.yaml names the model, the types and the folder, and archives there are \
            replaced. zstd -d restores a standard safetensors file from the archive.

            EXAMPLES
              sana-tools convert
              sana-tools convert path/to/repo --dtype int8 --output archives
              sana-tools convert path/to/repo --dtype fp16 --output model.safetensors.zst --force
              sana-tools convert path/to/repo --dtype int8 --dry-run
              sana-tools convert path/to/repo --dtype int8 --rule '.*attn2.*weight=keep' --rule 'proj_out.weight=fp32'
              sana-tools convert path/to/repo --dtype int8 --explain transformer_blocks.0.ff.conv_depth.weight
            """)

    @Argument(
        help: ArgumentHelp("Repository, folder or .safetensors file.", valueName: "model"),
        completion: .file())
    var model: String?

    @Option(help: "Type of the converted weights: fp16, int8, bf16 or fp32. Repeatable.")
    var dtype: [ConversionTarget] = []

    @Option(
        help: ArgumentHelp(
            "Type of the tensors whose name the expression matches. Repeatable; the first match wins (default: rules in sana-tools.yaml).",
            valueName: "regex=type"))
    var rule: [String] = []

    @Option(
        help: ArgumentHelp(
            "Show what becomes of one tensor and which rule decides, and write nothing.",
            valueName: "tensor"))
    var explain: String?

    @Option(
        help: ArgumentHelp(
            "A .safetensors.zst file, or a folder for MODEL-DTYPE.safetensors.zst (default: sana-tools.yaml, else the current folder).",
            valueName: "path"), completion: .file())
    var output: String?

    @Flag(help: "Replace an existing output.")
    var force = false

    @Flag(help: "Show what would be converted and how large it gets, and write nothing.")
    var dryRun = false

    @Flag(
        help:
            "Let fp16 round BF16 tensors that it cannot hold exactly; without this they stay BF16.")
    var allowRounding = false

    @Option(help: "zstd level, 1 to 19.")
    var level = 1

    @Flag(help: "Do not read the archive back before it gets its name.")
    var noVerifyWrite = false

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption

    func run() throws {
        let project = try ProjectFile.find()
        let isProject = model == nil
        guard let path = model ?? project?.model else { throw ProjectFile.noModel }
        let targets = try self.targets(isProject ? project : nil)
        let rules =
            rule.isEmpty
            ? (isProject ? project?.rules : nil) ?? [] : try rule.map { try UserRule($0) }
        let folder = output ?? (isProject ? project?.output : nil)
        let outputs = targets.map {
            ArchiveName.path(model: path, dtype: $0.rawValue, output: folder)
        }
        guard Set(outputs).count == outputs.count else {
            throw UsageError(
                "several types cannot go to the one file \(outputs[0].printable)",
                remedy: "give a folder as --output")
        }
        guard !OpenedFile.isArchive(path) else {
            throw UsageError(
                "\(path.printable) is an archive already",
                remedy: "convert from its source, or 'sana-tools unpack' it first")
        }
        let checkpoint = try Checkpoint.open(
            path, subfolder: modelOptions.subfolder, variant: modelOptions.variant)
        let workers = threads.makePool()
        let options = targets.map { target in
            var options = Converter.Options(target: target)
            options.rules = rules
            options.allowsRounding = allowRounding
            options.level = level
            options.verifyWrite = !noVerifyWrite
            // Outputs that the project file names are the project's own; others need a word.
            options.replaceExisting = force || (isProject && self.output == nil)
            options.tool = "sana-tools \(SanaToolsCommand.version)"
            return options
        }
        if dryRun || explain != nil {
            let plans = try options.map {
                try Converter.plan(for: checkpoint, options: $0, workers: workers)
            }
            return try explain.map { try show($0, in: plans) } ?? showPlans(plans)
        }

        // A model that cannot run is not worth an archive: binding checks every name and shape.
        _ = try SanaTransformer2DModel(checkpoint.config(), source: checkpoint.source, label: path)
        // It reads the small tensors, and around each the kernel maps up to 2 MB of the file.
        for file in checkpoint.files { file.fileBytes.releasePages() }
        if let folder, !folder.hasSuffix(ArchiveName.suffix) {
            try FileManager.default.createFolder(folder)
        }
        var results: [ConversionResult] = []
        for (options, output) in zip(options, outputs) {
            let progress = ProgressLine("convert \(options.target.rawValue)")
            defer { progress.finish() }
            results.append(
                try Converter.convert(
                    checkpoint: checkpoint, to: output, options: options, workers: workers,
                    progress: { progress.update($0, of: $1) }))
        }
        show(results)
    }

    private func targets(_ project: ProjectFile?) throws -> [ConversionTarget] {
        guard dtype.isEmpty else { return dtype }
        guard let project, !project.dtypes.isEmpty else {
            throw UsageError("no --dtype given", remedy: "choose fp16 or int8")
        }
        return try project.dtypes.map { name in
            guard let target = ConversionTarget(rawValue: name) else {
                throw BadDataError(
                    file: project.path,
                    reason: "dtype '\(name.printable)' is not fp16, int8, bf16 or fp32")
            }
            return target
        }
    }

    /// Shows what the plans do to the tensor `name`.
    private func show(_ name: String, in plans: [ConversionPlan]) throws {
        let decisions = plans.compactMap { plan in
            plan.decisions.first { $0.tensor.name == name }.map { (plan.target, $0) }
        }
        guard decisions.count == plans.count else {
            throw UsageError(
                "no tensor is called '\(name.printable)'",
                remedy: "'sana-tools convert --dry-run --format json' lists the names")
        }
        switch format.format {
        case .json:
            let documents = decisions.map(\.1.json)
            Console.data((documents.count == 1 ? documents[0] : .array(documents)).text(indent: 2))
        case .text, .markdown:
            Console.data(
                decisions.map { "\($0.0.rawValue): \($0.1.explanation)" }.joined(separator: "\n"))
        }
    }

    private func showPlans(_ plans: [ConversionPlan]) {
        switch format.format {
        case .json:
            let documents = plans.map(\.json)
            Console.data((documents.count == 1 ? documents[0] : .array(documents)).text(indent: 2))
        case .text: Console.data(plans.map { $0.text }.joined(separator: "\n\n"))
        case .markdown: Console.data(plans.map { $0.table.markdown }.joined(separator: "\n\n"))
        }
    }

    private func show(_ results: [ConversionResult]) {
        switch format.format {
        case .json:
            let documents = results.map(\.json)
            Console.data((documents.count == 1 ? documents[0] : .array(documents)).text(indent: 2))
        case .text: Console.data(results.map(\.text).joined(separator: "\n\n"))
        case .markdown: Console.data(results.map(\.table.markdown).joined(separator: "\n\n"))
        }
    }
}

extension ConversionTarget: ExpressibleByArgument {}
