import ArgumentParser
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools diff`
struct DiffCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Compare two checkpoints tensor by tensor.",
        discussion: """
            Compares any two repositories, directories, .safetensors files, NVlabs originals, \
            .dduf pipelines or archives. Values are compared as numbers, whatever their types: \
            16-bit floats are widened, and int8 weights are multiplied by their scales. SECOND is \
            the reference for relative errors. The largest error is listed first.

            Exits with 1 if a tensor is missing, has a different shape, or differs by more than \
            --tolerance in relative RMS.

            EXAMPLES
              sana-tools diff path/to/repo model-fp16.safetensors.zst
              sana-tools diff model-int8.safetensors.zst path/to/repo --tolerance 2e-2
              sana-tools diff old.safetensors new.safetensors --all --format json
            """)

    @Argument(help: "Repository, directory, .safetensors file or archive.", completion: .file())
    var first: String

    @Argument(help: "Checkpoint to compare with.", completion: .file())
    var second: String

    @Option(help: "Maximum relative RMS error ‖a−r‖/‖r‖ of a tensor.")
    var tolerance = 0.0

    @Flag(help: "Also show tensors with equal values.")
    var all = false

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var verbosity: VerbosityOptions

    func validate() throws {
        guard tolerance >= 0, tolerance.isFinite else {
            throw ValidationError("--tolerance must be a non-negative number")
        }
    }

    func run() throws {
        guard modelOptions.weights == .model || [first, second].contains(where: isTraining) else {
            throw modelOptions.notTraining
        }
        let progress = ProgressLine("diff")
        defer { progress.finish() }
        let diff = try CheckpointDiff.run(
            (first, open(first)), (second, open(second)), tolerance: tolerance,
            workers: threads.makePool(), progress: { progress.update($0, of: $1) })
        progress.finish()
        try format.show(
            ResultDocument(.diff, diff.json), text: diff.text(all: all),
            markdown: diff.markdown(all: all))
        guard diff.passes else { throw ExitCode.checkFailed }
    }

    /// Whether `--weights` is about `path`; the other model may have no averages.
    private func isTraining(_ path: String) -> Bool {
        ModelLocator.isTorchFile(path) && !path.isFolder
    }

    /// The tensors at `path`; a file can be compared without its configuration.
    private func open(_ path: String) throws -> any TensorSource {
        let resolved = try ModelPath.resolve(path)
        var options = modelOptions
        if !isTraining(path) { options.weights = .model }
        guard !resolved.isFolder else { return try options.open(path).source }
        return try ModelFault.advising(path) {
            OpenedFile.isArchive(resolved)
                ? try OpenedFile.archive(resolved)
                : try Checkpoint.weights(
                    inFile: resolved, config: options.config, trained: options.weights)
        }
    }
}
