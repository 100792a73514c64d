import ArgumentParser
import SanaModel
import SanaWorkbench

/// `sana-tools inspect`
struct InspectCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show the contents of a checkpoint and report its defects.",
        discussion: """
            Reads only headers and configuration; --digest and --stats also read the values. All \
            defects are reported together, each with a stable id, a location and a hint; \
            --list-rules lists the rules. Exits with 1 on errors (with --strict, also on \
            warnings), and with 65 or 66 if nothing can be inspected. If a directory has several \
            variants and none is chosen, the plain one is inspected, as diffusers would load it.

            EXAMPLES
              sana-tools inspect path/to/repo
              sana-tools inspect path/to/repo --strict --format json
              sana-tools inspect path/to/repo --stats --strict
              sana-tools inspect org/name --variant bf16
              sana-tools inspect --list-rules
              sana-tools inspect model-int8.safetensors.zst --format json
              sana-tools inspect path/to/repo --digest
              sana-tools inspect Sana_1600M_1024px.pth
              sana-tools inspect original.pth --config config.json
              sana-tools inspect path/to/repo --subfolder controlnet
            """)

    @Argument(
        help: ArgumentHelp(
            "Repository, directory, .safetensors file, archive, NVlabs original (.pth) or .dduf pipeline.",
            valueName: "model"),
        completion: .file())
    var model: String?

    @Flag(
        help: "Read all values: check an archive's hashes and show the source weights' digest.")
    var digest = false

    @Flag(
        help:
            "Read all values: show each tensor's range, mean, NaN, infinity, fp16 changes and histogram."
    )
    var stats = false

    @Flag(
        help:
            "Open every component: bind all tensors of the text encoder and autoencoder, read the tokenizer's vocabulary."
    )
    var deep = false

    @Flag(help: "Also exit with 1 on warnings.")
    var strict = false

    @Flag(help: "List all lint rules and exit.")
    var listRules = false

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var format: CheckFormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var verbosity: VerbosityOptions

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
