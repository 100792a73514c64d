import Libc
import SanaModel
import SanaQuant

/// What a repository says about itself: where the transformer is, which components there are, and
/// what is wrong with their files. It is a directory, or a pipeline in one file.
package struct RepositoryLint {
    /// A component that model_index.json names.
    package struct Component: Sendable {
        package let name: String
        /// Python package of the class.
        package let library: String
        package let className: String
        package let isPresent: Bool
    }

    package private(set) var problems: [Problem] = []
    package private(set) var components: [Component] = []
    /// The transformer's directory and its prefix in problems; `nil` when there is none.
    package private(set) var transformer: (path: String, prefix: String)?

    private let path: String
    /// The pipeline, where the repository is one file.
    private let zip: ZipFile?
    private let isDeep: Bool
    fileprivate var scans: [String: FolderScan] = [:]
    /// Class of the pipeline.
    private var pipeline = ""

    /// - Throws: `FileError` when the directory, or the one asked for in it, is not there.
    /// - Parameter isDeep: whether other components are opened, too.
    package init(_ path: String, zip: ZipFile? = nil, subfolder: String?, isDeep: Bool = false)
        throws
    {
        (self.path, self.zip, self.isDeep) = (path, zip, isDeep)
        if let subfolder, !hasFolder(subfolder) {
            throw FileError(.open, path.appendingPath(subfolder), code: ENOENT)
        }
        let scan = try scan((path, ""))
        var chosen = subfolder
        if scan.exists(Repository.indexName) {
            if !scan.unusable.contains(Repository.indexName) { readModelIndex(scan) }
            chosen = chosen ?? chooseTransformer()
        } else if chosen == nil, !scan.exists("config.json"),
            hasFolder("transformer"),
            !scan.files.contains(where: { WeightName($0, stem: WeightFiles.stem) != nil })
        {
            chosen = "transformer"
            problems.append(
                Problem(
                    .modelIndexAbsent, Repository.indexName,
                    "Error no file named \(Repository.indexName) found in directory"))
        } else if chosen == nil {
            transformer = (path, "")
        }
        if let chosen, hasFolder(chosen) {
            transformer = (path.appendingPath(chosen), chosen + "/")
        }
        checkComponents()
    }

    /// The files of a directory below the model.
    package mutating func scan(_ folder: (path: String, prefix: String)) throws -> FolderScan {
        if let scan = scans[folder.prefix] { return scan }
        let scan =
            try zip.map { FolderScan($0, prefix: folder.prefix, &problems) }
            ?? FolderScan(folder.path, prefix: folder.prefix, &problems)
        scans[folder.prefix] = scan
        return scan
    }

    private func hasFolder(_ name: String) -> Bool {
        zip.map { zip in zip.entries.contains { $0.name.hasPrefix(name + "/") } }
            ?? path.appendingPath(name).isFolder
    }

    private mutating func readModelIndex(_ scan: FolderScan) {
        let file = scan.file(Repository.indexName)
        do {
            let json = try JSONFile.parse(
                scan.content(Repository.indexName), path: file, allowsNonFinite: true)
            guard let members = json.members else {
                problems.append(
                    Problem(.modelIndexInvalid, Repository.indexName, "is not a JSON object"))
                return
            }
            pipeline = json["_class_name"]?.string ?? ""
            for member in members where !member.key.hasPrefix("_") { addComponent(member) }
        } catch let error as any DiagnosticError {
            problems.append(
                Problem(
                    .modelIndexInvalid, Repository.indexName, PartialFile.reason(error, file)))
        } catch {}
    }

    private mutating func addComponent(_ member: JSONValue.Member) {
        guard let entry = member.value.array else {
            // Settings of the pipeline are numbers, texts and flags.
            if member.value.members != nil {
                refuse(member, "is not [library, class]")
            }
            return
        }
        if entry.allSatisfy({ $0 == .null }) { return }
        guard entry.count == 2, let className = entry[1].string else {
            return refuse(member, "is not [library, class]")
        }
        guard ShardSet.isBareFileName(member.key) else {
            return refuse(member, "is not the name of a directory in the repository")
        }
        components.append(
            Component(
                name: member.key, library: entry[0].string ?? "", className: className,
                isPresent: hasFolder(member.key)))
    }

    private mutating func refuse(_ member: JSONValue.Member, _ reason: String) {
        problems.append(
            Problem(
                .modelIndexInvalid, Repository.indexName,
                "component '\(member.key.printable)' \(reason)"))
    }

    /// The component that is the transformer; a problem where there is none.
    private mutating func chooseTransformer() -> String? {
        let name = NetworkClass.mainComponent(components.map { ($0.name, $0.className) })
        guard let name else {
            problems.append(
                Problem(
                    .transformerAbsent, Repository.indexName,
                    "no component is a \(NetworkClass.all[0].name)"))
            // What is in the usual place is looked into all the same.
            return hasFolder("transformer") ? "transformer" : nil
        }
        if !hasFolder(name) {
            problems.append(
                Problem(
                    .transformerAbsent, name.printable, "the transformer's directory is missing",
                    remedy: "download the directory \(name.printable)/ of the repository"))
        }
        return name
    }

    /// Files of all components, the transformer's weights aside.
    private mutating func checkComponents() {
        var variants: [(name: String, variants: [String])] = []
        for component in components {
            guard component.isPresent else {
                if component.className != NetworkClass.all[0].name {
                    problems.append(
                        Problem(
                            .componentAbsent, component.name,
                            "model_index.json names the component, but its directory is missing",
                            remedy: "download the directory \(component.name.printable)/ if the "
                                + "pipeline is to run from here"))
                }
                continue
            }
            let folder = (
                path: path.appendingPath(component.name), prefix: component.name + "/"
            )
            guard let scan = try? scan(folder) else { continue }
            if folder.prefix == transformer?.prefix {
                let lint = WeightFolderLint(
                    scan, stem: scan.weightsStem, isModel: true)
                if !lint.variants.isEmpty { variants.append((component.name, lint.variants)) }
                continue
            }
            let lint = ComponentLint(component, scan, pipeline: pipeline)
            problems += lint.problems
            if isDeep {
                problems +=
                    DeepLint(
                        component, scan, files: lint.files, config: config(component.name)
                    ).problems
            }
            if !lint.variants.isEmpty { variants.append((component.name, lint.variants)) }
        }
        let lint = PipelineLint(
            pipeline, configs(),
            transformer: NetworkClass.mainComponent(components.map { ($0.name, $0.className) }))
        problems += lint.problems
        let common = variants.map { Set($0.variants) }.reduce(nil) { (all: Set<String>?, own) in
            all?.intersection(own) ?? own
        }
        if variants.count > 1, common?.isEmpty ?? false {
            let list = variants.map { item in
                item.name + " has "
                    + item.variants.map { $0.isEmpty ? "(none)" : $0 }.joined(separator: "/")
            }
            problems.append(
                Problem(
                    .variantMixed, Repository.indexName,
                    "no variant covers all components: \(list.joined(separator: ", "))"
                        .printable))
        }
    }
}

extension RepositoryLint {
    /// The configurations of components that are there and can be read.
    fileprivate func configs() -> [String: JSONValue] {
        var configs: [String: JSONValue] = [:]
        for component in components where component.isPresent {
            configs[component.name] = config(component.name)
        }
        return configs
    }

    /// The configuration of a component; `nil` where it is absent or cannot be read.
    fileprivate func config(_ name: String) -> JSONValue? {
        guard let scan = scans[name + "/"], scan.files.contains("config.json") else { return nil }
        return try? JSONFile.parse(
            scan.content("config.json"), path: name, allowsNonFinite: true)
    }
}
