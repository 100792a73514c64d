import ArgumentParser
import SanaModel

/// `sana-tools inspect`
struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show what a checkpoint holds, and what is wrong with it.",
        discussion: """
            Reads headers and configuration only, values with --digest. Exit code 1 when tensors and configuration contradict each other, \
            65 when a file cannot be read at all.

            EXAMPLES
              sana-tools inspect path/to/repo
              sana-tools inspect model-int8.safetensors.zst --format json
              sana-tools inspect path/to/repo --digest
              sana-tools inspect Sana_1600M_1024px.pth
              sana-tools inspect original.pth --config config.json
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

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption

    func run() throws {
        guard let path = try model ?? ProjectFile.find()?.model else { throw ProjectFile.noModel }
        let inspection = try Inspection.run(
            modelOptions.open(path), path: path, digest: digest, workers: threads.makePool())
        try format.show(
            json: inspection.json, text: inspection.text, markdown: inspection.markdown)
        if inspection.hasErrors { throw ExitCode.checkFailed }
    }
}
