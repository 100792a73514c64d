import ArgumentParser
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools tune`
struct TuneCommand: TalkingCommand {
    static let configuration = CommandConfiguration(
        commandName: "tune",
        abstract: "Choose which weights become int8 for a small archive within a tolerance.",
        discussion: """
            Rounds one weight at a time to int8 and measures what that does to the model's output, by the byte it \
            saves; then takes the cheapest as long as the output's relative error power ‖a−r‖²/‖r‖², measured \
            with all of them rounded, keeps the tolerance on every reference, and exchanges weights while that \
            makes the archive smaller. --output writes rules that 'convert --rule-file' follows. One forward per \
            weight and reference, and about twice as many again. Sizes are those before compression.

            EXAMPLES
              sana-tools tune path/to/repo --reference goldens --tolerance 1e-4 --output rules.txt
              sana-tools convert path/to/repo --dtype int8 --rule-file rules.txt
              sana-tools tune path/to/repo --reference golden.safetensors --tolerance 1e-3 --format json
            """)

    @Argument(
        help: ArgumentHelp(
            "Repository, folder or .safetensors file with float weights.", valueName: "model"),
        completion: .file())
    var model: String?

    @Option(
        help: ArgumentHelp(
            "Golden file, or a folder of goldens. Repeatable.", valueName: "path"),
        completion: .file())
    var reference: [String] = []

    @Option(
        help: "Largest relative error power of the output (default: sana-tools.yaml, else 1e-3).")
    var tolerance: Double?

    @Option(help: NumericsHelp.text)
    var numerics = Numerics.fp32

    @Option(help: ComputeHelp.text)
    var compute = ComputeMode.standard

    @Option(
        help: ArgumentHelp("Write the rules, one a line.", valueName: "file"), completion: .file())
    var output: String?

    @Flag(help: "Accept goldens that were recorded from other weights.")
    var allowStale = false

    @Flag(help: "Replace an existing output.")
    var force = false

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var talk: TalkOptions

    func validate() throws {
        if let tolerance, !(tolerance > 0 && tolerance.isFinite) {
            throw ValidationError("--tolerance must be a positive number")
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
                remedy: "give --reference FILE, or record one with 'sana-tools capture'")
        }
        if let output { try OutputFile.checkAbsent(output, replaceExisting: force) }
        let opened = try own.blaming("model") { try modelOptions.open(path) }
        guard !opened.isQuantized else {
            throw UsageError(
                "\(path.printable) is quantized already",
                remedy: "tune the checkpoint that it was made from")
        }
        let workers = threads.makePool()
        let goldens = try references.map { try Golden(path: $0) }
        let tolerance = tolerance ?? project?.tolerance ?? 1e-3
        try check(goldens, opened, tolerance, workers)
        let progress = ProgressLine("tune")
        defer { progress.finish() }
        let search = PrecisionSearch(
            model: opened, references: goldens, compute: compute, numerics: numerics,
            workers: workers,
            progress: { progress.update($0, of: $1) })
        let tuning = try Tuning.run(search, tolerance: tolerance)
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
                    .relativePower, strictest: (tolerance, nil), numerics: numerics)
            if let problem = problems.first {
                Console.talk("sana-tools: error: \(golden.path.printable): \(problem.message)")
                throw ExitCode.checkFailed
            }
        }
    }

    private func write(_ tuning: Tuning, _ path: String) throws {
        let header = [
            "# Rules for 'sana-tools convert --dtype int8 --rule-file': the first that matches decides.",
            "# \(tuning.summary.printable)",
        ]
        let file = try OutputFile(path, replaceExisting: force)
        try file.write(Array(((header + tuning.rules).joined(separator: "\n") + "\n").utf8))
        try file.commit()
    }
}
