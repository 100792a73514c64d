/// Checkpoints that are one file.
extension Checkpoint {
    /// Opens a file by what it begins with: a zip file of torch.save or DDUF, else safetensors.
    ///
    /// - Parameters:
    ///   - content: the whole file.
    ///   - path: its name, for messages and to find files next to it.
    ///   - subfolder, variant, config: see `open`; the first two are for pipelines.
    /// - Throws: as `open`.
    public init(
        content: ByteView, path: String, subfolder: String? = nil, variant: String? = nil,
        config: String? = nil, trained: TrainedWeights = .model
    ) throws {
        try UnfinishedDownload.check(path)
        try WeightFiles.requireWhole(path)
        let zip = try ModelLocator.zip(content, path: path)
        if let zip, zip[Checkpoint.indexName] != nil {
            try self.init(DDUF(zip), subfolder: subfolder, variant: variant, config: config)
            return
        }
        let weights = try FileWeights(content, zip, path: path, trained: trained)
        let beside = path.parentFolder.appendingPath("config.json")
        let json: (JSONValue, String)
        if let config {
            json = (try JSONFile.read(config), config)
        } else if let own = weights.config {
            json = (own, path)
        } else if let naming = weights.naming {
            // Shapes tell it of released models; for others it can stand next to the file.
            do {
                json = (try naming.configuration(weights.inner, weights.source, path), path)
            } catch {
                guard beside.pathExists, let found = try? JSONFile.read(beside) else { throw error }
                json = (found, beside)
            }
        } else if beside.pathExists {
            json = (try JSONFile.read(beside), beside)
        } else {
            // What cannot be read at all is told first.
            try QuantizationCheck.require(
                config: nil, tensors: weights.source.tensors, file: path)
            throw BadDataError(
                file: path, reason: "no config.json next to it",
                remedy:
                    "put the model's config.json into the same directory, or name it with --config",
                page: .configAbsent)
        }
        try self.init(
            path: path, config: (try weights.described(json.0), json.1), source: weights.source,
            files: [weights.file], layout: weights.layout, notes: weights.notes)
    }

    /// Whether a file's tensors have other names than diffusers gives them, or it holds its own
    /// configuration.
    ///
    /// - Throws: as `open`.
    public static func isSelfContained(_ path: String) throws -> Bool {
        let content = try ByteView(mapping: path)
        let weights = try FileWeights(content, nil, path: path)
        return weights.config != nil
            || weights.source.tensors.map(\.name) != weights.file.tensors.map(\.name)
    }

    /// The weights in a file under diffusers' names, which need no configuration to be read unless
    /// they are quantized.
    ///
    /// - Parameters:
    ///   - config: a `config.json` in place of one next to the file.
    ///   - trained: which weights of a training checkpoint.
    /// - Throws: as `open`.
    public static func weights(
        inFile path: String, config: String? = nil, trained: TrainedWeights = .model
    ) throws -> any TensorSource {
        try weights(content: ByteView(mapping: path), path: path, config: config, trained: trained)
    }

    /// The same for a file that is already in memory.
    public static func weights(
        content: ByteView, path: String, config: String? = nil, trained: TrainedWeights = .model
    ) throws -> any TensorSource {
        try UnfinishedDownload.check(path)
        let zip = try ModelLocator.zip(content, path: path)
        guard let zip, zip[Checkpoint.indexName] != nil else {
            let weights = try FileWeights(content, zip, path: path, trained: trained)
            let beside = path.parentFolder.appendingPath("config.json")
            let json = try
                (config.map { try JSONFile.read($0) } ?? weights.config
                ?? (try? JSONFile.read(beside))).map(weights.described)
            let findings = QuantizationCheck.findings(config: json, tensors: weights.source.tensors)
            // Values can be compared where only the configuration is at fault, or absent: as
            // stored.
            let isAlone = json == nil && StoredEncoding.isInt8(weights.source.tensors)
            if !isAlone, let first = findings.first(where: { $0.kind == .unsupported }) {
                throw QuantizationError(file: path, finding: first)
            }
            let config = findings.isEmpty ? json : nil
            return try LogicalTensors.read(weights.source, config: config, file: path)
        }
        return try Checkpoint(DDUF(zip), subfolder: nil, variant: nil, config: config).source
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

    /// The configuration, where the file holds one.
    let config: JSONValue?
    /// What was left out or taken away, for people.
    let notes: [String]
    /// The names that it has, where they are not diffusers'.
    let naming: OriginalNaming?

    /// - Parameter zip: the content, where it is a zip file.
    init(
        _ content: ByteView, _ zip: ZipFile?, path: String, trained: TrainedWeights = .model
    ) throws {
        var notes: [String] = []
        var config: JSONValue?
        var metadata: [String: String] = [:]
        let (tensors, plain): ([StoredTensor], SafetensorsFile?)
        if let zip {
            let torch = try TorchFile(zip, weights: trained)
            (tensors, plain, notes) = (torch.tensors, nil, torch.notes)
        } else if GGUFFile.isGGUF(content, path: path) {
            let file = try GGUFFile(content, path: path)
            (tensors, plain, config, metadata) = (file.tensors, nil, file.config, file.metadata)
            notes = try file.zeroTail.map { [try $0.note(on: path)] } ?? []
        } else {
            try Self.refuseTorchFile(content, path: path)
            let single = try SafetensorsFile(content: content, path: path)
            tensors = try single.tensors.map { StoredTensor($0, try single.bytes(of: $0)) }
            (plain, metadata) = (single, single.metadata)
            notes = try ZeroTail.check(single).map { [$0] } ?? []
            // Of nunchaku, whose files hold what else stands in config.json.
            if metadata[QuantizationCheck.key] != nil {
                config = try QuantizationCheck.note("config", in: metadata, file: path)
            }
        }
        if trained != .model, zip == nil {
            throw BadDataError(
                file: path, reason: "holds only one set of weights, not the averaged ones",
                remedy: "leave out --weights \(trained.rawValue)")
        }
        file =
            plain.map { StoredFile($0) }
            ?? StoredFile(
                path: path, diskPath: path, tensors: tensors.map(\.info), fileBytes: content)
        let wrapped = try WrappedNames(tensors, file: path)
        var inner = wrapped.tensors
        naming = OriginalNaming.all.first { [inner] in $0.matches(inner) }
        layout = naming == nil ? .diffusers : .original
        if layout == .original {
            inner = try Self.decoded(inner, metadata, path: path)
        }
        self.inner = inner.map(\.info)
        self.config = config
        self.notes = notes + (wrapped.note.map { [$0] } ?? [])
        if let plain, layout == .diffusers, self.inner == plain.tensors {
            source = plain
        } else {
            let named = try naming?.renamed(inner, path) ?? inner
            source = try MappedTensors(named, path: path, metadata: metadata)
        }
        try Checkpoint.checkNotEmpty(source, file: path)
    }

    /// A configuration with what the file itself says of how it is quantized, where that does not.
    ///
    /// - Throws: `BadDataError`.
    func described(_ config: JSONValue) throws -> JSONValue {
        try QuantizationCheck.described(config, by: source.metadata, file: file.path)
    }

    private static func refuseTorchFile(_ content: ByteView, path: String) throws {
        guard ModelLocator.isTorchFile(path) else { return }
        let foreign = ForeignContent(content)
        throw BadDataError(
            file: path,
            reason: foreign.map { "is \($0.description)" }
                ?? "not a zip file, which torch.save has written since torch 1.6",
            remedy: foreign?.remedy
                ?? "download it again, or load and save it again with a newer torch",
            page: foreign?.page ?? .pickle)
    }

    /// Tensors under original names, which quantization leaves whole, as numbers: they are taken
    /// apart along their rows next.
    private static func decoded(
        _ tensors: [StoredTensor], _ metadata: [String: String], path: String
    ) throws -> [StoredTensor] {
        let plain = tensors.filter { !$0.isComputed }.map(\.info)
        try QuantizationCheck.require(config: nil, tensors: plain, file: path)
        guard plain.count == tensors.count else { return tensors }
        let source = try MappedTensors(tensors, path: path, metadata: metadata)
        let logical = try LogicalTensors.read(source, config: nil, file: path)
        return (logical as? MappedTensors)?.stored ?? tensors
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

    /// Names in a directory.
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
                file: path, reason: "has no directory '\(folder.printable)'",
                remedy: "name one of its components with --subfolder")
        }
        let configPath = config ?? label.appendingPath("config.json")
        let json =
            try config.map { try JSONFile.read($0) } ?? pipeline.document(folder + "/config.json")
        let weights = try WeightFiles.choose(
            variant: variant, among: names, folder: label, stem: NetworkClass.stem(beside: json))
        let (source, files) = try weights.open(in: label) {
            try pipeline.content(folder + "/" + $0)
        }
        let notes = try files.compactMap(ZeroTail.check)
        try self.init(
            path: path, config: (json, configPath), source: source, variant: weights.variant,
            files: files.map { StoredFile($0, in: path) }, notes: notes)
    }
}
