/// Checkpoints that are one file.
extension Checkpoint {
    /// Opens a file by what it begins with: a zip file of torch.save or DDUF, else safetensors.
    ///
    /// - Parameters:
    ///   - content: the whole file.
    ///   - path: its name, for messages and for what lies beside it.
    ///   - subfolder, variant, config: see `open`; the first two are for pipelines.
    /// - Throws: as `open`.
    public init(
        content: ByteView, path: String, subfolder: String? = nil, variant: String? = nil,
        config: String? = nil
    ) throws {
        try UnfinishedDownload.check(path)
        let zip = try FileWeights.zip(content, path: path)
        if let zip, zip[Checkpoint.indexName] != nil {
            try self.init(DDUF(zip), subfolder: subfolder, variant: variant, config: config)
            return
        }
        let weights = try FileWeights(content, zip, path: path)
        let beside = path.parentFolder.appendingPath("config.json")
        let json: (JSONValue, String)
        if let config {
            json = (try JSONFile.read(config), config)
        } else if weights.layout == .original {
            json = (try OriginalConfig.infer(weights.inner, file: path), path)
        } else if beside.pathExists {
            json = (try JSONFile.read(beside), beside)
        } else {
            throw BadDataError(
                file: path, reason: "no config.json beside it",
                remedy:
                    "put the model's config.json into the same folder, or name it with --config")
        }
        self.init(
            path: path, config: json, source: weights.source, files: [weights.file],
            layout: weights.layout)
    }

    /// Whether a file is of torch.save or DDUF rather than safetensors.
    ///
    /// - Throws: `FileError`, `SafetensorsError`.
    public static func isPacked(_ path: String) throws -> Bool {
        try FileWeights.isTorchFile(path)
            || FileWeights.zip(ByteView(mapping: path), path: path) != nil
    }

    /// Whether a file's tensors have other names than diffusers gives them.
    ///
    /// - Throws: as `open`.
    public static func isRenamed(_ path: String) throws -> Bool {
        let content = try ByteView(mapping: path)
        let weights = try FileWeights(content, nil, path: path)
        return weights.source.tensors.map(\.name) != weights.file.tensors.map(\.name)
    }

    /// The weights in a file under diffusers' names, which need no configuration to be read.
    ///
    /// - Throws: as `open`.
    public static func weights(inFile path: String) throws -> any TensorSource {
        try weights(content: ByteView(mapping: path), path: path)
    }

    /// The same for a file that is already in memory.
    public static func weights(content: ByteView, path: String) throws -> any TensorSource {
        try UnfinishedDownload.check(path)
        let zip = try FileWeights.zip(content, path: path)
        guard let zip, zip[Checkpoint.indexName] != nil else {
            return try FileWeights(content, zip, path: path).source
        }
        return try Checkpoint(DDUF(zip), subfolder: nil, variant: nil, config: nil).source
    }
}

/// The tensors of one file of torch.save or safetensors.
private struct FileWeights {
    let file: StoredFile
    /// Under the names that the file gives them, without prefixes.
    let inner: [TensorInfo]
    /// Under diffusers' names.
    let source: any TensorSource
    let layout: Checkpoint.Layout

    /// - Parameter zip: the content, where it is a zip file.
    init(_ content: ByteView, _ zip: ZipFile?, path: String) throws {
        let (tensors, plain): ([StoredTensor], SafetensorsFile?)
        if let zip {
            (tensors, plain) = (try TorchFile(zip).tensors, nil)
            file = StoredFile(
                path: path, diskPath: path, tensors: tensors.map(\.info), fileBytes: content)
        } else {
            guard !Self.isTorchFile(path) else {
                let foreign = ForeignContent(content)
                throw BadDataError(
                    file: path,
                    reason: foreign.map { "is \($0.description)" }
                        ?? "not a zip file, so not what torch.save writes since torch 1.6",
                    remedy: foreign?.remedy
                        ?? "download it again, or load and save it again with a newer torch")
            }
            let single = try SafetensorsFile(content: content, path: path)
            tensors = try single.tensors.map { StoredTensor($0, try single.bytes(of: $0)) }
            (plain, file) = (single, StoredFile(single))
        }
        let stripped = OriginalNames.stripped(tensors)
        inner = stripped.map(\.info)
        layout = OriginalNames.areOriginal(stripped) ? .original : .diffusers
        if layout == .original {
            // Their tensors cannot be taken apart by rows.
            try QuantizationCheck.require(config: nil, tensors: inner, file: path)
        }
        if let plain, layout == .diffusers, inner == plain.tensors {
            source = plain
        } else {
            let named =
                layout == .original
                ? try OriginalNames.renamed(stripped, file: path) : stripped
            source = try MappedTensors(named, path: path)
        }
        try Checkpoint.checkNotEmpty(source, file: path)
    }

    /// The content as a zip file, where it is one.
    ///
    /// - Throws: `BadDataError` for one that is broken, `SafetensorsError` for one that is called a
    ///   safetensors file: nobody else would read it as what it is.
    static func zip(_ content: ByteView, path: String) throws -> ZipFile? {
        guard ZipFile.isZip(content) else { return nil }
        guard !path.hasSuffix(".safetensors") else {
            throw SafetensorsError(path, .foreign(ForeignContent(content) ?? .zip))
        }
        return try ZipFile(content: content, path: path)
    }

    /// Whether a file's name says that torch.save wrote it.
    static func isTorchFile(_ path: String) -> Bool {
        [".pth", ".pt", ".ckpt"].contains { path.hasSuffix($0) }
    }
}

/// A whole pipeline in one file: a zip file of a diffusers repository, nothing compressed.
///
/// Source: huggingface_hub's `serialization/_dduf.py`, which writes and reads it.
struct DDUF {
    let zip: ZipFile

    init(_ zip: ZipFile) { self.zip = zip }

    /// The content of an entry, which has to be there.
    func content(_ name: String) throws -> ByteView {
        guard let entry = zip[name] else {
            throw BadDataError(
                file: zip.path, reason: "'\(name.printable)' is absent",
                remedy: "export the pipeline again")
        }
        return entry.bytes
    }

    /// The JSON document that an entry holds.
    func document(_ name: String) throws -> JSONValue {
        try JSONFile.parse(
            content(name), path: zip.path.appendingPath(name), allowsNonFinite: true)
    }

    func safetensors(_ name: String) throws -> SafetensorsFile {
        try SafetensorsFile(content: content(name), path: zip.path.appendingPath(name))
    }

    /// Names in a folder.
    func names(in folder: String) -> [String] {
        zip.entries.filter { $0.name.hasPrefix(folder + "/") }.map {
            String($0.name.dropFirst(folder.count + 1))
        }.filter { !$0.contains("/") && !$0.isSystemFileName }
    }
}

extension Checkpoint {
    init(_ pipeline: DDUF, subfolder: String?, variant: String?, config: String?) throws {
        let path = pipeline.zip.path
        let folder =
            try subfolder
            ?? Self.transformerName(
                in: pipeline.document(Checkpoint.indexName),
                file: path.appendingPath(Checkpoint.indexName))
        let label = path.appendingPath(folder)
        let names = pipeline.names(in: folder)
        guard !names.isEmpty else {
            throw BadDataError(
                file: path, reason: "holds no folder '\(folder.printable)'",
                remedy: "name one of its components with --subfolder")
        }
        let document = try? pipeline.document(folder + "/config.json")
        let weights = try WeightFiles.choose(
            variant: variant, among: names, folder: label,
            stem: NetworkClass.stem(beside: document))
        let configPath = config ?? label.appendingPath("config.json")
        let json =
            try config.map { try JSONFile.read($0) } ?? pipeline.document(folder + "/config.json")
        let (source, files): (any TensorSource, [SafetensorsFile])
        if weights.isSharded {
            let index = folder + "/" + weights.name
            let set = try ShardSet(
                index: pipeline.content(index), path: path.appendingPath(index)
            ) { try pipeline.safetensors(folder + "/" + $0) }
            (source, files) = (set, set.shards)
        } else {
            let single = try pipeline.safetensors(folder + "/" + weights.name)
            (source, files) = (single, [single])
        }
        self.init(
            path: path, config: (json, configPath), source: source, variant: weights.variant,
            files: files.map { StoredFile($0, in: path) })
    }
}
