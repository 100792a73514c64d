import ArgumentParser
import SanaModel
import SanaWorkbench

/// `sana-tools inspect`
struct InspectCommand: TalkingCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show what a checkpoint holds, and what is wrong with it.",
        discussion: """
            Reads headers and configuration only, values with --digest and --stats. Every defect is a problem with a stable id, a place and a remedy, \
            told together with all others; --list-rules shows what is looked for. Exit code 1 when there are errors, with --strict also \
            warnings; 65 and 66 when nothing at all can be inspected. Where a folder has several variants and none is chosen, the plain \
            one is inspected, as diffusers would load it.

            EXAMPLES
              sana-tools inspect path/to/repo
              sana-tools inspect path/to/repo --strict --format json
              sana-tools inspect path/to/repo --stats --strict
              sana-tools inspect Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers --variant bf16
              sana-tools inspect --list-rules
              sana-tools inspect model-int8.safetensors.zst --format json
              sana-tools inspect path/to/repo --digest
              sana-tools inspect Sana_1600M_1024px.pth
              sana-tools inspect original.pth --config config.json
              sana-tools inspect path/to/repo --subfolder controlnet
            """)

    @Argument(
        help: ArgumentHelp(
            "Repository, folder, .safetensors file, archive, NVlabs original (.pth) or .dduf pipeline.",
            valueName: "model"),
        completion: .file())
    var model: String?

    @Flag(
        help: "Read all values: check an archive's hashes, show the digest of the source weights.")
    var digest = false

    @Flag(
        help:
            "Read all values: range, mean, NaN, infinity, what fp16 would change, and a histogram of each tensor."
    )
    var stats = false

    @Flag(
        help:
            "Open every component: bind all tensors of text encoder and autoencoder, read the tokenizer's vocabulary."
    )
    var deep = false

    @Flag(help: "Exit with 1 on warnings, too.")
    var strict = false

    @Flag(help: "Show every rule of the lint, and stop.")
    var listRules = false

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var format: CheckFormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var talk: TalkOptions

    func run() throws {
        if listRules {
            let table = LintRule.textTable
            return try format.show(
                ResultDocument(.inspectRules, LintRule.json), text: table.text,
                markdown: table.markdown,
                github: GitHubReport(
                    Format.counted(LintRule.json.count, "rule"), [],
                    [.init(title: "Rules", isOpen: false, markdown: table.markdown)]))
        }
        let project = model == nil ? try ProjectFile.find() : nil
        guard let name = model ?? project?.model else { throw ProjectFile.noModel }
        let path = try project.blaming("model") { try ModelPath.resolve(name) }
        try modelOptions.check(path)
        var options = Inspection.Options()
        (options.subfolder, options.variant) = (modelOptions.subfolder, modelOptions.variant)
        (options.config, options.digest, options.statistics) = (modelOptions.config, digest, stats)
        (options.weights, options.isDeep) = (modelOptions.weights, deep)
        let progress = ProgressLine("inspect")
        defer { progress.finish() }
        let inspection = try project.blaming("model") {
            try Inspector.run(
                path, label: name, options: options, workers: threads.makePool(),
                progress: { progress.update($0, of: $1) })
        }
        progress.finish()
        try format.show(
            ResultDocument(.inspect, inspection.json), text: inspection.text,
            markdown: inspection.markdown, github: inspection.github)
        if inspection.hasErrors || strict && !inspection.problems.isEmpty {
            throw ExitCode.checkFailed
        }
    }
}
