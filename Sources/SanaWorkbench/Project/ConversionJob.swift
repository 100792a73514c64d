import Foundation
import SanaModel
import SanaQuant

/// One conversion of a model to one type: to an archive, a component's directory or a repository.
package enum ConversionJob {
    case weights(Checkpoint, Destination, Converter.Options)
    case repository(RepositoryConverter)

    /// Converts; directories that the destination needs are made.
    package func run(
        workers: WorkerPool, progress: @escaping (Int, Int) -> Void
    ) throws -> ConversionOutcome {
        let folders = PendingFolders()
        switch self {
        case .weights(let checkpoint, let destination, let options):
            switch destination {
            case .file(let path): try folders.create(path.parentFolder)
            case .folder(let path): try folders.create(path)
            }
            let result = try Converter.convert(
                ConversionSource(checkpoint, for: options.target), to: destination,
                options: options, workers: workers, progress: progress)
            folders.keep()
            return ConversionOutcome(result: result, repository: nil, components: [:])
        case .repository(let converter):
            try folders.create(converter.output.parentFolder)
            let (result, components) = try converter.convert(progress: progress)
            folders.keep()
            return ConversionOutcome(
                result: result, repository: converter, components: components)
        }
    }
}

extension ConversionJob {
    /// Whether adapters are added to the text encoder, too.
    package var adaptsTextEncoder: Bool {
        guard case .repository(let converter) = self else { return false }
        return !converter.textEncoderAdapters.isEmpty
    }

    /// How the model itself is converted.
    package var options: Converter.Options {
        switch self {
        case .weights(_, _, let options): options
        case .repository(let converter): converter.mainOptions
        }
    }

    /// What the job would do, the plan of its weights being known.
    package func forecast(_ plan: ConversionPlan) throws -> ConversionForecast {
        guard case .repository(let converter) = self else {
            return ConversionForecast(plan: plan, repository: nil)
        }
        return ConversionForecast(
            plan: plan, repository: (converter.transformer, try converter.componentPlans()))
    }
}

/// What a job did.
package struct ConversionOutcome {
    package let result: ConversionResult
    /// The conversion of the whole repository, where it was one.
    package let repository: RepositoryConverter?
    /// What became of the files of converted components.
    package let components: [String: [ConversionResult]]

    /// Warns of float values that became the largest number of their new type. int8 clips where its
    /// scales are chosen so.
    package func warnOfClipping() {
        let tensors = ([result] + components.values.flatMap { $0 }).flatMap(\.tensors)
        let clipped = tensors.filter { $0.to.isFloatWeight && $0.statistics.clipped > 0 }
        guard let first = clipped.first else { return }
        let count = clipped.reduce(0) { $0 + $1.statistics.clipped }
        let others = clipped.count > 1 ? " and \(clipped.count - 1) more" : ""
        Notices.warn(
            (count == 1 ? "1 value exceeds" : "\(count) values exceed")
                + " the range of \(first.to.rawValue) and \(count == 1 ? "was" : "were") clipped, in "
                + "\(first.name.printable)\(others)")
    }
}

/// Where the conversions of one model go.
package struct ConversionOutputs {
    /// The model as the user named it.
    package let model: String
    /// `--output`, or the project's.
    package let output: String?
    package let container: Container
    /// Whether the types are several, so that each needs a name of its own.
    package let isSeveral: Bool

    package init(model: String, output: String?, container: Container, isSeveral: Bool) {
        (self.model, self.output, self.container) = (model, output, container)
        self.isSeveral = isSeveral
    }

    /// Whether `output` names one file.
    private var isFile: Bool {
        [ArchiveName.suffix, ".safetensors"].contains { output?.hasSuffix($0) ?? false }
    }

    /// Endings that nobody gives a directory.
    private static let fileSuffixes: Set<String> = [
        "bin", "ckpt", "csv", "dduf", "gguf", "gz", "h5", "json", "log", "md", "msgpack", "npy",
        "npz", "onnx", "pkl", "pt", "pth", "safetensor", "tar", "txt", "xz", "yaml", "yml", "zip",
    ]

    /// - Throws: `UsageError` when `output` does not fit the container or the number of types.
    package func check() throws {
        guard let output else { return }
        let isArchive = container == .archive
        if output.hasSuffix(ArchiveName.suffix) && !isArchive
            || output.hasSuffix(".safetensors") && isArchive
            || output.hasSuffix(".zst") && !output.hasSuffix(ArchiveName.suffix)
        {
            let suffix = isArchive ? ArchiveName.suffix : ".safetensors"
            throw UsageError(
                "--output \(output.printable) is neither a directory nor a \(suffix) file",
                remedy: "name the file …\(suffix), or choose --container")
        }
        let suffix = output.lastPathComponent.split(separator: ".").dropFirst().last
        if !isFile, !output.isFolder, !output.hasSuffix("/"),
            Self.fileSuffixes.contains(suffix?.lowercased() ?? "")
        {
            throw UsageError(
                "--output \(output.printable) looks like a file but would be a directory",
                remedy:
                    "name the file …\(isArchive ? ArchiveName.suffix : ".safetensors"), or end the directory's name with /"
            )
        }
        guard !isFile || !isSeveral else {
            throw UsageError(
                "several types cannot be written to the single file \(output.printable)",
                remedy: "give a directory as --output")
        }
    }

    /// Where the weights in the type `dtype` go when no whole repository is asked for.
    package func destination(_ dtype: String) -> Destination {
        if let output, isFile { return .file(output) }
        switch container {
        case .archive:
            return .file(ArchiveName.path(model: model, dtype: dtype, output: output))
        case .safetensors:
            return .folder(folder(dtype))
        }
    }

    /// The directory of what is made in the type `dtype`: `output` itself when there is one type.
    package func folder(_ dtype: String) -> String {
        if let output, !isSeveral { return output }
        let path = ArchiveName.path(model: model, dtype: dtype, output: output)
        return String(path.dropLast(ArchiveName.suffix.count))
    }

    /// Whether a directory was named, which a repository can go to.
    package var isFolder: Bool { output != nil && !isFile }
}
