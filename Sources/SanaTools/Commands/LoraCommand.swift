import ArgumentParser
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools lora`
struct LoraCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lora", abstract: "Merge LoRA files, or extract one from two checkpoints.",
        discussion: """
            EXAMPLES
              sana-tools lora merge style.safetensors=0.8 detail.safetensors \\
                --model path/to/repo --output both.safetensors
              sana-tools lora extract path/to/tuned path/to/base --rank 32 \\
                --output tuned-r32.safetensors
            """,
        subcommands: [LoraMergeCommand.self, LoraExtractCommand.self])
}

/// `sana-tools lora merge`
struct LoraMergeCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "merge",
        abstract: "Merge several LoRA files into one with the same effect.",
        discussion: """
            Reads all common tensor naming schemes and writes diffusers' names in fp32. The rank \
            of a module is the sum of the merged ranks. DoRA, LoHa and LoKr are not products of \
            two matrices: apply them with 'convert --lora'.

            EXAMPLES
              sana-tools lora merge style.safetensors=0.8 detail.safetensors \\
                --model path/to/repo --output both.safetensors
            """)

    @Argument(
        help: ArgumentHelp("LoRA file and its weight (default: 1).", valueName: "file[=weight]"),
        completion: .file())
    var files: [String]

    @Option(
        help: ArgumentHelp(
            "Model that the files are for; it determines the module names.",
            valueName: "model"), completion: .file())
    var model: String

    @Option(
        help: ArgumentHelp("The new .safetensors file.", valueName: "file"), completion: .file())
    var output: String

    @OptionGroup var replacing: ReplaceOption

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var format: FormatOption
    @OptionGroup var verbosity: VerbosityOptions

    func run() throws {
        let adapters = try AdapterArguments.open(files, option: "LoRA")
        try AdapterArguments.leaveOutTextEncoder(
            adapters, option: "LoRA", hint: "the merged file is for the transformer")
        let source = try modelOptions.openCheckpoint(model).source
        let merged = try LoraMerge.merge(adapters, for: source, file: model)
        let provenance = JSONValue.array(adapters.map { Archive.Manifest.Adapter($0).json })
        try SafetensorsWriter.write(
            merged.flatMap(\.stored),
            metadata: [.init(ContentLayout.adaptersKey, .string(provenance.text()))], to: output,
            replaceExisting: replacing.force)
        let ranks = merged.map(\.rank)
        try format.show(
            ResultDocument(
                .loraMerge,
                .fields([
                    "output": .string(output), "lora": provenance, "modules": .int(merged.count),
                    "largest_rank": .int(ranks.max() ?? 0),
                ])), text: summary(merged), markdown: summary(merged))
    }

    private func summary(_ merged: [LoraMatrices]) -> String {
        let rank = merged.map(\.rank).max() ?? 0
        return
            "\(output.printable): \(Format.counted(merged.count, "module")) of rank up to \(rank)"
    }
}

/// `sana-tools lora extract`
struct LoraExtractCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "extract",
        abstract: "Extract a LoRA from the difference between a tuned checkpoint and its base.",
        discussion: """
            Decomposes the difference of each weight into singular values in double precision and \
            keeps the largest. Norms, tables, biases and kernels are not products of matrices and \
            are listed as left out.

            EXAMPLES
              sana-tools lora extract path/to/tuned path/to/base --rank 32 \\
                --output tuned-r32.safetensors
            """)

    @Argument(help: "Tuned model.", completion: .file())
    var tuned: String

    @Argument(help: "Model that it was tuned from.", completion: .file())
    var base: String

    @Option(help: "Maximum rank of a module.")
    var rank = 16

    @Option(
        help: ArgumentHelp("The new .safetensors file.", valueName: "file"), completion: .file())
    var output: String

    @OptionGroup var replacing: ReplaceOption

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var format: FormatOption
    @OptionGroup var verbosity: VerbosityOptions

    func validate() throws {
        guard (1...4096).contains(rank) else {
            throw ValidationError("--rank must be in 1...4096")
        }
    }

    func run() throws {
        let (first, second) = (try modelOptions.open(tuned), try modelOptions.open(base))
        let progress = ProgressLine("extract")
        defer { progress.finish() }
        let modules = try LoraExtraction.extract(
            first.source, from: second.source, rank: rank, file: tuned,
            progress: { progress.update($0, of: $1) })
        progress.finish()
        let matrices = modules.compactMap(\.matrices)
        guard !matrices.isEmpty else {
            throw BadDataError(
                file: tuned, reason: "no weight differs from \(base.printable)",
                remedy: "give the tuned model first and its base second")
        }
        try SafetensorsWriter.write(
            matrices.flatMap(\.stored), to: output, replaceExisting: replacing.force)
        try format.show(
            ResultDocument(
                .loraExtract,
                .fields([
                    "output": .string(output),
                    "modules": .array(
                        modules.map {
                            .fields([
                                "name": .string($0.name), "rank": .int($0.matrices?.rank ?? 0),
                                "change": .double($0.change), "error": .double($0.error),
                            ])
                        }),
                ])), text: table(modules).text + "\n\n" + summary(modules),
            markdown: table(modules).markdown + "\n\n" + summary(modules))
    }

    private func table(_ modules: [LoraExtraction.Module]) -> TextTable {
        var table = TextTable([
            ("tensor", .left), ("rank", .right), ("change", .right), ("error", .right),
        ])
        for module in modules {
            table.append([
                module.name.printable, module.matrices.map { "\($0.rank)" } ?? "left out",
                Format.scientific(module.change), Format.scientific(module.error),
            ])
        }
        return table
    }

    private func summary(_ modules: [LoraExtraction.Module]) -> String {
        let taken = modules.count { $0.matrices != nil }
        return "\(output.printable): \(Format.counted(taken, "module")); error is "
            + "‖Δ − up · down‖ / ‖Δ‖, \(Format.counted(modules.count - taken, "tensor")) left out"
    }
}

/// LoRA files on a command line, each with a weight behind the last `=`.
enum AdapterArguments {
    /// - Parameter option: what they are called in messages.
    /// - Throws: `UsageError`, and what `LoraAdapter` throws.
    static func open(_ texts: [String], option: String) throws -> [LoraAdapter] {
        let adapters = try texts.map { try adapter($0, option) }
        for (index, adapter) in adapters.enumerated() {
            for note in adapter.notes {
                Console.warn("\(option) \(adapter.path.printable): \(note)")
            }
            guard let first = adapters.prefix(index).first(where: { $0.sha256 == adapter.sha256 })
            else { continue }
            let isSame = first.path == adapter.path
            Console.warn(
                "\(option) \(adapter.path.printable) is "
                    + (isSame ? "given twice" : "the same file as \(first.path.printable)")
                    + ": it is added once for each, so its weights add up")
        }
        return adapters
    }

    /// Warns of adapters whose text encoder's part goes unused.
    ///
    /// - Parameter hint: how it would be used.
    /// - Throws: `BadDataError` for an adapter that has no other part.
    static func leaveOutTextEncoder(_ adapters: [LoraAdapter], option: String, hint: String) throws
    {
        for adapter in adapters {
            guard let part = adapter.ofTextEncoder else { continue }
            guard adapter.moduleCount > 0 else {
                throw BadDataError(
                    file: adapter.path, reason: "holds only a LoRA of a text encoder", remedy: hint)
            }
            Console.warn(
                "\(option) \(adapter.path.printable): "
                    + "\(Format.counted(part.moduleCount, "module")) of a text encoder left out; "
                    + hint)
        }
    }

    private static func adapter(_ text: String, _ option: String) throws -> LoraAdapter {
        guard let sign = text.lastIndex(of: "="), !text.pathExists else {
            return try LoraAdapter(path: text)
        }
        guard let weight = Double(text[text.index(after: sign)...]), weight.isFinite else {
            throw UsageError(
                "\(option) \(text.printable) is not FILE or FILE=WEIGHT",
                remedy: "for example \(option) style.safetensors=0.8")
        }
        return try LoraAdapter(path: String(text[..<sign]), weight: weight)
    }
}
