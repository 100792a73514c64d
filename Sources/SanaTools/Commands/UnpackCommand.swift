import ArgumentParser
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools unpack`
struct UnpackCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unpack",
        abstract: "Restore the safetensors file of an archive, byte for byte.",
        discussion: """
            If --output is a directory, it gets diffusion_pytorch_model.safetensors and \
            config.json, which diffusers' from_pretrained loads, including int8 (with the sdnq \
            package installed).

            EXAMPLES
              sana-tools unpack model-int8.safetensors.zst --output model-int8
              sana-tools unpack model-fp16.safetensors.zst --output m.safetensors
            """)

    @Argument(
        help: ArgumentHelp(
            "Archive (.safetensors.zst), or a repository with its weights in one.",
            valueName: "archive"), completion: .file())
    var archive: String

    @Option(
        help: ArgumentHelp(
            "Directory or .safetensors file to write (default: the archive's name without .safetensors.zst).",
            valueName: "path"), completion: .file())
    var output: String?

    @Flag(help: "Replace existing outputs.")
    var force = false

    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var verbosity: VerbosityOptions

    func run() throws {
        let path = try ModelPath.resolve(archive)
        let found = try OpenedModel.archivePath(path)
        guard found != nil || !path.isFolder else {
            throw BadDataError(
                file: path,
                reason: "no \(WeightFiles.stem)\(ArchiveName.suffix) in this directory, the file "
                    + "that 'convert' writes for a repository",
                remedy: "give the .safetensors.zst file itself")
        }
        let opened = try ModelFault.advising(archive) {
            try OpenedFile.archive(found ?? path)
        }
        let name = ModelPath.stem(archive).lastPathComponent
        let target =
            output
            ?? (name.hasSuffix(ArchiveName.suffix)
                ? String(name.dropLast(ArchiveName.suffix.count)) : name + ".unpacked")
        let start = ContinuousClock.now
        let progress = ProgressLine("unpack")
        defer { progress.finish() }
        let files = try opened.unpack(
            to: target, replaceExisting: force, workers: threads.makePool(),
            progress: { progress.update($0, of: $1) })
        progress.finish()
        let seconds = (ContinuousClock.now - start).inSeconds
        try format.show(
            ResultDocument(
                .unpack,
                .fields([
                    "archive": .string(archive), "files": .array(files.map { .string($0) }),
                    "bytes_in": .int(opened.byteCount), "bytes_out": .int(opened.restoredByteCount),
                    "seconds": .double(seconds),
                ])), text: files.map(\.printable).joined(separator: "\n"),
            markdown: files.map { "* " + Markdown.code($0) }.joined(separator: "\n"))
    }
}
