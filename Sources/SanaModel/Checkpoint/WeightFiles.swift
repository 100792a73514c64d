/// Which files of a component directory hold its weights.
///
/// File names as diffusers writes them (`diffusers.utils.constants`, `_add_variant`):
/// `diffusion_pytorch_model[.VARIANT].safetensors`, transformers' `model[.VARIANT].safetensors`,
/// and for shards an index:
/// `….safetensors.index[.VARIANT].json`, formerly `….safetensors[.VARIANT].index.json`, and by
/// other tools `…[.VARIANT].safetensors.index.json`. The shards themselves are named by the index.
/// nunchaku formerly had two files without an index (`splitNames`).
public struct WeightFiles: Sendable, Equatable {
    /// `fp16`, `bf16` …; `nil` for the plain names.
    public let variant: String?
    /// The safetensors file or the index, a name in the directory.
    public let name: String
    /// Whether `name` is an index of shards.
    public var isSharded: Bool { name.hasSuffix(".json") }
    /// Whether `name` is the first of `splitNames`.
    public var isSplit: Bool { name == Self.splitNames[0] }

    /// The two files that together held a model of nunchaku before one file with its configuration
    /// did.
    ///
    /// Source: nunchaku 1.0, `_build_model_legacy` and `merge_safetensors.py`.
    public static let splitNames = [
        "transformer_blocks.safetensors", "unquantized_layers.safetensors",
    ]

    /// File name that diffusers gives a model's weights, without variant and extension.
    public static let stem = "diffusion_pytorch_model"
    /// What transformers calls them.
    public static let transformersStem = "model"

    /// File name of the index of shards of that stem, and of a variant.
    public static func indexName(_ stem: String, variant: String? = nil) -> String {
        stem + ".safetensors.index" + (variant.map { "." + $0 } ?? "") + ".json"
    }

    /// All sets of weights among the file names of a directory, plain names first.
    ///
    /// - Throws: `BadDataError` when a single file and an index claim the same variant.
    public static func candidates(
        in names: [String], folder: String, stem: String = stem
    ) throws -> [WeightFiles] {
        var found: [String: WeightFiles] = [:]
        for name in names {
            guard let variant = variant(of: name, stem) else { continue }
            if let other = found[variant], other.name != name {
                throw BadDataError(
                    file: folder,
                    reason: "both \(other.name.printable) and \(name.printable) hold the weights",
                    remedy: "remove the one that is stale, or give the file itself as MODEL",
                    page: .weightsTwice)
            }
            found[variant] = WeightFiles(variant: variant.isEmpty ? nil : variant, name: name)
        }
        if found.isEmpty, stem == Self.stem, splitNames.allSatisfy(names.contains) {
            return [WeightFiles(variant: nil, name: splitNames[0])]
        }
        return found.sorted { $0.key < $1.key }.map(\.value)
    }

    /// The one set that `variant` asks for; with none asked, the only one there.
    ///
    /// - Parameter index: the `model_index.json` by which the directory was found.
    /// - Throws: `BadDataError` that lists what is there: none, several, or not the one asked for.
    public static func choose(
        variant: String?, in folder: String, stem: String = stem, foundBy index: String? = nil
    ) throws -> WeightFiles {
        try choose(
            variant: variant, among: folder.folderEntries(), folder: folder, stem: stem,
            foundBy: index)
    }

    /// The same among the file names of a directory that may be inside a file.
    static func choose(
        variant: String?, among names: [String], folder: String, stem: String = stem,
        foundBy index: String? = nil
    ) throws -> WeightFiles {
        // Files of other variants that contradict each other do not matter to the one asked for.
        if let variant,
            let match = try candidates(
                in: names.filter { Self.variant(of: $0, stem) == variant }, folder: folder,
                stem: stem
            ).first
        {
            return match
        }
        let all = try candidates(in: names, folder: folder, stem: stem)
        let list = all.map { $0.variant ?? "(none)" }.joined(separator: ", ").printable
        if let variant {
            throw BadDataError(
                file: folder,
                reason:
                    "no weights of variant '\(variant.printable)'; variants here: \(all.isEmpty ? "no weights at all" : list)",
                remedy: "choose one of these with --variant")
        }
        guard let only = all.first, all.count == 1 else {
            let found = substitute(names, folder: folder)
            throw all.isEmpty
                ? BadDataError(
                    file: folder,
                    reason: "no \(stem)*.safetensors in this directory"
                        + (index.map { ", which \($0.printable) names as the model" } ?? "")
                        + found.reason,
                    remedy: found.remedy
                        ?? "download the weights, or give a .safetensors file as MODEL",
                    page: .weightsAbsent)
                : BadDataError(
                    file: folder, reason: "several variants: \(list)",
                    remedy: "choose one with --variant, or give the file itself as MODEL")
        }
        return only
    }

    /// What is in a folder in place of its weights, as the end of a sentence, and what to do about
    /// it.
    public static func substitute(
        _ names: [String], folder: String
    ) -> (reason: String, remedy: String?) {
        if let unfinished = names.first(where: { UnfinishedDownload.target(of: $0) != nil }) {
            return (", only the unfinished download \(unfinished.printable)", nil)
        }
        func first(_ ends: String...) -> String? {
            names.first { name in ends.contains { name.hasSuffix($0) } }
        }
        if let name = names.first(where: { $0.contains(".safetensors?") }) {
            let target = String(name.prefix { $0 != "?" })
            return (
                ", only \(name.printable), which a downloader named after its link",
                "rename it to \(target.printable)"
            )
        }
        if let name = splitNames.first(where: names.contains) {
            let other = splitNames.first { $0 != name } ?? ""
            return (
                ", only \(name), which holds half of a model of nunchaku",
                "download \(other) into the same directory"
            )
        }
        if let name = first(".gguf") {
            return (", only \(name.printable)", "give \(name.printable) itself as MODEL")
        }
        if let name = first(".onnx", ".onnx_data") {
            return (
                ", only the ONNX model \(name.printable), which is a graph and not a checkpoint",
                nil
            )
        }
        if let name = names.first(where: { $0.hasPrefix("openvino_") }) {
            return (", only \(name.printable) of an OpenVINO model", nil)
        }
        if let name = first(".pth", ".pt", ".ckpt") {
            return (", only \(name.printable)", "give \(name.printable) itself as MODEL")
        }
        let inner = folder.appendingPath("checkpoints")
        if let name = try? inner.folderEntries().first(where: { $0.hasSuffix(".pth") }) {
            let file = "checkpoints/\(name.printable)"
            return (
                ", which is an original repository with \(file)", "give \(file) in it as MODEL"
            )
        }
        return ("", nil)
    }

    /// Whether a file of this name holds weights of that stem without a variant: a single file, an
    /// index, or a shard.
    public static func isPlainWeights(_ name: String, stem: String) -> Bool {
        if variant(of: name, stem) == "" { return true }
        let parts = name.dropFirst(stem.count).split(
            separator: "-", omittingEmptySubsequences: false)
        return name.hasPrefix(stem + "-") && parts.count == 4 && parts[2] == "of"
            && parts[1].allSatisfy(\.isNumber) && parts[3].hasSuffix(".safetensors")
            && parts[3].dropLast(".safetensors".count).allSatisfy(\.isNumber)
    }

    /// The variant in a file name, empty for the plain name; `nil` when the name is not one of
    /// weights.
    private static func variant(of name: String, _ stem: String) -> String? {
        guard name.hasPrefix(stem) else { return nil }
        let rest = name.dropFirst(stem.count)
        func dotted(_ part: Substring) -> String? {
            if part.isEmpty { return "" }
            let variant = part.dropFirst()
            return part.first == "." && !variant.isEmpty
                && !variant.contains(where: { ".-".contains($0) })
                ? String(variant) : nil
        }
        for (prefix, suffix) in [
            (".safetensors.index", ".json"), (".safetensors", ".index.json"),
            ("", ".safetensors.index.json"), ("", ".safetensors"),
        ]
        where rest.hasPrefix(prefix) && rest.hasSuffix(suffix)
            && rest.count >= prefix.count + suffix.count
        {
            if let variant = dotted(rest.dropFirst(prefix.count).dropLast(suffix.count)) {
                return variant
            }
        }
        return nil
    }
}

extension WeightFiles {
    /// Opens the files.
    ///
    /// - Parameters:
    ///   - folder: path of the directory, for messages.
    ///   - content: the bytes of a file of it.
    /// - Throws: as `ShardSet` and `SafetensorsFile`, and what `content` throws.
    func open(
        in folder: String, content: (String) throws -> ByteView
    ) throws -> (any TensorSource, [SafetensorsFile]) {
        func file(_ name: String) throws -> SafetensorsFile {
            try SafetensorsFile(content: content(name), path: folder.appendingPath(name))
        }
        guard isSharded || isSplit else {
            let single = try file(name)
            return (single, [single])
        }
        let set =
            isSplit
            ? try ShardSet(Self.splitNames.map(file), path: folder)
            : try ShardSet(index: content(name), path: folder.appendingPath(name), open: file)
        return (set, set.shards)
    }

    /// Refuses one of `splitNames` next to the other: it is half of a model.
    ///
    /// - Throws: `BadDataError`.
    public static func requireWhole(_ path: String) throws {
        let (name, folder) = (path.lastPathComponent, path.parentFolder)
        guard splitNames.contains(name), let other = splitNames.first(where: { $0 != name }),
            folder.appendingPath(other).pathExists
        else { return }
        throw BadDataError(
            file: path, reason: "holds half of a model of nunchaku; the other half is in \(other)",
            remedy: "give the directory itself as MODEL")
    }
}
