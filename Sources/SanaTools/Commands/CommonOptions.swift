import ArgumentParser
import SanaModel

/// Which MODEL, and which part of it.
struct ModelOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Component of a repository (default: the Sana transformer, else the ControlNet).",
            valueName: "folder"))
    var subfolder: String?

    @Option(help: "Weights variant, such as fp16 (default: the only one there).")
    var variant: String?

    @Option(
        help: ArgumentHelp(
            "config.json of the transformer, for weights that have none or whose shapes do not tell all.",
            valueName: "file"), completion: .file())
    var config: String?

    /// - Throws: `UsageError` when a file is asked for a part, and the errors of
    ///   `OpenedModel.open`.
    func open(_ model: String) throws -> OpenedModel {
        let path = try ModelPath.resolve(model)
        try check(path)
        let opened = try ModelFault.advising(model) {
            try OpenedModel.open(
                path, subfolder: subfolder, variant: variant, config: config)
        }
        return path == model ? opened : opened.labelled(model)
    }

    /// The checkpoint that a MODEL which is no archive names.
    ///
    /// - Throws: as `open`.
    func openCheckpoint(_ model: String) throws -> Checkpoint {
        let path = try ModelPath.resolve(model)
        try check(path)
        return try ModelFault.advising(model) {
            let checkpoint = try Checkpoint.open(
                path, subfolder: subfolder, variant: variant, config: config)
            try checkpoint.checkQuantization()
            return checkpoint
        }
    }

    /// - Throws: `UsageError` when a file is asked for a part, `BadDataError` for a golden, a
    ///   trajectory or a LoRA.
    func check(_ path: String) throws {
        try ForeignModel.refuse(path)
        let isFile = path.pathExists && !path.isFolder
        if isFile, !path.hasSuffix(".dduf"), subfolder != nil || variant != nil {
            throw UsageError(
                "\(path.printable) is a file: --subfolder and --variant choose among a folder's",
                remedy: "leave them out, or give the folder")
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
}

struct FormatOption: ParsableArguments {
    @Option(help: "Format of the results on stdout.")
    var format = OutputFormat.text

    /// Writes a result in the format asked for.
    ///
    /// - Throws: `FileError` when stdout cannot be written.
    func show(
        json: @autoclosure () -> JSONValue, text: @autoclosure () -> String,
        markdown: @autoclosure () -> String
    ) throws {
        switch format {
        case .json: try Console.data(json().text(indent: 2))
        case .text:
            let text = text().printableLines
            try Console.data(Colour.onStdout ? Colour.paintVerdicts(text) : text)
        case .markdown: try Console.data(markdown().printableLines)
        }
    }
}

extension JSONValue {
    /// The one document, or an array of several.
    static func oneOrMany(_ documents: [JSONValue]) -> JSONValue {
        documents.count == 1 ? documents[0] : .array(documents)
    }
}

struct ThreadsOption: ParsableArguments {
    @Option(
        help:
            "Threads of the whole process (default: one per processor that it may use). Results do not depend on it."
    )
    var threads: Int?

    func validate() throws {
        // OpenBLAS has buffers for 64 callers at once.
        if let threads, !(1...64).contains(threads) {
            throw ValidationError("--threads must lie in 1...64")
        }
    }

    func makePool() -> WorkerPool {
        WorkerPool(threadCount: threads ?? min(64, WorkerPool.processorCount))
    }
}

extension Numerics: ExpressibleByArgument {}
extension Compute: ExpressibleByArgument {}

/// What `--numerics` says of itself.
enum NumericsHelp {
    static let text: ArgumentHelp =
        "fp32, or fp16-clip for checkpoints that need attention outputs clipped to ±65504."
}

/// What `--compute` says of itself.
enum ComputeHelp {
    static let text: ArgumentHelp =
        """
        For int8 weights: w8a16 widens them, so that a check tells of the weights alone; w8a8 rounds activations to int8, \
        too, which is faster and can cost more than a tolerance of 1e-3 by itself.
        """
}
