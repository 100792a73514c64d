import Libc
import SanaModel

/// A conversion of a whole repository.
public struct RepositoryConverter {
    public let repository: Repository
    /// The transformer in it.
    public let checkpoint: Checkpoint
    /// The new repository.
    public let output: String
    public let options: Converter.Options
    public let workers: WorkerPool
    /// Every component but the transformer, and what becomes of it; absent folders are not listed.
    public let components: [(name: String, treatment: ComponentTreatment)]
    /// Those that are converted by the plan of their own network.
    private let networks: Set<String>
    /// Folder of the transformer in the repository.
    public let transformer: String
    /// What the adapters of the transformer add to the text encoder; none where it is left as it
    /// is.
    public let textEncoderAdapters: [LoraAdapter]

    private static let textEncoder = "text_encoder"

    /// Decides everything; nothing is written yet.
    ///
    /// - Parameters:
    ///   - treatment: of components that `exceptions` does not name; `nil`: networks are converted
    ///     as the transformer is, others linked.
    ///   - options: of which the rules may name components.
    /// - Throws: `RepositoryError`, `RuleError`, `FileError`.
    public init(
        _ repository: Repository, _ checkpoint: Checkpoint, to output: String,
        treatment: ComponentTreatment?, exceptions: [String: ComponentTreatment],
        options: Converter.Options, workers: WorkerPool
    ) throws {
        transformer = checkpoint.path.lastPathComponent
        guard repository.components.contains(transformer),
            checkpoint.path.resolvedPath
                == repository.path.appendingPath(transformer).resolvedPath
        else { throw RepositoryError(repository.path, .notListed(checkpoint.path)) }
        let others = repository.components.filter { [transformer] in $0 != transformer }
        if let unknown = exceptions.keys.filter({ !others.contains($0) }).min() {
            throw RepositoryError(repository.path, .noComponent(unknown, present: others))
        }
        let adapters = checkpoint.adapters.compactMap(\.ofTextEncoder)
        var networks = Set<String>()
        components = try others.compactMap { name in
            guard repository.path.appendingPath(name).isFolder else {
                guard exceptions[name] == nil else {
                    throw RepositoryError(repository.path, .absent(name))
                }
                return nil
            }
            let isNetwork =
                try (exceptions[name] ?? treatment) != .skip && repository.isNetwork(name)
            if isNetwork { networks.insert(name) }
            let usual: ComponentTreatment = isNetwork ? .convert(options.target) : .link
            var fate = exceptions[name] ?? treatment ?? usual
            if name == Self.textEncoder, !adapters.isEmpty, exceptions[name] == nil,
                fate == .link || fate == .copy
            {
                fate = .convert(try Self.storedType(repository.path.appendingPath(name)))
            }
            if case .convert = fate { try Self.checkWeights(repository.path.appendingPath(name)) }
            return (name, fate)
        }
        textEncoderAdapters =
            components.contains { name, treatment in
                if case .convert = treatment { name == Self.textEncoder } else { false }
            } ? adapters : []
        let (source, target) = (repository.path.resolvedPath, output.resolvedPath)
        if target == source || target.hasPrefix(source + "/") {
            throw RepositoryError(output, .insideSource)
        }
        (self.repository, self.checkpoint, self.output) = (repository, checkpoint, output)
        (self.options, self.workers) = (options, workers)
        self.networks = networks
        let converted = components.filter {
            if case .convert = $0.treatment { true } else { false }
        }
        .map(\.name)
        if let rule = options.rules.first(where: { [transformer] rule in
            rule.component.map { $0 != transformer && !converted.contains($0) } ?? false
        }) {
            throw RuleError(rule.text, .component(converted: converted))
        }
    }

    /// The rules that are about a component.
    private func rules(of name: String) -> [UserRule] {
        options.rules.filter { ($0.component ?? transformer) == name }.map(\.withinComponent)
    }

    /// Converts, then gives all files their names, `model_index.json` last.
    ///
    /// Obstacles are found before anything is written. Each file appears complete or
    /// not at all; all have been written before the first of them gets its name.
    ///
    /// - Returns: what became of the transformer, then of the files of components that are
    ///   converted, by component.
    /// - Throws: see `Converter.convert`, and `RepositoryError`.
    public func convert(
        progress: ((_ completedBytes: Int, _ totalBytes: Int) -> Void)? = nil
    ) throws -> (transformer: ConversionResult, components: [String: [ConversionResult]]) {
        try checkTargets()
        let folders = PendingFolders()
        defer { withExtendedLifetime(folders) {} }
        return try convert(in: folders, progress)
    }

    /// - Parameter folders: outlive what is staged in them, so that they are empty when nothing
    ///   came of it.
    @inline(never)
    private func convert(
        in folders: PendingFolders, _ progress: ((Int, Int) -> Void)?
    ) throws -> (transformer: ConversionResult, components: [String: [ConversionResult]]) {
        try folders.create(output.appendingPath(transformer))
        let main = try Converter.stage(
            ConversionSource(checkpoint, for: mainOptions.target),
            to: .folder(output.appendingPath(transformer)), options: mainOptions, workers: workers,
            progress: progress)
        var results: [String: [ConversionResult]] = [:]
        var (staged, files): ([StagedConversion], [OutputFile]) = ([], [])
        for (name, treatment) in components {
            switch treatment {
            case .link, .skip: continue
            case .copy:
                files += try copies(of: name).map { copy in
                    for folder in copy.folders { try folders.create(folder) }
                    return try stage(copyOf: copy.source, to: copy.target)
                }
            case .convert(let target):
                try folders.create(output.appendingPath(name))
                let component = try stage(component: name, target)
                results[name] = component.conversions.map(\.result)
                staged += component.conversions
                files += component.files
            }
        }
        let index = try stage(copyOf: repository.path.appendingPath(Repository.indexName))
        // Another process may have made this repository meanwhile, or begun to.
        let lock = FolderLock(output)
        defer { withExtendedLifetime(lock) {} }
        try checkTargets()
        let links = try linkComponents()
        do { try main.commit() } catch {
            for link in links { unlink(link) }
            throw error
        }
        for conversion in staged { try conversion.commit() }
        for file in files { try file.commit() }
        try index.commit()
        folders.keep()
        return (main.result, results)
    }

    /// Links the components that are linked; none where one of them cannot be.
    ///
    /// - Returns: links that are new.
    private func linkComponents() throws -> [String] {
        var made: [String] = []
        for (name, treatment) in components where treatment == .link {
            let path = output.appendingPath(name)
            do {
                try OutputLink.make(
                    path, to: repository.path.appendingPath(name).resolvedPath,
                    replaceExisting: options.replaceExisting)
            } catch {
                for link in made { unlink(link) }
                throw error
            }
            if !options.replaceExisting { made.append(path) }
        }
        return made
    }

    /// Checks that everything can be read and written, as far as that is known beforehand.
    private func checkTargets() throws {
        let folder = output.appendingPath(transformer)
        guard !folder.isLink else { throw RepositoryError(folder, .linkInTheWay) }
        for (name, treatment) in components {
            let target = output.appendingPath(name)
            switch treatment {
            case .link:
                guard target.isLink || target.pathExists else { continue }
                guard target.isLink else { throw RepositoryError(target, .somethingInTheWay) }
                guard options.replaceExisting else { throw OutputExistsError(path: target) }
            case .copy, .convert:
                guard !target.isLink else { throw RepositoryError(target, .linkInTheWay) }
                for copy in try copies(of: name) {
                    _ = try ByteView(mapping: copy.source)
                    try OutputFile.checkAbsent(
                        copy.target, replaceExisting: options.replaceExisting)
                }
            case .skip: continue
            }
        }
        try OutputFile.checkAbsent(
            output.appendingPath(Repository.indexName), replaceExisting: options.replaceExisting)
    }

    /// The files of a component with where their copies go and the folders that these need, links
    /// followed.
    private func copies(
        of name: String, depth: Int = 0
    ) throws -> [(source: String, target: String, folders: [String])] {
        let source = repository.path.appendingPath(name)
        // Components are one or two folders deep; a link may lead round in a circle.
        guard depth < 8 else { throw RepositoryError(source, .tooDeep) }
        return try source.folderEntries().flatMap { entry in
            let path = name.appendingPath(entry)
            guard !source.appendingPath(entry).isFolder else {
                return try copies(of: path, depth: depth + 1).map {
                    ($0.source, $0.target, [output.appendingPath(name)] + $0.folders)
                }
            }
            return [
                (
                    source.appendingPath(entry), output.appendingPath(path),
                    [output.appendingPath(name)]
                )
            ]
        }
    }

    private func stage(copyOf source: String, to target: String? = nil) throws -> OutputFile {
        let file = try OutputFile(
            target ?? output.appendingPath(source.lastPathComponent),
            replaceExisting: options.replaceExisting)
        try ByteView(mapping: source).stream { try file.write($0) }
        return file
    }

    // MARK: Other components

    private static func checkWeights(_ folder: String) throws {
        guard try folder.folderEntries().contains(where: { $0.hasSuffix(".safetensors") }) else {
            throw RepositoryError(folder, .noSafetensors)
        }
    }

    /// Converts every safetensors file of a component and copies the others, with sizes and types
    /// in its JSON files brought up to date.
    private func stage(
        component name: String, _ target: ConversionTarget
    ) throws -> (conversions: [StagedConversion], files: [OutputFile]) {
        let (source, folder) = (repository.path.appendingPath(name), output.appendingPath(name))
        let names = try source.folderEntries()
        let options = options(of: name, as: target)
        if let network = try network(name, target) {
            return try stage(network, in: source, to: folder, names, options)
        }
        var (conversions, files): ([StagedConversion], [OutputFile]) = ([], [])
        var sizeByFile: [String: Int] = [:]
        var isUniform = true
        for name in names where name.hasSuffix(".safetensors") {
            let file = try SafetensorsFile(path: source.appendingPath(name))
            let conversion = try Converter.stage(
                ConversionSource(file), to: .file(folder.appendingPath(name)), options: options,
                workers: workers)
            sizeByFile[name] = conversion.result.valueByteCount
            isUniform =
                isUniform
                && conversion.result.tensors.allSatisfy {
                    !$0.to.isFloatWeight || $0.to == target.dtype
                }
            conversions.append(conversion)
        }
        for name in names where !name.hasSuffix(".safetensors") {
            let path = source.appendingPath(name)
            guard !path.isFolder else { throw RepositoryError(path, .folderInComponent) }
            let file = try OutputFile(
                folder.appendingPath(name), replaceExisting: options.replaceExisting)
            if let text = try updated(path, sizeByFile, isUniform ? target : nil) {
                try file.write(Array(text.utf8))
            } else {
                try ByteView(mapping: path).stream { try file.write($0) }
            }
            files.append(file)
        }
        return (conversions, files)
    }

    /// Converts the weights of a component by its network's own plan and copies its other files.
    private func stage(
        _ network: Checkpoint, in source: String, to folder: String, _ names: [String],
        _ options: Converter.Options
    ) throws -> (conversions: [StagedConversion], files: [OutputFile]) {
        let conversion = try Converter.stage(
            ConversionSource(network, for: options.target), to: .folder(folder), options: options,
            workers: workers)
        let files = try names.filter {
            $0 != "config.json" && !$0.hasSuffix(".safetensors")
                && !$0.contains(".safetensors.index")
        }.map { name in
            let path = source.appendingPath(name)
            guard !path.isFolder else { throw RepositoryError(path, .folderInComponent) }
            return try stage(copyOf: path, to: folder.appendingPath(name))
        }
        return ([conversion], files)
    }

    /// How the transformer is converted.
    public var mainOptions: Converter.Options {
        var options = self.options
        options.rules = rules(of: transformer)
        options.mayKeepAll = !networks.isEmpty
        return options
    }

    /// How another component is converted. The files of an unknown network are converted one by
    /// one.
    private func options(of name: String, as target: ConversionTarget) -> Converter.Options {
        var options = self.options
        options.target = target
        options.rules = rules(of: name)
        options.mayKeepAll = true
        if !networks.contains(name) {
            options.container = .safetensors(maximumShardByteCount: .max)
            options.variant = nil
        }
        return options
    }

    /// What will become of the other components; nothing is written.
    ///
    /// - Throws: see `Converter.plan`, and `RepositoryError`.
    public func componentPlans() throws -> [ComponentPlan] {
        try components.map { name, treatment in
            // What cannot be read matters only where it would be.
            let isRead = treatment != .link && treatment != .skip
            let sources = (isRead ? try copies(of: name) : (try? copies(of: name)) ?? [])
                .map(\.source)
            let sizes = sources.map { (try? ByteView(mapping: $0).count) ?? 0 }
            var plan = ComponentPlan(
                name: name, treatment: treatment, fileCount: sources.count,
                bytesBefore: sizes.reduce(0, +), bytesAfter: 0, plans: [])
            switch treatment {
            case .link, .skip: break
            case .copy: plan.bytesAfter = plan.bytesBefore
            case .convert(let target):
                plan.plans = try conversionSources(of: name, sources, target).map {
                    try Converter.plan(
                        for: $0, options: options(of: name, as: target), countsRounding: true,
                        workers: workers)
                }
                plan.bytesAfter = plan.plans.reduce(plan.bytesBefore) {
                    $0 - $1.bytesBefore + $1.bytesAfter
                }
            }
            return plan
        }
    }

    /// A component as a whole, where its files cannot be converted one by one: a network with a
    /// plan of its own, int8, which needs to know roles, adapters, and weights that another program
    /// has quantized.
    private func network(_ name: String, _ target: ConversionTarget) throws -> Checkpoint? {
        let folder = repository.path.appendingPath(name)
        let adapters = name == Self.textEncoder ? textEncoderAdapters : []
        let config = try? JSONFile.read(
            folder.appendingPath("config.json"), allowsNonFinite: true)
        let isQuantized = (config?[QuantizationCheck.key] ?? .null) != .null
        guard networks.contains(name) || target == .int8 || !adapters.isEmpty || isQuantized else {
            return nil
        }
        return try Checkpoint.open(folder).fusing(adapters)
    }

    /// The type that most of a component's weights have.
    private static func storedType(_ folder: String) throws -> ConversionTarget {
        let tensors = try Checkpoint.open(folder).source.tensors
        let sizes = Dictionary(grouping: tensors, by: \.dtype)
            .mapValues { $0.reduce(0) { $0 + $1.byteCount } }
        let largest = sizes.max { ($0.value, $0.key.rawValue) < ($1.value, $1.key.rawValue) }?.key
        return ConversionTarget.allCases.first { $0.dtype == largest } ?? .bf16
    }

    /// What is converted of a component: the whole of it, else each of its files.
    private func conversionSources(
        of name: String, _ files: [String], _ target: ConversionTarget
    ) throws -> [ConversionSource] {
        if let network = try network(name, target) {
            return [try ConversionSource(network, for: target)]
        }
        return try files.filter { $0.hasSuffix(".safetensors") }.map {
            try ConversionSource(SafetensorsFile(path: $0))
        }
    }

    /// The new text of a component's JSON file; `nil` when it stays as it is.
    ///
    /// - Parameter target: the type of all floats; `nil` when some have another.
    private func updated(
        _ path: String, _ sizeByFile: [String: Int], _ target: ConversionTarget?
    ) throws -> String? {
        if path.hasSuffix(".json"), path.lastPathComponent.contains(".safetensors.index") {
            let index = try JSONFile.read(path, maximumByteCount: 64 << 20)
            let files = Set((index["weight_map"]?.members ?? []).compactMap(\.value.string))
            let total = files.reduce(0) { $0 + (sizeByFile[$1] ?? 0) }
            let metadata = (index["metadata"] ?? .object([])).setting("total_size", to: .int(total))
            return index.setting("metadata", to: metadata).text(indent: 2) + "\n"
        }
        guard path.lastPathComponent == "config.json", let target else { return nil }
        // transformers loads by this name, new or old.
        var config = try JSONFile.read(path, allowsNonFinite: true)
        var isChanged = false
        for key in ["torch_dtype", "dtype"] where config[key]?.string != nil {
            config = config.setting(key, to: .string(target.torchName))
            isChanged = true
        }
        return isChanged ? config.text(indent: 2) + "\n" : nil
    }
}

extension ConversionResult {
    /// Bytes of the converted values.
    var valueByteCount: Int {
        tensors.reduce(0) { $0 + $1.statistics.elements * $1.to.bitWidth / 8 }
    }
}

extension ConversionTarget {
    /// The type's name in torch.
    var torchName: String {
        switch self {
        case .fp16: "float16"
        case .bf16: "bfloat16"
        case .fp32: "float32"
        case .int8: "int8"
        }
    }
}
