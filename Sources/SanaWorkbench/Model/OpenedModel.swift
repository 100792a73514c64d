import Foundation
import SanaModel
import SanaQuant

/// A MODEL as a command was given it: a repository, a component directory, a safetensors file, an
/// original checkpoint, a DDUF pipeline or an archive.
package struct OpenedModel: Sendable {
    /// The path as given, for messages and records.
    package let label: String
    package let configJSON: JSONValue
    package let config: any NetworkConfiguration
    package let source: any TensorSource
    package let kind: Kind

    package enum Kind: Sendable {
        case checkpoint(Checkpoint)
        case archive(Archive)
    }

    /// - Parameters:
    ///   - subfolder, variant, config: see `Checkpoint.open`; without meaning for an archive.
    /// - Throws: the errors of `Checkpoint.open` and `Archive.init`, and `QuantizationError`.
    package static func open(
        _ path: String, subfolder: String? = nil, variant: String? = nil, config: String? = nil,
        trained: TrainedWeights = .model
    ) throws -> OpenedModel {
        let path = try archivePath(path, subfolder: subfolder) ?? path
        if OpenedFile.isArchive(path) {
            let archive = try OpenedFile.archive(path)
            let beside = path.parentFolder.appendingPath("config.json")
            let json: JSONValue
            if let manifest = archive.manifest {
                json = manifest.config
            } else if beside.pathExists {
                json = try JSONFile.read(beside)
            } else {
                throw BadDataError(
                    file: path,
                    reason: "archive has no manifest and no config.json next to it",
                    remedy: "put the model's config.json into the same directory")
            }
            try QuantizationCheck.require(config: json, tensors: archive.tensors, file: path)
            return OpenedModel(
                label: path, configJSON: json,
                config: try NetworkClass.configuration(json, file: path, source: archive),
                source: archive, kind: .archive(archive))
        }
        let checkpoint = try Checkpoint.open(
            path, subfolder: subfolder, variant: variant, config: config, trained: trained)
        for note in checkpoint.notes { Notices.note("sana-tools: \(path.printable): \(note)") }
        return OpenedModel(
            label: path, configJSON: checkpoint.configJSON, config: try checkpoint.config(),
            source: checkpoint.source, kind: .checkpoint(checkpoint))
    }

    /// The archive that `path` names, or that a folder has its weights in, as convert makes them;
    /// `nil` for everything else.
    package static func archivePath(_ path: String, subfolder: String? = nil) throws -> String? {
        guard path.isFolder || ModelLocator.isArchive(path) else { return nil }
        guard case .archive(let archive) = try ModelLocator.locate(path, subfolder: subfolder)
        else { return nil }
        return archive
    }

    /// The weights with their configuration; those of an archive are unpacked as they are read.
    ///
    /// - Throws: `BadDataError`, `QuantizationError`, errors of the archive.
    package func checkpoint() throws -> Checkpoint {
        switch kind {
        case .checkpoint(let checkpoint): checkpoint
        case .archive(let archive):
            try Checkpoint(
                unpacking: archive, content: ByteView(mapping: archive.path), path: archive.path,
                config: configJSON)
        }
    }

    /// What an archive says of its source.
    private var manifest: Archive.Manifest? {
        guard case .archive(let archive) = kind else { return nil }
        return archive.manifest
    }

    /// Whether any weight is int8, which has a product of its own.
    package var hasInt8: Bool { source.tensors.contains { $0.dtype == .i8 } }

    /// Whether any weight is stored quantized: as int8, or as another program has written it.
    package var isQuantized: Bool {
        hasInt8 || source.tensors.contains { source.recipe(of: $0) != nil }
    }

    /// The digest of the weights that the model came from: an archive's manifest carries that of
    /// its source.
    package func sourceDigest(workers: WorkerPool) throws -> String {
        try manifest?.weightsDigest
            ?? WeightsDigest.compute(source, workers: workers)
    }

    /// SHA-256 of the raw values of each tensor by name, and the digest of all; of an archive the
    /// digest of its source alone.
    package func sourceHashes(
        workers: WorkerPool
    ) throws -> (digest: String, tensors: [String: String]) {
        if let digest = manifest?.weightsDigest { return (digest, [:]) }
        let tensors = try WeightsDigest.tensors(source, workers: workers)
        let pairs = tensors.map { ($0.info.name, $0.digest.hexadecimal) }
        return (WeightsDigest.combine(tensors), Dictionary(pairs) { first, _ in first })
    }

    /// SHA-256 over the model's class and the names and shapes of its weights, whatever their
    /// values and stored types: models with the same one do the same work.
    package var architecture: String {
        let int8 = Set(source.tensors.filter { $0.dtype == .i8 }.map(\.name))
        let lines = source.tensors.compactMap { tensor -> String? in
            // The scales of an int8 weight are part of it.
            if tensor.name.hasSuffix(".scale"),
                int8.contains(tensor.name.dropLast("scale".count) + "weight")
            {
                return nil
            }
            let shape = tensor.shape.map(String.init).joined(separator: ",")
            return "\(tensor.name) \(shape)"
        }
        let text = ([config.networkClass.name] + lines.sorted()).joined(separator: "\n")
        return ContentHash.sha256(of: text).hexadecimal
    }

    /// The types of the weights, the one that holds most bytes first: `BF16`, `I8+BF16+F32`.
    package var dtypes: String {
        let sizes = Dictionary(grouping: source.tensors) {
            source.recipe(of: $0) ?? $0.dtype.rawValue
        }
        .mapValues { $0.reduce(0) { $0 + source.storedByteCount(of: $1) } }
        return sizes.sorted { ($0.value, $0.key) > ($1.value, $1.key) }.map(\.key)
            .joined(separator: "+")
    }

    /// Binds the weights; what is compressed is decoded.
    ///
    /// - Parameter checksHashes: whether the tensors of an archive must have the hashes that its
    ///   manifest gives them; the checksums of frames are checked in any case.
    /// - Throws: `BindingError`, or an error of decoding.
    package func load(workers: WorkerPool, checksHashes: Bool = false) throws -> LoadedModel {
        try ModelFault.advising(label) {
            try loadWeights(workers: workers, checksHashes: checksHashes)
        }
    }

    private func loadWeights(workers: WorkerPool, checksHashes: Bool) throws -> LoadedModel {
        try Arithmetic.prepare(for: workers)
        let tensors =
            manifest == nil ? try WeightsDigest.tensors(source, workers: workers) : []
        let digest = manifest?.weightsDigest ?? WeightsDigest.combine(tensors)
        let start = ContinuousClock.now
        let resident: any TensorSource
        if checksHashes, case .archive(let archive) = kind {
            resident = try archive.verifiedResident(using: workers)
        } else {
            resident = try source.resident(using: workers)
        }
        let bound = try config.network(resident, label: label)
        let seconds = (ContinuousClock.now - start).inSeconds
        let bytes = source.tensors.map { ($0.name, source.storedByteCount(of: $0)) }
        return LoadedModel(
            label: label, isQuantized: isQuantized, dtype: dtypes,
            sourceDigest: digest, architecture: architecture, isConverted: manifest != nil,
            bound: bound, network: bound.network, entry: bound.entries[0].name,
            loadSeconds: seconds,
            tensorBytes: Dictionary(bytes) { first, _ in first },
            tensorHashes: Dictionary(
                tensors.map { ($0.info.name, $0.digest.hexadecimal) }
            ) { first, _ in first },
            int8Tensors: source.tensors.filter { $0.dtype == .i8 }.map(\.name),
            expected: config.expectedTensors(in: source))
    }
}

/// A model that can run, and what records need to say of it.
package struct LoadedModel: Sendable {
    package let label: String
    /// See `OpenedModel.isQuantized`.
    package let isQuantized: Bool
    /// See `OpenedModel.dtypes`.
    package let dtype: String
    /// See `OpenedModel.sourceDigest`.
    package private(set) var sourceDigest: String
    /// See `OpenedModel.architecture`; of another entry than the usual one that with its name.
    package private(set) var architecture: String
    /// Whether that is the digest of other weights than these, which were made from them.
    package private(set) var isConverted: Bool
    fileprivate let bound: BoundNetwork
    /// The forward that is meant, the usual one unless another was chosen.
    package var network: any Network
    /// Its name; `nil` where the class has one only.
    package private(set) var entry: String?
    /// Decoding and binding, without the digest.
    package let loadSeconds: Double
    /// Bytes of the tensors as stored.
    package let tensorBytes: [String: Int]
    /// SHA-256 of each tensor's raw values, by name; empty for an archive.
    package let tensorHashes: [String: String]
    /// Names of the int8 tensors.
    package let int8Tensors: [String]
    /// The tensors that the configuration calls for, by their names in the checkpoint.
    package let expected: ExpectedTensors
    /// Stored tensors that are not what the source's weights become; see `SourceComparison`.
    package private(set) var deviations: [SourceComparison.Deviation] = []

    package var config: any NetworkConfiguration { bound.configuration }

    /// Class of the network.
    package var networkClass: NetworkClass { config.networkClass }

    /// The names of its forwards; empty where there is one only.
    package var entries: [String] { bound.entries.compactMap(\.name) }

    /// The model whose forward is the one of that name, `nil` standing for the usual one.
    ///
    /// - Throws: `UsageError` where it has none of the name.
    package func entering(_ name: String?) throws -> LoadedModel {
        guard let name, name != entry else { return self }
        guard let other = bound[name] else {
            throw UsageError(
                "\(label.printable) is a \(networkClass.name), which has no entry "
                    + "'\(name.printable)'",
                remedy: entries.isEmpty
                    ? "leave out --entry" : "choose \(entries.joined(separator: " or "))")
        }
        var model = with(other, called: name)
        model.entry = name
        return model
    }

    /// The model with another forward of the same weights, which is a series of its own in records.
    func with(_ other: any Network, called name: String) -> LoadedModel {
        var model = self
        model.network = other
        model.architecture = ContentHash.sha256(of: "\(architecture) \(name)").hexadecimal
        return model
    }

    /// The model as the forward of a golden ran.
    ///
    /// - Throws: `BadDataError` for settings in the contract that cannot be.
    package func configured(by golden: Golden) throws -> LoadedModel {
        if let entry = golden.provenance.entry, !entries.contains(entry) {
            throw BadDataError(
                file: golden.path,
                reason: "contract: entry is \"\(entry.printable)\", which a "
                    + "\(networkClass.name) does not have")
        }
        var model = try entering(golden.provenance.entry)
        model.network = try model.network.configured(by: golden.contract, file: golden.path)
        return model
    }

    /// The network, where it is a transformer.
    package var transformer: SanaTransformer2DModel {
        get throws(BadDataError) {
            guard let transformer = network as? SanaTransformer2DModel else {
                throw BadDataError(
                    file: label,
                    reason: "is a \(networkClass.noun); only a transformer can be sampled",
                    remedy: "give the transformer as MODEL")
            }
            return transformer
        }
    }

    /// The types of the weights, the one that holds most bytes first.
    package var dtypes: [String] { dtype.split(separator: "+").map(String.init) }

    /// Whether the module at `path` holds int8 weights.
    package func isInt8(_ path: String) -> Bool {
        int8Tensors.contains { $0.hasPrefix(path + ".") }
    }

    /// Bytes of all weights as stored.
    package var storedBytes: Int { tensorBytes.values.reduce(0, +) }

    /// Bytes of the weights of the module at `path`, its children's included.
    package func weightBytes(below path: String) -> Int {
        tensorBytes.reduce(0) { $0 + ($1.key.hasPrefix(path + ".") ? $1.value : 0) }
    }

    /// The same, known to be made from weights of `digest`, and where it is not what they become.
    package func converted(
        from digest: String, deviating deviations: [SourceComparison.Deviation]
    ) -> LoadedModel {
        var model = self
        (model.sourceDigest, model.isConverted) = (digest, true)
        model.deviations = deviations
        return model
    }

    /// The same, with more tensors known not to be what they should.
    func deviating(_ more: [SourceComparison.Deviation]) -> LoadedModel {
        var model = self
        let known = Set(deviations.map(\.tensor))
        model.deviations += more.filter { !known.contains($0.tensor) }
        return model
    }

    /// How weights meet activations, for records: `fp32`, `bf16`, and for int8 weights `w8a16`,
    /// which are products in fp32, or `w8a8`. Series of old versions go on under these names.
    package func compute(_ choice: ComputeMode) -> String {
        choice.name(hasInt8: !int8Tensors.isEmpty)
    }
}

/// Opening files that may be plain safetensors or archives.
package enum OpenedFile {
    /// Whether a path names an archive.
    package static func isArchive(_ path: String) -> Bool { ModelLocator.isArchive(path) }

    /// Opens an archive, with a note on one that carries no hashes.
    package static func archive(_ path: String) throws -> Archive {
        let archive = try Archive(path: path)
        if archive.manifest == nil {
            Notices.note(
                "sana-tools: \(path.printable) has no manifest: nothing shows whether its values "
                    + "are those that were packed")
        }
        return archive
    }

    /// The tensors and the metadata of a file.
    package static func open(_ path: String) throws -> (any TensorSource, [String: String]) {
        if isArchive(path) {
            let archive = try archive(path)
            return (archive, metadata(archive.header))
        }
        let file = try SafetensorsFile(path: path)
        return (file, metadata(file.header))
    }

    private static func metadata(_ header: SafetensorsHeader) -> [String: String] {
        Dictionary(header.metadata.map { ($0.key, $0.value) }) { first, _ in first }
    }
}
