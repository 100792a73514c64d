import SanaModel
import SanaQuant

/// What a component's directory says of its weights: which files hold them, and what is wrong with
/// those.
package struct WeightFolderLint {
    package private(set) var problems: [Problem] = []
    /// Variants that are there, the plain one as an empty text, sorted.
    package private(set) var variants: [String] = []
    /// The variant that was looked into.
    package private(set) var variant: String?
    package private(set) var files: [PartialFile] = []
    /// The two files of a model of nunchaku; `nil` for others.
    package private(set) var split: WeightFiles?
    /// Tensors that an index places in unreadable files, reported with the file.
    package private(set) var excused = Set<String>()

    private let scan: FolderScan
    private let stem: String
    private let names: [WeightName]

    /// - Parameters:
    ///   - stem: what weights of this component are called.
    ///   - isModel: whether this is the transformer.
    ///   - requested: the variant that the user wants.
    package init(_ scan: FolderScan, stem: String, isModel: Bool, variant requested: String? = nil)
    {
        (self.scan, self.stem) = (scan, stem)
        names = (scan.files + scan.unusable.sorted()).compactMap { WeightName($0, stem: stem) }
        variants = Set(names.filter { $0.kind != .shard }.map(\.variant)).sorted()
        let shardVariants = Set(names.filter { $0.kind == .shard }.map(\.variant)).sorted()
        checkNames(isModel: isModel)
        let chosen =
            requested ?? (variants.contains("") ? "" : variants.first ?? shardVariants.first)
        variant = chosen
        if isModel, requested == nil, let first = variants.first, first != "" {
            add(
                .variantOnly, "",
                "Error no file named \(stem).safetensors found in directory: only "
                    + variants.map { "variant=\"\($0)\"" }.joined(separator: ", ") + " is there")
        }
        readWeights(chosen)
        checkStrayShards()
    }

    private mutating func add(
        _ rule: LintRule, _ name: String, _ message: String, remedy: String? = nil
    ) {
        var location = scan.prefix + name
        if location.isEmpty { location = "." }
        problems.append(Problem(rule, location, message.printable, remedy: remedy))
    }

    // MARK: Names

    private mutating func checkNames(isModel: Bool) {
        for name in names {
            guard let current = name.currentName else { continue }
            let isFound = name.kind == .shard || name.name.hasSuffix(".index.json") && name.isLegacy
            add(
                .nameLegacy, name.name,
                "diffusers calls it \(current)"
                    + (isFound
                        ? "; This serialization format is now deprecated"
                        : ", and: Error no file named \(current) found in directory"))
        }
        let all = scan.files + scan.unusable.sorted()
        let foreign = all.filter {
            $0.hasSuffix(".safetensors") && WeightName($0, stem: stem) == nil
        }
        let pickles = all.filter(WeightName.isPickle)
        if isModel {
            for name in foreign {
                add(.nameForeign, name, "diffusers looks for \(stem)*.safetensors only")
            }
        }
        guard names.isEmpty else {
            for name in pickles {
                add(.pickleBeside, name, "pickled weights next to \(stem)*.safetensors")
            }
            return
        }
        if isModel, WeightFiles.splitNames.allSatisfy(scan.exists) { return readSplit() }
        let archive = stem + Archive.suffix
        if !isModel, scan.exists(archive) {
            // As convert writes it; diffusers reads what unpack makes of it.
            do {
                _ = try Archive(path: scan.path.appendingPath(archive))
            } catch {
                let reason = (error as? any DiagnosticError)?.description ?? "\(error)"
                add(.weightsAbsent, archive, reason)
            }
            return
        }
        if let pickle = pickles.first {
            add(
                .pickleOnly, pickle,
                "Error no file named \(stem).safetensors found in directory; pickles are: "
                    + pickles.joined(separator: ", "))
        } else {
            let found = WeightFiles.substitute(all, folder: scan.path)
            add(
                .weightsAbsent, "",
                "Error no file named \(stem).safetensors found in directory" + found.reason,
                remedy: found.remedy)
        }
        if isModel, foreign.count == 1 { open(foreign) }
    }

    // MARK: Files

    private mutating func readWeights(_ chosen: String?) {
        guard let chosen else { return }
        // What diffusers looks for first comes first.
        let indexes = names.filter { $0.kind == .index && $0.variant == chosen }
            .sorted { ($0.currentName ?? "", $0.name) < ($1.currentName ?? "", $1.name) }
        let single = names.first { $0.kind == .single && $0.variant == chosen }
        if let index = indexes.first {
            for other in indexes.dropFirst() {
                add(.indexTwice, other.name, "\(index.name) is an index of the same variant")
            }
            if let single {
                add(
                    .weightsTwice, single.name,
                    "\(index.name) holds the same variant, and is what diffusers loads")
            }
            readShards(index)
        } else if let single {
            open([single.name])
        } else {
            // No index: what the shards hold by themselves.
            let shards = names.filter { $0.kind == .shard && $0.variant == chosen }
            if let first = shards.first {
                let expected = stem + ".safetensors.index" + (chosen.isEmpty ? "" : "." + chosen)
                add(
                    .indexAbsent, first.name,
                    "Error no file named \(expected).json found in directory: \(shards.count) "
                        + "shards have no index")
            }
            open(shards.map(\.name))
        }
    }

    /// The two files of a model of nunchaku.
    private mutating func readSplit() {
        split = try? WeightFiles.candidates(in: scan.files, folder: scan.path, stem: stem).first
        open(WeightFiles.splitNames)
        var seen = Set<String>()
        for file in files {
            for tensor in file.tensors where !seen.insert(tensor.name).inserted {
                add(
                    .tensorDuplicate, file.name,
                    "tensor '\(tensor.name.printable)' is in \(WeightFiles.splitNames[0]), too")
            }
        }
    }

    private mutating func open(_ names: [String]) {
        for name in names where !scan.unusable.contains(name) {
            if let file = PartialFile(name, in: scan, &problems) { files.append(file) }
        }
    }

    private mutating func readShards(_ index: WeightName) {
        guard !scan.unusable.contains(index.name) else { return }
        let content = IndexContent(index.name, in: scan, &problems)
        let fileNames = Set(content.fileByTensor.values).sorted()
        for name in fileNames where !scan.exists(name) {
            let count = content.fileByTensor.values.count { $0 == name }
            add(
                .shardAbsent, name,
                "does not appear to have a file named \(name) which is required according to the "
                    + "checkpoint index \(index.name) (\(count) tensors)")
        }
        let mixed = fileNames.filter {
            WeightName($0, stem: stem).map { $0.variant != index.variant } ?? false
        }
        if let first = mixed.first {
            add(
                .variantMixed, index.name,
                "an index of variant '\(index.variant)' names \(first), which is of another")
        }
        open(fileNames.filter(scan.exists))
        compare(content, index.name)
    }

    /// Where the index and the files that could be read disagree.
    private mutating func compare(_ content: IndexContent, _ indexName: String) {
        var fileByTensor: [String: String] = [:]
        for file in files {
            for tensor in file.tensors {
                if let other = fileByTensor[tensor.name] {
                    add(
                        .tensorDuplicate, file.name,
                        "tensor '\(tensor.name.printable)' is in \(other), too")
                    continue
                }
                fileByTensor[tensor.name] = file.name
                let placed = content.fileByTensor[tensor.name]
                if content.isWhole, placed == nil {
                    add(
                        .indexTensorUnlisted, file.name,
                        "tensor '\(tensor.name.printable)' is not in \(indexName)")
                }
            }
        }
        let opened = Dictionary(files.map { ($0.name, Set($0.tensors.map(\.name))) }) { $1 }
        for (tensor, file) in content.fileByTensor.sorted(by: { $0.key < $1.key }) {
            guard let held = opened[file] else {
                excused.insert(tensor)
                continue
            }
            if !held.contains(tensor) {
                add(
                    .indexTensorAbsent, indexName,
                    "tensor '\(tensor.printable)' is not in \(file), where the index places it"
                        + (fileByTensor[tensor].map { ", but in \($0)" } ?? ""))
            }
        }
        excused.formUnion(content.refused)
        guard content.isWhole, let total = content.totalSize,
            opened.count == Set(content.fileByTensor.values).count
        else { return }
        let actual = PartialSource(files).tensors.reduce(0) { $0 + $1.byteCount }
        if total != actual {
            add(
                .indexTotalSize, indexName,
                "metadata.total_size is \(total), the tensors take \(actual) bytes")
        }
    }

    /// Shards that no index of any variant names.
    private mutating func checkStrayShards() {
        var ignored: [Problem] = []
        let indexes = names.filter { $0.kind == .index && !scan.unusable.contains($0.name) }
        guard !indexes.isEmpty || names.contains(where: { $0.kind == .single }) else { return }
        var named = Set<String>()
        for index in indexes {
            let content = IndexContent(index.name, in: scan, &ignored)
            // What an index would have named is anyone's guess where it is damaged.
            guard content.isWhole else { return }
            named.formUnion(content.fileByTensor.values)
        }
        let opened = Set(files.map(\.name))
        for shard in names
        where shard.kind == .shard && !named.contains(shard.name) && !opened.contains(shard.name) {
            add(.shardStray, shard.name, "no index names this shard")
        }
    }
}

extension WeightName {
    /// Whether diffusers still finds an index of this older form:
    /// `….safetensors.VARIANT.index.json`.
    fileprivate var isLegacy: Bool {
        kind == .index && !variant.isEmpty && name == "\(stem).safetensors.\(variant).index.json"
    }
}

/// An index of shards, as far as it can be read.
package struct IndexContent {
    /// Entries that name a file of the directory.
    package private(set) var fileByTensor: [String: String] = [:]
    package private(set) var totalSize: Int?
    /// Tensors whose file cannot be what it says.
    package private(set) var refused: [String] = []
    /// Whether every entry could be taken.
    package private(set) var isWhole = false

    /// Longest index that is read, in bytes.
    private static let maximumByteCount = 64 << 20

    package init(_ name: String, in scan: FolderScan, _ problems: inout [Problem]) {
        let (path, location) = (scan.file(name), scan.prefix + name)
        let document: JSONValue
        do {
            document = try JSONFile.parse(
                scan.content(name), path: path, maximumByteCount: Self.maximumByteCount)
        } catch let error as any DiagnosticError {
            problems.append(
                Problem(.indexInvalid, location, PartialFile.reason(error, path)))
            return
        } catch { return }
        guard let members = document["weight_map"]?.members, !members.isEmpty else {
            problems.append(
                Problem(.indexInvalid, location, "no \"weight_map\" object with tensors in it"))
            return
        }
        totalSize = document["metadata"]?["total_size"]?.int
        var refusedFiles: [String: Int] = [:]
        for member in members {
            if let file = member.value.string, ShardSet.isBareFileName(file) {
                fileByTensor[member.key] = file
            } else {
                refusedFiles[member.value.text(), default: 0] += 1
                refused.append(member.key)
            }
        }
        isWhole = refused.isEmpty
        for (text, count) in refusedFiles.sorted(by: { $0.key < $1.key }) {
            problems.append(
                Problem(
                    .indexPath, location,
                    "weight_map of \(count) tensors is not a bare file name: \(text.printable)"))
        }
    }
}
