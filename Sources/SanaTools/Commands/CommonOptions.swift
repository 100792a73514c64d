import ArgumentParser
import SanaModel

/// Which MODEL, and which part of it.
struct ModelOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Component of a repository (default: the one that holds a Sana transformer).",
            valueName: "folder"))
    var subfolder: String?

    @Option(help: "Weights variant, such as fp16 (default: the only one there).")
    var variant: String?

    func open(_ path: String) throws -> OpenedModel {
        try OpenedModel.open(path, subfolder: subfolder, variant: variant)
    }
}

/// How results are written to stdout.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json, markdown
}

struct FormatOption: ParsableArguments {
    @Option(help: "Format of the results on stdout.")
    var format = OutputFormat.text
}

struct ThreadsOption: ParsableArguments {
    @Option(help: "Threads of the whole process (default: one per processor). Results do not depend on it.")
    var threads: Int?

    func validate() throws {
        if let threads, !(1...1024).contains(threads) {
            throw ValidationError("--threads must lie in 1...1024")
        }
    }

    func makePool() -> WorkerPool { WorkerPool(threadCount: threads ?? WorkerPool.processorCount) }
}

extension Numerics: ExpressibleByArgument {}
