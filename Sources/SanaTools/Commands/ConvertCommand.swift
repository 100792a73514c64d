import ArgumentParser
import Foundation
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools convert`
struct ConvertCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "convert",
        abstract:
            "Convert a checkpoint to a zstd-compressed archive or a diffusers repository.",
        discussion: """
            int8 quantizes the attention projections and 1×1 convolutions of the blocks per output \
            channel and leaves everything else in its original type. fp16 rounds BF16 values below \
            2⁻¹⁷ if that changes the tensor by a relative RMS of at most 1e-6 (about 1e-8 on real \
            weights). A tensor that would change more, or that has values beyond 65504, keeps its \
            type and is listed. --exact keeps every tensor that would change at all; \
            --allow-rounding converts every tensor.

            --rule overrides these defaults: the first rule whose regular expression matches a \
            tensor's whole name sets its type (int8, fp16, bf16, fp32, or keep for the original \
            type), with rounding if necessary.

            If MODEL is a repository and --output is a directory, the directory becomes a \
            repository. The transformer, ControlNet, text encoder and autoencoder are converted, \
            each by the plan of its own network, model_index.json is kept, and everything else is \
            linked. --other-components (link, copy or skip) applies to all components except the \
            transformer, --component vae=bf16 to one. Without --output, a repository of several \
            networks becomes the directory MODEL-DTYPE. A file as --output, or --subfolder, \
            converts a single network. --rule vae:REGEX=TYPE applies to that component, other \
            rules to the transformer.

            Without MODEL, sana-tools.yaml sets the model, the types and the output, and existing \
            archives there are replaced. zstd -d restores a standard safetensors file from an \
            archive.

            EXAMPLES
              sana-tools convert
              sana-tools convert repo --dtype fp16 --output fp16.safetensors.zst --force
              sana-tools convert repo --dtype int8 --dry-run
              sana-tools convert repo --dtype int8 --explain proj_out.weight
              sana-tools convert repo --dtype int8 --rule '.*attn2.*weight=keep'
              sana-tools convert repo --dtype int8 --lora style.safetensors=0.8 \\
                --output styled.safetensors.zst
              sana-tools convert repo --dtype int8 --output new-repo \\
                --other-components copy --component text_encoder=bf16
              sana-tools convert repo --dtype fp16 --output new-repo \\
                --container safetensors --max-shard-size 2GB
              sana-tools convert repo --dtype int8 --subfolder controlnet \\
                --output controlnet-int8.safetensors.zst
              sana-tools convert Sana_1600M_1024px.pth --dtype bf16 \\
                --container safetensors --output transformer
              sana-tools convert pipeline.dduf --dtype int8 \\
                --output pipeline-int8.safetensors.zst
              sana-tools convert repo --dtype int8 --container gguf \\
                --output model-Q8_0.gguf
              sana-tools convert repo --dtype fp16 --container safetensors \\
                --names original --output comfyui.safetensors
            """)

    @Argument(
        help: ArgumentHelp(
            "Repository, directory, .safetensors file, archive, NVlabs original (.pth) or .dduf pipeline.",
            valueName: "model"),
        completion: .file())
    var model: String?

    @Option(help: "Type of the converted weights: fp16, int8, bf16 or fp32. Repeatable.")
    var dtype: [ConversionTarget] = []

    @Option(
        help: ArgumentHelp(
            "Type of the tensors whose whole name matches. Repeatable; the first match wins (default: rules in sana-tools.yaml).",
            valueName: "regex=type"))
    var rule: [String] = []

    @Option(
        name: .customLong("rule-file"),
        help: ArgumentHelp(
            "File of rules, one per line, applied after --rule; 'tune' writes one.",
            valueName: "file"), completion: .file())
    var rules: String?

    @Option(
        help: ArgumentHelp(
            "LoRA to fuse into the weights in fp32 before conversion, and its weight (default: 1). Repeatable.",
            valueName: "file[=weight]"), completion: .file())
    var lora: [String] = []

    @Option(
        help: ArgumentHelp(
            "Show how one tensor would be converted and which rule decides; write nothing.",
            valueName: "tensor"))
    var explain: String?

    @Option(
        help: ArgumentHelp(
            "Archive (.safetensors.zst) or directory to write. For a repository, the directory becomes one; for other models, MODEL-DTYPE.safetensors.zst is written there (default: sana-tools.yaml, else in the current directory).",
            valueName: "path"), completion: .file())
    var output: String?

    @Option(
        help:
            "archive (.safetensors.zst), safetensors for diffusers, or gguf for ComfyUI-GGUF (--dtype fp16, bf16, or int8 for Q8_0)."
    )
    var container = ContainerKind.archive

    @Option(
        help:
            "Tensor names in a .safetensors or .gguf file: diffusers, or original for ComfyUI and NVlabs' code (default: diffusers; original for gguf)."
    )
    var names: NameStyle?

    @Option(
        help: ArgumentHelp(
            "Variant in the names of weight files: fp16 writes diffusion_pytorch_model.fp16.safetensors.",
            valueName: "name"))
    var saveVariant: String?

    @Option(
        help: ArgumentHelp(
            "Maximum file size for --container safetensors, such as 500MB or 2GiB.",
            valueName: "size"))
    var maxShardSize: ByteCount?

    @Option(
        name: .customLong("other-components"),
        help:
            "What to do with a repository's other components: link, copy or skip (default: convert networks, link others)."
    )
    var components: OtherComponents?

    @Option(
        help: ArgumentHelp(
            "Action for one other component: int8, fp16, bf16, fp32, link, copy or skip. Repeatable.",
            valueName: "name=action"))
    var component: [String] = []

    @OptionGroup var replacing: ReplaceOption

    @Flag(help: "Show what would be converted and the resulting size; write nothing.")
    var dryRun = false

    @Flag(
        inversion: .prefixedNo,
        help:
            "Show only totals, tensors by reason and the five with the largest error (default: on a terminal)."
    )
    var summary: Bool?

    @Flag(help: "Keep BF16 tensors in which fp16 would change any value.")
    var exact = false

    @Flag(
        help: "Convert every tensor to fp16, whatever is rounded; clip values beyond 65504.")
    var allowRounding = false

    @Option(
        help:
            "Scale of each int8 output channel: absmax clips nothing; squared-error searches for the least squared error, which takes longer."
    )
    var scales = Int8Scales.absmax

    @Flag(help: "Keep tensors with NaN or infinity unchanged instead of rejecting them.")
    var allowNonfinite = false

    @Flag(
        help:
            "Split 16-bit tensors of an archive into low and high bytes, which compress better; only sana-tools can join them again."
    )
    var planes16 = false

    @Option(help: "zstd compression level, 1 to 19.")
    var level = 1

    @Flag(help: "Skip verifying the output before it is renamed into place.")
    var noVerifyWrite = false

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var verbosity: VerbosityOptions

    func validate() throws {
        if exact, allowRounding {
            throw ValidationError("--exact and --allow-rounding exclude each other")
        }
        if planes16, container != .archive {
            throw ValidationError("--planes16 is for --container archive")
        }
        if !lora.isEmpty, model == nil {
            throw ValidationError("--lora needs MODEL: archives of sana-tools.yaml hold its model")
        }
        if let saveVariant {
            let isName = saveVariant.wholeMatch(of: /[A-Za-z0-9_]{1,32}/) != nil
            guard container == .safetensors, isName else {
                throw ValidationError(
                    "--save-variant is a word such as fp16, for --container safetensors")
            }
        }
        if names == .original, container != .gguf {
            guard container == .safetensors, output?.hasSuffix(".safetensors") ?? false else {
                throw ValidationError(
                    "--names original writes one file: give --container safetensors and --output FILE.safetensors"
                )
            }
            guard !dtype.contains(.int8) else {
                throw ValidationError("--names original is for fp16, bf16 and fp32")
            }
        }
        if maxShardSize != nil, container != .safetensors {
            throw ValidationError("--max-shard-size is for --container safetensors")
        }
    }

    func run() throws {
        let project = model == nil ? try ProjectFile.find() : nil
        guard let name = model ?? project?.model else { throw ProjectFile.noModel }
        let path = try project.blaming("model") { try ModelPath.resolve(name) }
        if container == .gguf { return try writeGGUF(path, name, project) }
        let options = try options(path, project)
        let outputs = ConversionOutputs(
            model: ModelPath.stem(name), output: output ?? project?.output,
            container: options[0].container, isSeveral: options.count > 1)
        let target = output == nil ? project : nil
        try target.blaming("output") { try outputs.check() }
        let checkpoint = try project.blaming("model") { try named(openChecked(path, name)) }
        let workers = threads.makePool()
        let jobs = try options.map { try job(checkpoint, path, outputs, $0, workers) }
        if !jobs.contains(where: \.adaptsTextEncoder) {
            try leaveOutTextEncoder(checkpoint.adapters)
        }
        if dryRun || explain != nil {
            let plans = try jobs.map {
                try Converter.plan(
                    for: ConversionSource(checkpoint, for: $0.options.target),
                    options: $0.options, countsRounding: true, workers: workers)
            }
            if let explain { return try show(explain, in: plans) }
            let forecasts = try zip(plans, jobs).map { try $1.forecast($0) }
            return try format.show(
                ResultDocument(.convertPlan, forecasts.map(\.json)),
                text: forecasts.map(\.text).joined(separator: "\n\n"),
                markdown: forecasts.map(\.markdown).joined(separator: "\n\n"))
        }

        var outcomes: [ConversionOutcome] = []
        for (options, job) in zip(options, jobs) {
            let progress = ProgressLine("convert \(options.target.rawValue)")
            defer { progress.finish() }
            outcomes.append(
                try target.blaming("output", for: [.cannotCreate]) {
                    try ModelFault.advising(name) {
                        try job.run(workers: workers) { progress.update($0, of: $1) }
                    }
                })
        }
        for outcome in outcomes { outcome.warnOfClipping() }
        try format.show(
            ResultDocument(.convert, outcomes.map(\.json)),
            text: outcomes.map { $0.text(isShort: summary ?? Console.stdoutIsTerminal) }
                .joined(separator: "\n\n"),
            markdown: outcomes.map(\.markdown).joined(separator: "\n\n"))
    }

    /// The model with its adapters. One that cannot run is not worth an archive: binding checks
    /// every name and shape.
    func openChecked(_ path: String, _ name: String) throws -> Checkpoint {
        let checkpoint = try modelOptions.openCheckpoint(path).fusing(
            AdapterArguments.open(lora, option: "--lora"))
        guard !dryRun, explain == nil else { return checkpoint }
        try ModelFault.advising(name) {
            try checkpoint.config().check(source: checkpoint.source, label: path)
        }
        return checkpoint
    }

    func leaveOutTextEncoder(_ adapters: [LoraAdapter]) throws {
        try AdapterArguments.leaveOutTextEncoder(
            adapters, option: "--lora",
            hint: "convert a repository to a directory to add them to its text encoder")
    }

    /// The weights under the names that are asked for.
    private func named(_ checkpoint: Checkpoint) throws -> Checkpoint {
        names == .original ? try checkpoint.underOriginalNames() : checkpoint
    }

    /// The options of every conversion.
    private func options(
        _ path: String, _ project: ProjectFile?
    ) throws -> [Converter.Options] {
        let given = try rule.map { try UserRule($0) } + (rules.map { try RuleFile.read($0) } ?? [])
        let rules = given.isEmpty ? project?.rules ?? [] : given
        return try targets(project).map { target in
            var options = Converter.Options(target: target)
            if container == .safetensors {
                options.container = .safetensors(
                    maximumShardByteCount: maxShardSize?.bytes ?? Self.defaultShardByteCount)
            }
            options.planes16 = planes16
            options.variant = saveVariant
            options.rules = rules
            options.rounding = exact ? .exact : allowRounding ? .any : .negligible
            options.allowsNonFinite = allowNonfinite
            options.scales = scales
            options.level = level
            options.verifyWrite = !noVerifyWrite
            // Outputs that the project file names are the project's own; others need a word.
            options.replaceExisting = replacing.force || (project != nil && output == nil)
            options.tool = "sana-tools \(ToolVersion.number)"
            return options
        }
    }

    /// diffusers' own `max_shard_size`.
    private static let defaultShardByteCount = 10_000_000_000

    /// One conversion: of the whole repository when MODEL is one and a directory is to hold it.
    private func job(
        _ checkpoint: Checkpoint, _ path: String, _ outputs: ConversionOutputs,
        _ options: Converter.Options, _ workers: WorkerPool
    ) throws -> ConversionJob {
        let dtype = options.target.rawValue
        let isWhole = try self.isWhole(path, outputs)
        if isWhole, ModelLocator.isArchive(checkpoint.path) {
            throw UsageError(
                "\(path.printable) keeps its weights in an archive, so it cannot be converted as a whole",
                remedy: "unpack it first with 'sana-tools unpack', or give a file as --output")
        }
        guard isWhole else {
            guard components == nil, component.isEmpty else {
                throw UsageError(
                    "--other-components and --component need a repository as MODEL and a directory as --output",
                    remedy: "give the directory with \(Repository.indexName)")
            }
            var options = options
            let destination = outputs.destination(dtype)
            if case .file = destination, container == .safetensors, maxShardSize == nil {
                options.container = .safetensors(maximumShardByteCount: .max)
            }
            return .weights(checkpoint, destination, options)
        }
        return .repository(
            try ModelFault.advising(path) {
                try RepositoryConverter(
                    Repository(path: path), checkpoint, to: outputs.folder(dtype),
                    treatment: components?.treatment,
                    exceptions: ComponentTreatment.exceptions(component),
                    options: options, workers: workers)
            })
    }

    /// Whether a whole repository is made: where a folder is to hold one, and without --output of
    /// one that has several networks.
    private func isWhole(_ path: String, _ outputs: ConversionOutputs) throws -> Bool {
        guard Repository.exists(path) else { return false }
        guard output == nil else { return outputs.isFolder }
        guard model != nil, modelOptions.subfolder == nil else { return false }
        let repository = try Repository(path: path)
        return repository.components.count { (try? repository.isNetwork($0)) == true } > 1
    }

    func targets(_ project: ProjectFile?) throws -> [ConversionTarget] {
        guard dtype.isEmpty else {
            return dtype.enumerated().filter { !dtype.prefix($0.offset).contains($0.element) }.map(
                \.element)
        }
        guard let project, !project.dtypes.isEmpty else {
            throw UsageError("no --dtype given", remedy: "choose fp16 or int8")
        }
        return project.dtypes.compactMap(ConversionTarget.init)
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
        let lines = decisions.map { "\($0.0.rawValue): \($0.1.explanation)" }
            .joined(separator: "\n")
        try format.show(
            ResultDocument(.convertTensor, decisions.map(\.1.json)), text: lines,
            markdown: Markdown.paragraph(lines))
    }
}
