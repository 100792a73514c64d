/// A Sana transformer or ControlNet as it lies on disk: its configuration and its weights.
public struct Checkpoint: Sendable {
    /// The component folder or file it was opened from.
    public let path: String
    /// `config.json` as written.
    public let configJSON: JSONValue
    public let source: any TensorSource
    /// The variant that was chosen, such as `fp16`.
    public let variant: String?
    /// Safetensors files that hold the weights, in order.
    public let files: [SafetensorsFile]

    /// Opens a repository, a component folder or a `.safetensors` file.
    ///
    /// - Parameters:
    ///   - subfolder: component of a repository; by default the one whose class is a Sana
    ///     transformer, or a ControlNet where there is none.
    ///   - variant: see `WeightFiles.choose(variant:in:)`.
    /// - Throws: `FileError`, `BadDataError`, `SafetensorsError`.
    public static func open(
        _ path: String, subfolder: String? = nil, variant: String? = nil
    ) throws -> Checkpoint {
        guard path.pathExists else { throw FileError(.open, path, code: ENOENT) }
        guard path.isFolder else { return try Checkpoint(file: path) }
        let folder = try componentFolder(path, subfolder: subfolder)
        let weights = try WeightFiles.choose(variant: variant, in: folder)
        return try Checkpoint(folder: folder, weights: weights)
    }

    /// The folder of the Sana transformer, else ControlNet, in `path`, which is a repository or that
    /// folder itself.
    ///
    /// - Throws: `BadDataError`, `FileError`.
    public static func componentFolder(_ path: String, subfolder: String? = nil) throws -> String {
        if let subfolder {
            let folder = path.appendingPath(subfolder)
            guard folder.isFolder else { throw FileError(.open, folder, code: ENOENT) }
            return folder
        }
        let index = path.appendingPath("model_index.json")
        guard index.pathExists else { return path }
        let components = try JSONFile.read(index, allowsNonFinite: true).members ?? []
        func names(of modelClass: SanaConfig.ModelClass) -> [String] {
            components.filter {
                $0.value.array?.last?.string == modelClass.rawValue
                    && ShardSet.isBareFileName($0.key)
            }.map(\.key)
        }
        let transformers = names(of: .transformer)
        guard
            let name = transformers.first(where: { $0 == "transformer" }) ?? transformers.first
                ?? names(of: .controlNet).first
        else {
            throw BadDataError(
                file: index, reason: "no component is a \(SanaConfig.className)",
                remedy: "choose a component with --subfolder")
        }
        let folder = path.appendingPath(name)
        guard folder.isFolder else {
            throw BadDataError(
                file: index, reason: "component '\(name.printable)' is absent",
                remedy: "download the folder \(name.printable)/ of the repository")
        }
        return folder
    }

    private init(folder: String, weights: WeightFiles) throws {
        path = folder
        configJSON = try JSONFile.read(folder.appendingPath("config.json"))
        variant = weights.variant
        let file = folder.appendingPath(weights.name)
        if weights.isSharded {
            let set = try ShardSet(index: file)
            (source, files) = (set, set.shards)
        } else {
            let single = try SafetensorsFile(path: file)
            (source, files) = (single, [single])
        }
    }

    private init(file: String) throws {
        let single = try SafetensorsFile(path: file)
        let config = file.parentFolder.appendingPath("config.json")
        guard config.pathExists else {
            throw BadDataError(
                file: file, reason: "no config.json beside it",
                remedy: "put the model's config.json into the same folder")
        }
        path = file
        configJSON = try JSONFile.read(config)
        (source, files, variant) = (single, [single], nil)
    }

    /// The model's configuration.
    ///
    /// - Throws: `BadDataError`.
    public func config() throws -> SanaConfig {
        let file = path.isFolder ? path : path.parentFolder
        return try SanaConfig(json: configJSON, file: file.appendingPath("config.json"))
    }
}

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif
