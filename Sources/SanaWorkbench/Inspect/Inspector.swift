import Libc
import SanaModel
import SanaQuant

/// Inspects a checkpoint and reports all defects together, where opening it stops at the first.
package struct Inspector {
    private let options: Inspection.Options
    private var problems: [Problem] = []
    /// The tensors that the configuration calls for.
    private var expected: ExpectedTensors { config?.expectedTensors(in: source) ?? .none }
    private var components: [RepositoryLint.Component] = []
    private var files: [Inspection.File] = []
    private var variants: [String] = []
    private var variant: String?
    private var configJSON: JSONValue?
    /// What the directory calls its weights, where diffusers would not.
    private var split: WeightFiles?
    private var config: (any NetworkConfiguration)?
    /// Whether the configuration's values fit each other.
    private var isConsistent = true
    private var source: any TensorSource = PartialSource([])
    /// The files as they are stored, where they can be broken.
    private var partial: PartialSource? { source as? PartialSource ?? stored }
    private var stored: PartialSource?
    /// Notes on how the files were read.
    private var notes: [String] = []
    /// Whether quantized weights have been compared with the configuration and decoded.
    private var isDecoded = false
    private var archive: Archive?
    private var layout = Checkpoint.Layout.diffusers
    /// The configuration that the user named.
    private var given: (json: JSONValue, path: String)?
    /// Tensors that were already reported with their file.
    private var excused = Set<String>()

    /// Reads headers and configuration; values only as `options` ask.
    ///
    /// - Parameter label: the model as the user called it.
    /// - Throws: `FileError`, `BadDataError`, `SafetensorsError`, `ArchiveError` where nothing at
    ///   all can be inspected.
    package static func run(
        _ path: String, label: String? = nil, options: Inspection.Options, workers: WorkerPool,
        progress: (Int, Int) -> Void = { _, _ in }
    ) throws -> Inspection {
        guard path.pathExists else { throw FileError(.open, path, code: ENOENT) }
        var inspector = Inspector(options)
        inspector.given = try options.config.map { (try JSONFile.read($0), $0) }
        if path.isFolder {
            try inspector.readFolder(path)
        } else if OpenedFile.isArchive(path) {
            try inspector.readArchive(path)
        } else {
            try inspector.readFile(path)
        }
        inspector.checkConfiguration(label ?? path)
        var values: ValueScan?
        if options.statistics {
            let scan = try ValueScan.run(
                inspector.source, of: inspector.partial, workers: workers, progress: progress)
            inspector.problems += scan.problems(inspector.expected)
            values = scan
        }
        return try inspector.result(label ?? path, values, workers)
    }

    private init(_ options: Inspection.Options) { self.options = options }

    // MARK: Reading

    /// - Parameter zip: the repository, where it is a pipeline in one file.
    private mutating func readFolder(_ path: String, _ zip: ZipFile? = nil) throws {
        var repository = try RepositoryLint(
            path, zip: zip, subfolder: options.subfolder, isDeep: options.isDeep)
        components = repository.components
        guard let folder = repository.transformer else {
            problems += repository.problems
            return
        }
        let scan = try repository.scan(folder)
        problems += repository.problems
        let stem = scan.weightsStem
        let names = scan.files.compactMap { WeightName($0, stem: stem) }
        let packed = stem + Archive.suffix
        if zip == nil, names.isEmpty, scan.files.contains(packed) {
            return try readArchive(scan.file(packed))
        }
        if let variant = options.variant {
            // A request that the directory cannot meet is the user's affair, not the repository's.
            guard names.contains(where: { $0.variant == variant }) else {
                let others = Set(names.map { $0.variant.isEmpty ? "(none)" : $0.variant }).sorted()
                throw BadDataError(
                    file: folder.path,
                    reason: "no weights of variant '\(variant.printable)'; variants here: "
                        + "\(others.joined(separator: ", ").printable)",
                    remedy: "choose one of these with --variant")
            }
        }
        let lint = WeightFolderLint(
            scan, stem: stem, isModel: true, variant: options.variant)
        let isNothing =
            lint.files.isEmpty && !scan.exists("config.json") && components.isEmpty
            && lint.problems.allSatisfy { $0.rule == .weightsAbsent } && problems.isEmpty
        if isNothing {
            let found = WeightFiles.substitute(
                try folder.path.folderEntries(), folder: folder.path)
            throw BadDataError(
                file: folder.path,
                reason: "no \(stem)*.safetensors in this directory" + found.reason,
                remedy: found.remedy
                    ?? "download the weights, or give a .safetensors file as MODEL")
        }
        problems += lint.problems
        take(lint.files)
        (variants, variant, excused, split) = (
            lint.variants, lint.variant, lint.excused, lint.split
        )
        readConfiguration(scan)
    }

    private mutating func readFile(_ path: String) throws {
        try UnfinishedDownload.checkName(path)
        try WeightFiles.requireWhole(path)
        let content = try ByteView(mapping: path)
        switch try ModelLocator.kind(of: content, path: path) {
        case .pipeline: return try readFolder(path, ZipFile(content: content, path: path))
        case .torch, .gguf: return try readCheckpoint(path)
        case .safetensors: break
        }
        let scan = FolderScan(
            of: ["config.json", path.lastPathComponent], in: path.parentFolder, &problems)
        guard let file = PartialFile(path.lastPathComponent, in: scan, &problems) else {
            _ = try SafetensorsFile(path: path)
            return
        }
        // Weights that cannot be read are told of below, with all that is wrong with them.
        let isReadable = QuantizationCheck.findings(config: nil, tensors: file.tensors).isEmpty
        if file.whole != nil, !file.tensors.isEmpty, isReadable,
            !problems.contains(where: { $0.rule == .fileUnwritten }),
            try Checkpoint.isSelfContained(path)
        {
            return try readCheckpoint(path)
        }
        take([file])
        readConfiguration(scan)
    }

    /// A file whose names or whose form are not those of a diffusers repository.
    private mutating func readCheckpoint(_ path: String) throws {
        let opened = try Checkpoint.open(
            path, subfolder: options.subfolder, variant: options.variant, config: options.config,
            trained: options.weights)
        (notes, isDecoded) = (opened.notes, true)
        (source, layout, variant) = (opened.source, opened.layout, opened.variant)
        files = opened.files.map {
            .init(name: $0.path.lastPathComponent, byteCount: $0.fileBytes.count)
        }
        takeConfiguration(opened.configJSON, options.config ?? "config.json")
    }

    private mutating func readArchive(_ path: String) throws {
        let opened = try OpenedFile.archive(path)
        (archive, source) = (opened, opened)
        files = [.init(name: path.lastPathComponent, byteCount: opened.byteCount)]
        if let manifest = opened.manifest {
            takeConfiguration(manifest.config, "config.json")
        } else {
            readConfiguration(
                FolderScan(of: ["config.json"], in: path.parentFolder, &problems))
        }
    }

    private mutating func take(_ opened: [PartialFile]) {
        let partial = PartialSource(opened)
        source = partial
        files = opened.map { .init(name: $0.name, byteCount: $0.byteCount) }
        let name = files.first?.name ?? ""
        do {
            let (unwrapped, note) = try LogicalTensors.unwrapped(partial, file: name)
            guard let note else { return }
            (stored, source) = (partial, unwrapped)
            problems.append(Problem(.nameWrapped, name.printable, note))
        } catch let error as any DiagnosticError {
            problems.append(
                Problem(
                    .nameWrapped, name.printable, PartialFile.reason(error, name),
                    remedy: error.remedy))
        } catch {}
    }

    private mutating func readConfiguration(_ scan: FolderScan) {
        if let given { return takeConfiguration(given.json, given.path) }
        let location = scan.prefix + "config.json"
        guard scan.exists("config.json") else {
            problems.append(
                Problem(
                    .configAbsent, location, "Error no file named config.json found in directory"))
            return
        }
        guard !scan.unusable.contains("config.json") else { return }
        do {
            let json = try JSONFile.parse(
                scan.content("config.json"), path: scan.file("config.json"))
            takeConfiguration(json, location)
        } catch let error as any DiagnosticError {
            problems.append(
                Problem(
                    .configInvalid, location,
                    "It looks like the config file is not a valid JSON file: "
                        + PartialFile.reason(error, scan.file("config.json"))))
        } catch {}
    }

    private mutating func takeConfiguration(_ json: JSONValue, _ location: String) {
        let component = components.first { $0.name + "/config.json" == location }
        let lint = ConfigurationLint(
            json, location: location,
            expected: component.flatMap { NetworkClass.named($0.className) }, source: source,
            isWhole: excused.isEmpty)
        (configJSON, config, isConsistent) = (json, lint.config, lint.isConsistent)
        problems += lint.problems
    }

    // MARK: Checking

    /// Names, shapes and types that contradict the configuration, found without reading values.
    private mutating func checkConfiguration(_ label: String) {
        guard !source.tensors.isEmpty else { return }
        guard checkQuantization() else { return }
        checkTypes()
        guard let config else { return }
        // With whole files absent, what is there says little.
        let wrong = excused.isEmpty ? checkShapes(config) : []
        guard isConsistent else { return }
        do {
            // What follows from a wrong key is not told once more.
            try config.corrected(by: wrong, json: configJSON).check(source: source, label: label)
        } catch let error as BindingError {
            problems += error.problems.filter { !excused.contains($0.location) }
        } catch {}
    }

    /// What is known of how weights are quantized; `nil` with whole files absent: what is there may
    /// contradict what belongs to it.
    private var quantizationConfig: JSONValue? {
        guard excused.isEmpty, let configJSON else { return nil }
        let described = try? QuantizationCheck.described(
            configJSON, by: source.metadata, of: split, file: "")
        return described ?? configJSON
    }

    /// - Returns: whether names and shapes mean what they mean in a model that can be read.
    private mutating func checkQuantization() -> Bool {
        guard !isDecoded else { return true }
        let findings = QuantizationCheck.findings(
            config: quantizationConfig, tensors: source.tensors)
        problems += findings.map(Problem.init)
        guard !findings.contains(where: { $0.kind == .unsupported }) else { return false }
        guard !findings.isEmpty else { return decode() }
        // Shapes of what another program packed say nothing of the model.
        return !QuantizationCheck.isForeign(source.tensors)
    }

    /// Takes weights that another program has quantized for the tensors they stand for.
    private mutating func decode() -> Bool {
        do {
            let logical = try LogicalTensors.read(
                source, config: quantizationConfig, file: files.first?.name ?? "")
            if logical.computesValues, let partial { (stored, source) = (partial, logical) }
            return true
        } catch let error as QuantizationError {
            problems.append(Problem(error.finding))
        } catch let error as any DiagnosticError {
            problems.append(
                Problem(
                    .quantizationMismatch, QuantizationCheck.key, error.description,
                    remedy: error.remedy))
        } catch {}
        return false
    }

    /// Keys that the shapes contradict; where there is none, those that make it another model than
    /// the released one of these shapes.
    private mutating func checkShapes(
        _ config: any NetworkConfiguration
    ) -> [ConfigurationDisagreement] {
        let disagreements = config.disagreements(with: source, json: configJSON)
        problems += disagreements.map {
            Problem(.configShapes, $0.key, $0.reason, remedy: $0.remedy)
        }
        let likeness = config.networkClass.likeness(
            of: source, config, json: configJSON ?? .null)
        guard disagreements.isEmpty, let (repository, differences) = likeness.nearest
        else { return disagreements }
        problems += differences.map {
            Problem(
                .configReleased, $0.key,
                "\($0.key) is \($0.value.printable), and in \(repository), which has the "
                    + "same shapes, it is \($0.released)",
                remedy: "set \"\($0.key)\": \($0.released) in config.json, unless the model was "
                    + "trained with another value")
        }
        return []
    }

    /// Float weights of several types, but for scales and what convert keeps on purpose.
    private mutating func checkTypes() {
        guard archive?.manifest == nil, configJSON?["quantization_config"] == nil,
            !source.computesValues,
            // GGUF files keep small tensors in F32 by convention.
            !files.contains(where: { $0.name.hasSuffix(".gguf") })
        else { return }
        let kept = partial?.keptTypes ?? []
        let floats = source.tensors.filter {
            $0.dtype.isFloatWeight && !kept.contains($0.dtype.rawValue)
                && !$0.name.hasSuffix(".scale")
        }
        let counts = Dictionary(grouping: floats, by: \.dtype.rawValue).mapValues(\.count)
        if let variant, ["fp16", "bf16"].contains(variant),
            2 * counts["F32", default: 0] > floats.count
        {
            problems.append(
                Problem(
                    .variantType, files.first?.name ?? "",
                    "the variant is \(variant), and \(counts["F32", default: 0]) of "
                        + "\(floats.count) tensors are F32"))
        }
        guard counts.count > 1 else { return }
        let list = counts.sorted { ($0.value, $0.key) > ($1.value, $1.key) }
        let rare = floats.first { $0.dtype.rawValue == list.last?.key }
        problems.append(
            Problem(
                .dtypeMixed, rare?.name ?? "",
                list.map { "\($0.value) tensors are \($0.key)" }.joined(separator: ", ")))
    }

    /// What the metadata of the files, else an archive's manifest, say was added: the metadata has
    /// what the source of a conversion had before, too.
    private var adapters: [JSONValue] {
        let metadata =
            archive.map { archive in
                archive.header.metadata.first { $0.key == ContentLayout.adaptersKey }?.value
            } ?? source.metadata[ContentLayout.adaptersKey]
        return metadata.flatMap { try? JSONScanner.parse($0) }?.array
            ?? archive?.manifest?.adapters.map(\.json) ?? []
    }

    private func result(
        _ label: String, _ values: ValueScan?, _ workers: WorkerPool
    ) throws -> Inspection {
        var digest: String?
        if options.digest {
            if let archive, let manifest = archive.manifest {
                try archive.verify(using: workers)
                digest = manifest.weightsDigest
            } else if partial?.isWhole ?? true, !source.tensors.isEmpty {
                digest = try WeightsDigest.compute(source, workers: workers)
            }
        }
        let expected = expected
        let networkClass = config?.networkClass ?? NetworkClass.of(source)
        let likeness = networkClass?.likeness(of: source, config, json: configJSON ?? .null)
        return Inspection(
            label: label, components: components, files: files, variants: variants,
            variant: variant, configJSON: configJSON, config: config, tensors: source.tensors,
            expected: expected,
            family: likeness?.family, released: likeness?.repositories ?? [],
            groups: Inspection.groups(source.tensors, expected),
            parts: PartSizes.make(source.tensors, expected, file: label), values: values,
            problems: problems, digest: digest, layout: layout,
            encodings: Inspection.encodings(source), notes: notes, adapters: adapters)
    }
}
