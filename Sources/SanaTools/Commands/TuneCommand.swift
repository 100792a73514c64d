import ArgumentParser
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools tune`
struct TuneCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tune",
        abstract: "Choose which weights to quantize to int8 within an error tolerance.",
        discussion: """
            Rounds one weight at a time to int8 and measures the output error that this adds per \
            byte saved. Then takes the cheapest weights as long as the output's relative error \
            power ‖a−r‖²/‖r‖², measured with all of them rounded, stays within the tolerance on \
            every reference, and swaps weights while that makes the archive smaller. --output \
            writes rules for 'convert --rule-file'. Needs one forward per weight and reference, \
            and about twice as many again. Sizes are before compression.

            With a recorded pipeline as reference, MODEL is a repository, and blocks of all its \
            networks are chosen by the image: the PSNR of the sampled images stays at or above \
            --psnr. 'convert --rule-file' then converts the repository.

            EXAMPLES
              sana-tools tune repo --reference goldens --tolerance 1e-4 --output rules
              sana-tools convert repo --dtype int8 --rule-file rules
              sana-tools tune repo --reference golden.safetensors --format json
              sana-tools tune repo --reference pipeline.safetensors --psnr 35 \\
                --output rules
            """)

    @Argument(
        help: ArgumentHelp(
            "Repository, directory or .safetensors file with float weights.", valueName: "model"),
        completion: .file())
    var model: String?

    @Option(
        help: ArgumentHelp(
            "Golden, or a directory of goldens; or recorded pipelines. Repeatable.",
            valueName: "path"),
        completion: .file())
    var reference: [String] = []

    @Option(
        help: "Maximum relative error power of the output (default: sana-tools.yaml, else 1e-3).")
    var tolerance: Double?

    @Option(
        help: ArgumentHelp(
            "Minimum PSNR of the images, with recorded pipelines (default: 30).",
            valueName: "dB"))
    var psnr: Double?

    @OptionGroup var arithmetic: ArithmeticOptions

    @Option(
        help: ArgumentHelp("File to write the rules to, one per line.", valueName: "file"),
        completion: .file())
    var output: String?

    @Flag(help: "Accept goldens recorded from other weights.")
    var allowStale = false

    @OptionGroup var replacing: ReplaceOption

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var verbosity: VerbosityOptions

    func validate() throws {
        if let tolerance, !(tolerance > 0 && tolerance.isFinite) {
            throw ValidationError("--tolerance must be a positive number")
        }
        if let psnr, !(psnr > 0 && psnr < 200) {
            throw ValidationError("--psnr must be between 0 and 200 dB")
        }
    }

    func run() throws {
        let project = try ProjectFile.find()
        guard let path = model ?? project?.model else { throw ProjectFile.noModel }
        let own = model == nil ? project : nil
        let references =
            reference.isEmpty
            ? try own.blaming("references") { try Reference.expand(own?.references ?? []) }
            : try Reference.expand(reference)
        guard !references.isEmpty else {
            throw UsageError(
                "no reference to compare with",
                remedy: "give --reference FILE, or record one with 'sana-tools capture'",
                page: .capture)
        }
        if let output { try OutputFile.checkAbsent(output, replaceExisting: replacing.force) }
        let kinds = references.map { VerificationBatch.Reference($0) }
        let arePipelines = kinds.map { if case .pipeline = $0 { true } else { false } }
        guard Set(arePipelines).count == 1 else {
            throw UsageError(
                "references are goldens of a network and recorded pipelines",
                remedy: "tune with only one of these kinds")
        }
        let (subject, limit) =
            try arePipelines[0]
            ? pictures(path, own, references) : forwards(path, own, references, project)
        let progress = ProgressLine("tune")
        defer { progress.finish() }
        var search = PrecisionSearch(
            subject: subject, compute: arithmetic.compute, progress: { progress.update($0, of: $1) }
        )
        if arePipelines[0] { search.exchanges = Self.exchangesOfPictures }
        let tuning = try Tuning.run(search, tolerance: limit)
        progress.finish()
        if let output, tuning.chosen != nil { try write(tuning, output) }
        try format.show(
            ResultDocument(.tune, tuning.json),
            text: tuning.tables.map { "\($0.title)\n\n\($0.table.text)\n\n" }.joined()
                + tuning.summary,
            markdown: tuning.tables.map {
                "### \(Markdown.inline($0.title))\n\n\($0.table.markdown)\n\n"
            }.joined()
                + Markdown.paragraph(tuning.summary))
        if tuning.chosen == nil { throw ExitCode.checkFailed }
    }

    /// A picture takes a whole sampling.
    private static let exchangesOfPictures = 8

    private func forwards(
        _ path: String, _ own: ProjectFile?, _ references: [String], _ project: ProjectFile?
    ) throws -> (any PrecisionSubject, limit: Double) {
        guard psnr == nil else {
            throw UsageError(
                "--psnr is for recorded pipelines",
                remedy: "give --tolerance, or such a --reference")
        }
        let opened = try own.blaming("model") { try modelOptions.open(path) }
        try requireFloat(opened, path)
        let workers = threads.makePool()
        let goldens = try references.map { try Golden(path: $0) }
        let tolerance = tolerance ?? project?.tolerance ?? 1e-3
        try check(goldens, opened, tolerance, workers)
        let subject = ForwardPrecision(
            model: opened, goldens: goldens, compute: arithmetic.compute,
            numerics: arithmetic.numerics,
            workers: workers)
        return (subject, tolerance)
    }

    private func pictures(
        _ path: String, _ own: ProjectFile?, _ references: [String]
    ) throws -> (any PrecisionSubject, limit: Double) {
        guard tolerance == nil, modelOptions.subfolder == nil else {
            throw UsageError(
                "--tolerance and --subfolder are for goldens of a network",
                remedy: "give --psnr")
        }
        let workers = threads.makePool()
        let source = try own.blaming("model") {
            try OpenedPipeline(path, variant: modelOptions.variant, workers: workers)
        }
        let goldens = try references.map { try PipelineGolden(path: $0) }
        for component in source.pipeline.components where component.isNetwork {
            try requireFloat(source.opened(component), component.rawValue)
        }
        for golden in goldens {
            guard golden.pipeline == source.pipeline else {
                throw BadDataError(
                    file: golden.path,
                    reason: "is of a \(golden.pipeline.rawValue), but MODEL is a "
                        + source.pipeline.rawValue)
            }
            guard allowStale || golden.computeDType == "float32" else {
                throw BadDataError(
                    file: golden.path,
                    reason: "was computed in \(golden.computeDType.printable)",
                    remedy: "record it in float32")
            }
            if !allowStale, let change = try source.changes(since: golden).first {
                Console.message(
                    "sana-tools: error: \(golden.path.printable): \(change.problem.message)")
                throw ExitCode.checkFailed
            }
        }
        let context = ForwardContext(
            workers: workers, numerics: arithmetic.numerics, compute: arithmetic.compute)
        try Arithmetic.prepare(for: workers)
        return (
            try PicturePrecision(source, goldens, context), PrecisionMeasure.power(psnr ?? 30)
        )
    }

    private func requireFloat(_ model: OpenedModel, _ name: String) throws {
        guard !model.hasInt8 else {
            throw UsageError(
                "\(name.printable) is already quantized",
                remedy: "tune the checkpoint that it was made from")
        }
    }

    /// Refuses goldens of other weights, and those that cannot tell what the tolerance asks.
    private func check(
        _ goldens: [Golden], _ model: OpenedModel, _ tolerance: Double, _ workers: WorkerPool
    ) throws {
        let digest = try model.sourceDigest(workers: workers)
        for golden in goldens {
            let provenance = golden.provenance
            let problems =
                (allowStale ? [] : provenance.staleness(digest, isConverted: false))
                + provenance.precisionProblems(
                    .relativePower, strictest: (tolerance, nil), numerics: arithmetic.numerics)
            if let problem = problems.first {
                Console.message("sana-tools: error: \(golden.path.printable): \(problem.message)")
                throw ExitCode.checkFailed
            }
        }
    }

    private func write(_ tuning: Tuning, _ path: String) throws {
        let header = [
            "# Rules for 'sana-tools convert --dtype int8 --rule-file': the first that matches decides.",
            "# \(tuning.summary.printable)",
        ]
        let file = try OutputFile(path, replaceExisting: replacing.force)
        try file.write(Array(((header + tuning.rules).joined(separator: "\n") + "\n").utf8))
        try file.commit()
    }
}
