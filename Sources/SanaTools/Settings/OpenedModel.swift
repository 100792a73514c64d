import SanaModel
import SanaQuant

/// A MODEL as a command was given it: a repository, a component folder, a safetensors file or an
/// archive.
struct OpenedModel: Sendable {
    /// The path as given, for messages and records.
    let label: String
    let configJSON: JSONValue
    let config: SanaConfig
    let source: any TensorSource
    let kind: Kind

    enum Kind: Sendable {
        case checkpoint(Checkpoint)
        case archive(Archive)
    }

    /// - Parameters:
    ///   - subfolder, variant: see `Checkpoint.open`; without meaning for an archive.
    /// - Throws: the errors of `Checkpoint.open` and `Archive.init`.
    static func open(
        _ path: String, subfolder: String? = nil, variant: String? = nil
    ) throws -> OpenedModel {
        if OpenedFile.isArchive(path) {
            let archive = try Archive(path: path)
            let beside = path.parentFolder.appendingPath("config.json")
            let json: JSONValue
            if let manifest = archive.manifest {
                json = manifest.config
            } else if beside.pathExists {
                json = try JSONFile.read(beside)
            } else {
                throw BadDataError(
                    file: path,
                    reason: "archive has no manifest, and no config.json lies beside it",
                    remedy: "put the model's config.json into the same folder")
            }
            return OpenedModel(
                label: path, configJSON: json, config: try SanaConfig(json: json, file: path),
                source: archive, kind: .archive(archive))
        }
        let checkpoint = try Checkpoint.open(path, subfolder: subfolder, variant: variant)
        return OpenedModel(
            label: path, configJSON: checkpoint.configJSON, config: try checkpoint.config(),
            source: checkpoint.source, kind: .checkpoint(checkpoint))
    }

    /// Whether any weight is int8.
    var isQuantized: Bool { source.tensors.contains { $0.dtype == .i8 } }

    /// The digest of the weights that the model came from: an archive's manifest carries that of
    /// its source.
    func sourceDigest(workers: WorkerPool) throws -> String {
        if case .archive(let archive) = kind, let manifest = archive.manifest {
            return manifest.weightsDigest
        }
        return try WeightsDigest.compute(source, workers: workers)
    }

    /// The types of the weights, the one that holds most bytes first: `BF16`, `I8+BF16+F32`.
    var dtypes: String {
        let sizes = Dictionary(grouping: source.tensors, by: \.dtype.rawValue)
            .mapValues { $0.reduce(0) { $0 + $1.byteCount } }
        return sizes.sorted { ($0.value, $0.key) > ($1.value, $1.key) }.map(\.key)
            .joined(separator: "+")
    }

    /// Binds the weights; what is compressed is decoded.
    ///
    /// - Throws: `BindingError`, or an error of decoding.
    func load(workers: WorkerPool) throws -> LoadedModel {
        let digest = try sourceDigest(workers: workers)
        let resident = try source.resident(using: workers)
        return LoadedModel(
            label: label, isQuantized: isQuantized, dtype: dtypes,
            sourceDigest: digest,
            transformer: try SanaTransformer2DModel(config, source: resident, label: label))
    }
}

/// A model that can run, and what records need to say of it.
struct LoadedModel: Sendable {
    let label: String
    let isQuantized: Bool
    /// See `OpenedModel.dtypes`.
    let dtype: String
    /// See `OpenedModel.sourceDigest`.
    let sourceDigest: String
    let transformer: SanaTransformer2DModel

    /// How weights meet activations: `fp32`, or `w8a16` where int8 weights are dequantized into
    /// fp32 products.
    var compute: String { isQuantized ? "w8a16" : "fp32" }
}

/// Opening files that may be plain safetensors or archives.
enum OpenedFile {
    /// Whether a path names an archive.
    static func isArchive(_ path: String) -> Bool { path.hasSuffix(".zst") }

    /// The tensors and the metadata of a file.
    static func open(_ path: String) throws -> (any TensorSource, [String: String]) {
        if isArchive(path) {
            let archive = try Archive(path: path)
            return (archive, metadata(archive.header))
        }
        let file = try SafetensorsFile(path: path)
        return (file, metadata(file.header))
    }

    private static func metadata(_ header: SafetensorsHeader) -> [String: String] {
        Dictionary(header.metadata.map { ($0.key, $0.value) }) { first, _ in first }
    }
}
