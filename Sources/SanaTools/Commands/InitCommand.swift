import ArgumentParser
import Foundation
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools init`
struct InitCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init",
        abstract: "Write a sana-tools.yaml for a model.",
        discussion: """
            Inspects MODEL and writes a commented sana-tools.yaml to the current directory, then \
            prints the 'capture' command that records the first golden. An existing file is kept \
            unless --force is given.

            EXAMPLES
              sana-tools init models/my-sana
              sana-tools init org/name@main --force

            EXIT CODES
              0         written
              65 or 66  MODEL cannot be opened
              73        sana-tools.yaml already exists
            """)

    @Argument(
        help: ArgumentHelp(
            "Repository, directory, .safetensors file, NVlabs original (.pth), .dduf pipeline, or org/name.",
            valueName: "model"), completion: .file())
    var model = "."

    @Flag(help: "Replace an existing sana-tools.yaml.")
    var force = false

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var verbosity: VerbosityOptions

    func run() throws {
        guard force || !ProjectFile.name.pathExists else { throw ProjectExistsError() }
        let file = try OutputFile(ProjectFile.name, replaceExisting: force)
        let configuration = try modelOptions.open(model).configJSON
        let goldens = (try? "goldens".folderEntries()) ?? []
        let draft = ProjectDraft(
            model: model, sampleSize: configuration["sample_size"]?.int,
            hasGoldens: goldens.contains { $0.hasSuffix(".safetensors") })
        try draft.text.utf8.withContiguousStorageIfAvailable { try file.write(Array($0)) }
        try file.commit()
        let next =
            draft.hasGoldens
            ? "Next: sana-tools doctor"
            : "Next, with a Python that has torch and diffusers:\n  mkdir -p goldens && \(draft.capture)\nThen: sana-tools nightly"
        try Console.data("wrote \(ProjectFile.name) for \(model.printable)\n\(next)".printableLines)
    }
}

/// A project file that `init` would replace.
private struct ProjectExistsError: DiagnosticError {
    var category: DiagnosticCategory { .cannotCreate }
    var description: String { "\(ProjectFile.name) already exists" }
    var remedy: String? { "edit it, or replace it with --force" }
    var page: HelpPage? { .projectFile }
}
