import Libc

/// A network of a Sana pipeline on disk: its configuration and its weights.
public struct Checkpoint: Sendable {
    /// Whose names the stored tensors have.
    public enum Layout: String, Sendable {
        case diffusers
        /// NVlabs' own, see `OriginalNames`; `source` has diffusers' names all the same.
        case original
    }

    /// The component directory or file it was opened from.
    public let path: String
    /// `config.json` as written, but for how weights are quantized that are decoded here; of an
    /// original checkpoint what its shapes tell.
    public internal(set) var configJSON: JSONValue
    /// Tensors under diffusers' names, adapters added.
    public internal(set) var source: any TensorSource
    /// The variant that was chosen, such as `fp16`.
    public let variant: String?
    /// Files that hold the weights, in order.
    public let files: [StoredFile]
    public let layout: Layout
    /// Adapters that `source` has in its weights, in the order they were added.
    public internal(set) var adapters: [LoraAdapter] = []
    /// Whether `source` has been given NVlabs' names, to be written so.
    public private(set) var hasOriginalNames = false
    /// Notes on how the files were read, for people.
    public let notes: [String]
    /// Where `configJSON` is from, for messages.
    private let configPath: String

    /// Opens a repository, a component folder, or a file: `.safetensors`, one of torch.save, or a
    /// DDUF pipeline.
    ///
    /// - Parameters:
    ///   - subfolder: component of a repository; by default the main one, see
    ///     `NetworkClass.mainComponent`.
    ///   - variant: see `WeightFiles.choose(variant:in:)`.
    ///   - config: a `config.json` in place of the one that belongs to the model.
    ///   - trained: which weights of a training checkpoint.
    /// - Throws: `FileError`, `BadDataError`, `SafetensorsError`, `QuantizationError`.
    public static func open(
        _ path: String, subfolder: String? = nil, variant: String? = nil, config: String? = nil,
        trained: TrainedWeights = .model
    ) throws -> Checkpoint {
        guard path.pathExists else { throw FileError(.open, path, code: ENOENT) }
        guard path.isFolder else {
            return try Checkpoint(
                content: ByteView(mapping: path), path: path, subfolder: subfolder,
                variant: variant, config: config, trained: trained)
        }
        let folder = try componentFolder(path, subfolder: subfolder)
        let index = path.appendingPath(Self.indexName)
        let configPath = config ?? folder.appendingPath("config.json")
        // The configuration says what its weights are called.
        let json = configPath.pathExists ? try JSONFile.read(configPath) : nil
        let weights = try WeightFiles.choose(
            variant: variant, in: folder, stem: NetworkClass.stem(beside: json),
            foundBy: folder == path || subfolder != nil ? nil : index)
        return try Checkpoint(folder: folder, weights: weights, config: (json, configPath))
    }

    init(
        path: String, config: (json: JSONValue, path: String), source: any TensorSource,
        variant: String? = nil, files: [StoredFile], layout: Layout = .diffusers,
        notes: [String] = []
    ) throws {
        (self.path, self.variant, self.notes) = (path, variant, notes)
        (configPath, self.files, self.layout) = (config.path, files, layout)
        // Weights under original names are decoded before they are taken apart.
        guard layout == .diffusers else {
            (configJSON, self.source) = (config.json, source)
            return
        }
        try QuantizationCheck.require(config: config.json, tensors: source.tensors, file: path)
        self.source = try LogicalTensors.read(source, config: config.json, file: path)
        let isDecoded = self.source.computesValues && !source.computesValues
        configJSON = isDecoded ? config.json.removing(QuantizationCheck.key) : config.json
    }

    /// Weights that a reader of its own unpacks, as those of an archive.
    ///
    /// - Parameters:
    ///   - content: the whole file.
    ///   - path: its name, for messages.
    /// - Throws: `BadDataError`, `QuantizationError`, errors of the source.
    public init(
        unpacking source: any TensorSource, content: ByteView, path: String, config: JSONValue
    ) throws {
        let file = StoredFile(
            path: path, diskPath: path, tensors: source.tensors, fileBytes: content)
        try self.init(path: path, config: (config, path), source: source, files: [file])
    }

    /// The list of a repository's components.
    public static let indexName = "model_index.json"

    /// The folder of the main component in `path`, which is a repository or that folder itself.
    ///
    /// - Throws: `BadDataError`, `FileError`.
    public static func componentFolder(_ path: String, subfolder: String? = nil) throws -> String {
        if let subfolder {
            let folder = path.appendingPath(subfolder)
            guard folder.isFolder else { throw FileError(.open, folder, code: ENOENT) }
            return folder
        }
        let index = path.appendingPath(indexName)
        guard index.pathExists else { return path }
        let name = try transformerName(
            in: JSONFile.read(index, allowsNonFinite: true), file: index)
        let folder = path.appendingPath(name)
        guard folder.isFolder else {
            throw BadDataError(
                file: index, reason: "component '\(name.printable)' is absent",
                remedy: "download the directory \(name.printable)/ of the repository")
        }
        return folder
    }

    /// The main component of a `model_index.json`.
    static func transformerName(in index: JSONValue, file: String) throws -> String {
        let components = (index.members ?? []).compactMap { member in
            member.value.array?.last?.string.map { (name: member.key, className: $0) }
        }
        guard
            let name = NetworkClass.mainComponent(
                components.filter { ShardSet.isBareFileName($0.name) })
        else {
            throw BadDataError(
                file: file, reason: "no component is a \(NetworkClass.all[0].name)",
                remedy: "choose a component with --subfolder")
        }
        return name
    }

    /// - Parameter config: what the file of the configuration holds; `nil` where it is absent.
    private init(
        folder: String, weights: WeightFiles, config: (json: JSONValue?, path: String)
    ) throws {
        let file = folder.appendingPath(weights.name)
        let (source, files) = try weights.open(in: folder) { name in
            let path = folder.appendingPath(name)
            let content = try ByteView(mapping: path)
            try UnfinishedDownload.check(path)
            return content
        }
        try Self.checkNotEmpty(source, file: file)
        let tails = try files.compactMap(ZeroTail.check)
        // What cannot be read with any configuration is told before that there is none.
        if config.json == nil {
            try QuantizationCheck.require(config: nil, tensors: source.tensors, file: folder)
        }
        let json = try QuantizationCheck.described(
            config.json ?? JSONFile.read(config.path), by: source.metadata, of: weights, file: file)
        let (unwrapped, note) = try LogicalTensors.unwrapped(source, file: file)
        try self.init(
            path: folder, config: (json, config.path), source: unwrapped,
            variant: weights.variant, files: files.map { StoredFile($0) },
            notes: tails + (note.map { [$0] } ?? []))
    }

    /// - Throws: `BadDataError` for weights without a tensor.
    static func checkNotEmpty(_ source: any TensorSource, file: String) throws {
        guard source.tensors.isEmpty else { return }
        throw BadDataError(
            file: file, reason: "holds no tensors",
            remedy: "download the file again, or save the model again")
    }

    /// The same weights under the names of NVlabs' code, for programs that read those.
    ///
    /// - Throws: `BadDataError`.
    public func underOriginalNames() throws -> Checkpoint {
        var checkpoint = try decodingInt8()
        guard let config = try config() as? SanaConfig else {
            throw BadDataError(
                file: path,
                reason: "is not a Sana transformer; only transformers have names in NVlabs' code",
                remedy: "leave out --names original")
        }
        // No latent that was trained on is larger than that of 8192 pixels.
        let side = min(config.sampleSize / config.patchSize, 256)
        checkpoint.source = try OriginalNames.original(
            of: checkpoint.source, positions: side * side, file: path)
        checkpoint.hasOriginalNames = true
        return checkpoint
    }

    /// The model's configuration.
    ///
    /// - Throws: `BadDataError`, also where the shapes of the tensors contradict it.
    public func config() throws -> any NetworkConfiguration {
        try NetworkClass.configuration(configJSON, file: configPath, source: source)
    }
}

/// A file that holds weights, on disk or inside of another one.
public struct StoredFile: Sendable {
    /// Path; of a file inside of another the path of that one, then its own.
    public let path: String
    /// The file on disk that this is, or that holds this.
    public let diskPath: String
    /// Tensors under the names that they are stored with.
    public let tensors: [TensorInfo]
    /// The whole file.
    public let fileBytes: ByteView

    init(path: String, diskPath: String, tensors: [TensorInfo], fileBytes: ByteView) {
        (self.path, self.diskPath) = (path, diskPath)
        (self.tensors, self.fileBytes) = (tensors, fileBytes)
    }

    /// - Parameter diskPath: the file that holds this one, where it is not one itself.
    public init(_ file: SafetensorsFile, in diskPath: String? = nil) {
        self.init(
            path: file.path, diskPath: diskPath ?? file.path, tensors: file.tensors,
            fileBytes: file.fileBytes)
    }
}
