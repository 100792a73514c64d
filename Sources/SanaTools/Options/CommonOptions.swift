import ArgumentParser
import SanaModel
import SanaWorkbench

/// Which MODEL, and which part of it.
struct ModelOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Component of a repository (default: the Sana transformer, else the ControlNet).",
            valueName: "directory"))
    var subfolder: String?

    @Option(help: "Weights variant, such as fp16 (default: the only one present).")
    var variant: String?

    @Option(
        help: ArgumentHelp(
            "config.json to use, for weights without one or whose shapes are ambiguous.",
            valueName: "file"), completion: .file())
    var config: String?

    @Option(
        help: "Weights to read from a training checkpoint (.pth): model, or ema for the averages.")
    var weights = TrainedWeights.model

    /// - Throws: `UsageError` when a file is asked for a part, and the errors of
    ///   `OpenedModel.open`.
    func open(_ model: String) throws -> OpenedModel {
        let path = try ModelPath.resolve(model)
        try check(path)
        let opened = try ModelFault.advising(model) {
            try OpenedModel.open(
                path, subfolder: subfolder, variant: variant, config: config, trained: weights)
        }
        return path == model ? opened : opened.labelled(model)
    }

    /// The checkpoint that a MODEL names; weights of an archive are unpacked as they are read.
    ///
    /// - Throws: as `open`.
    func openCheckpoint(_ model: String) throws -> Checkpoint {
        let path = try ModelPath.resolve(model)
        try check(path)
        return try ModelFault.advising(model) {
            if try OpenedModel.archivePath(path, subfolder: subfolder) != nil {
                return try OpenedModel.open(path, subfolder: subfolder).checkpoint()
            }
            let checkpoint = try Checkpoint.open(
                path, subfolder: subfolder, variant: variant, config: config, trained: weights)
            for note in checkpoint.notes {
                Console.note("sana-tools: \(path.printable): \(note)")
            }
            return checkpoint
        }
    }

    /// That `--weights` has nothing to choose from.
    var notTraining: UsageError {
        UsageError(
            "--weights \(weights.rawValue) is for a training checkpoint, which is a .pth file",
            remedy: "leave it out, or give the .pth file as MODEL")
    }

    /// - Throws: `UsageError` when a file is asked for a part, `BadDataError` for a golden, a
    ///   trajectory or a LoRA.
    func check(_ path: String) throws {
        try WrongModelFile.refuse(path)
        let isFile = path.pathExists && !path.isFolder
        if isFile, !path.hasSuffix(".dduf"), subfolder != nil || variant != nil {
            throw UsageError(
                "\(path.printable) is a file: --subfolder and --variant apply to directories",
                remedy: "leave them out, or give the directory")
        }
        if weights != .model, !isFile || OpenedFile.isArchive(path) {
            throw notTraining
        }
        if OpenedFile.isArchive(path), config != nil {
            throw UsageError(
                "\(path.printable) is an archive, which holds its own configuration",
                remedy: "leave out --config")
        }
    }
}

/// How results are written to stdout.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json, markdown
    /// JSON as before there was one shape for one result and for many.
    case jsonV1 = "json-v1"

    /// What `--format` says of itself.
    static let help: ArgumentHelp =
        "Format of the results on stdout. json-v1 is the JSON of release 0.1, kept for one more release."

    /// Writes a result in this format.
    ///
    /// - Throws: `FileError` when stdout cannot be written.
    func show(
        _ document: @autoclosure () -> ResultDocument, text: @autoclosure () -> String,
        markdown: @autoclosure () -> String
    ) throws {
        switch self {
        case .json: try Console.data(document().json.text(indent: 2))
        case .jsonV1: try Console.data(document().version1.text(indent: 2))
        case .text:
            let text = text().printableLines
            try Console.data(Colour.onStdout ? Colour.paintVerdicts(text) : text)
        case .markdown: try Console.data(markdown().printableLines)
        }
    }
}

struct FormatOption: ParsableArguments {
    @Option(help: OutputFormat.help)
    var format = OutputFormat.text

    /// Writes a result in the format asked for.
    ///
    /// - Throws: `FileError` when stdout cannot be written.
    func show(
        _ document: @autoclosure () -> ResultDocument, text: @autoclosure () -> String,
        markdown: @autoclosure () -> String
    ) throws {
        try format.show(document(), text: text(), markdown: markdown())
    }
}

/// How the results of checks are written to stdout.
enum CheckFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json, markdown, github
    case jsonV1 = "json-v1"

    static let help: ArgumentHelp =
        "Format of the results on stdout. github prints GitHub Actions annotations and appends to the step summary; json-v1 is the JSON of release 0.1, kept for one more release."
}

struct CheckFormatOption: ParsableArguments {
    @Option(help: CheckFormat.help)
    var format = CheckFormat.text

    /// Writes a result in the format asked for.
    ///
    /// - Throws: `FileError` when stdout cannot be written.
    func show(
        _ document: @autoclosure () -> ResultDocument, text: @autoclosure () -> String,
        markdown: @autoclosure () -> String, github: @autoclosure () -> GitHubReport
    ) throws {
        guard let plain = OutputFormat(rawValue: format.rawValue) else {
            let report = github()
            try Console.data(report.text)
            return try report.summary.append()
        }
        try plain.show(document(), text: text(), markdown: markdown())
    }
}

struct ThreadsOption: ParsableArguments {
    @Option(
        help:
            "Number of threads (default: one per CPU available to the process). Does not affect results."
    )
    var threads: Int?

    @Option(
        help: ArgumentHelp(
            "Kernel set, as listed by 'sana-tools kernels' (default: the fastest). Does not affect results.",
            valueName: "name"))
    var kernels: String?

    func validate() throws {
        if let kernels, !Arithmetic.available.contains(kernels) {
            throw ValidationError(
                "--kernels must be one of \(Arithmetic.available.joined(separator: ", ")) on this CPU"
            )
        }
        // OpenBLAS has buffers for 64 callers at once.
        if let threads, !(1...64).contains(threads) {
            throw ValidationError("--threads must be in 1...64")
        }
    }

    func makePool() -> WorkerPool {
        if let kernels { _ = Arithmetic.choose(kernels) }
        return WorkerPool(threadCount: threads ?? min(64, WorkerPool.processorCount))
    }
}

struct TileOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Run the autoencoder in tiles, as diffusers' enable_tiling does: size and stride in pixels, such as 512x448.",
            valueName: "sizexstride"), transform: TileSize.init(checking:))
    var tile: TileSize?
}

extension TrainedWeights: ExpressibleByArgument {}
extension Numerics: ExpressibleByArgument {}

extension ComputeMode: ExpressibleByArgument {
    /// Old names, by which records call them, are understood, too.
    public init?(argument: String) {
        let mode = Self.allCases.first { argument == $0.rawValue || argument == $0.oldName }
        guard let mode else { return nil }
        self = mode
    }
}
