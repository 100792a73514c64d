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
    let networks: Set<String>
    /// Directory of the transformer in the repository.
    public let transformer: String
    /// What the adapters of the transformer add to the text encoder; none where it is left as it
    /// is.
    public let textEncoderAdapters: [LoraAdapter]

    static let textEncoder = "text_encoder"

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
            var action = exceptions[name] ?? treatment ?? usual
            if name == Self.textEncoder, !adapters.isEmpty, exceptions[name] == nil,
                action == .link || action == .copy
            {
                action = .convert(try Self.storedType(repository.path.appendingPath(name)))
            }
            if case .convert = action { try Self.checkWeights(repository.path.appendingPath(name)) }
            return (name, action)
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
    func rules(of name: String) -> [UserRule] {
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

    /// - Parameter directories: outlive what is staged in them, so that they are empty when nothing
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
    func copies(
        of name: String, depth: Int = 0
    ) throws -> [(source: String, target: String, folders: [String])] {
        let source = repository.path.appendingPath(name)
        // Components are one or two directories deep; a link may lead round in a circle.
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

    func stage(copyOf source: String, to target: String? = nil) throws -> OutputFile {
        let file = try OutputFile(
            target ?? output.appendingPath(source.lastPathComponent),
            replaceExisting: options.replaceExisting)
        try ByteView(mapping: source).stream { try file.write($0) }
        return file
    }

    /// How the transformer is converted.
    public var mainOptions: Converter.Options {
        var options = self.options
        options.rules = rules(of: transformer)
        options.mayKeepAll = !networks.isEmpty
        return options
    }
}
