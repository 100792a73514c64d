import Foundation
import SanaModel
import SanaQuant
import Yams

/// `sana-tools.yaml`: what the commands do when they are called without arguments.
///
/// Paths are relative to the directory of the file. Flags win over the file.
package struct ProjectFile {
    package static let name = "sana-tools.yaml"

    /// Aliases of aliases multiply: of more a few lines could be written that take forever to read.
    private static let maximumAliasCount = 16

    /// Path of the file itself.
    package let path: String
    /// The same for messages.
    package var label: String { Self.relative(path) }
    /// The model to work on.
    package var model: String?
    /// Types that convert makes.
    package var dtypes: [String] = []
    /// Rules that come before convert's own.
    package var rules: [UserRule] = []
    /// Folder, or one `.safetensors.zst` file, that convert writes.
    package var output: String?
    /// Golden files, directories or patterns.
    package var references: [String] = []
    /// Trajectories, likewise.
    package var trajectories: [String] = []
    package var tolerance: Double?
    /// Tolerances of layers, `GLOB=T`; the first that matches decides.
    package var layerTolerances: [LayerTolerance] = []
    /// Files of per-layer tolerances that 'verify --calibrate' wrote.
    package var calibrations: [String] = []
    /// SQLite file of the history.
    package var database: String?
    /// Side of the square image to profile, in pixels.
    package var resolution: Int?

    /// The file in the current directory or the nearest parent; `nil` when there is none.
    ///
    /// - Throws: `BadDataError`, `FileError`.
    package static func find(from folder: String = FileManager.default.currentDirectoryPath) throws
        -> ProjectFile?
    {
        var folder = folder
        while true {
            let path = folder.appendingPath(name)
            if path.pathExists { return try ProjectFile(path: path) }
            guard folder.parentFolder != folder, !folder.isEmpty else { return nil }
            folder = folder.parentFolder
        }
    }

    /// - Throws: `BadDataError` for anything but the known keys with values of their types.
    package init(path: String) throws {
        let content = try ByteView(mapping: path)
        func bad(_ reason: String, _ remedy: String? = nil) -> BadDataError {
            BadDataError(
                file: Self.relative(path), reason: reason, remedy: remedy, page: .projectFile)
        }
        guard content.count <= 1 << 20 else { throw bad("is larger than 1 MiB") }
        let text = content.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        guard text.isStreamSafe else {
            throw bad("more than 30 combining marks on a character, out of order")
        }
        guard text.matches(of: /(?:^|[\s\[{,])\*\w/).count <= Self.maximumAliasCount else {
            throw bad("over \(Self.maximumAliasCount) aliases (*)", "write the values out")
        }
        let source = ProjectSource(path: Self.relative(path), text: text)
        self.path = path
        guard let node = try source.root() else { return }
        guard let mapping = node.mapping else {
            throw source.bad(node, "is not a mapping of keys to values")
        }
        for (key, value) in mapping {
            try set(key, ProjectValue(key: key.string ?? "", node: value, source: source))
        }
    }

    /// Keys that the file may have.
    package static let keys = [
        "model", "dtype", "rules", "output", "references", "trajectories", "tolerance",
        "layer_tolerances", "tolerances", "database", "resolution",
    ]

    private mutating func set(_ key: Node, _ value: ProjectValue) throws {
        // A key without a value is as absent.
        if value.node.null != nil, Self.keys.contains(value.key) { return }
        switch value.key {
        case "model":
            let text = try value.string("a path")
            let file = resolved(text)
            model = try !file.pathExists && ModelPath.isCached(text) ? text : file
        case "dtype": dtypes = try value.strings(Self.dtype)
        case "rules": rules = try value.strings(Self.rule)
        case "output": output = resolved(try value.string("a path"))
        case "references": references = try value.strings { text, _ in resolved(text) }
        case "trajectories": trajectories = try value.strings { text, _ in resolved(text) }
        case "tolerance":
            let number = try value.number()
            guard number >= 0, number.isFinite else {
                throw value.bad("must be a non-negative number")
            }
            tolerance = number
        case "layer_tolerances":
            layerTolerances = try value.strings { text, bad in
                guard let rule = LayerTolerance(text) else {
                    throw bad("'\(text.printable)' is not GLOB=T", LayerTolerance.remedy)
                }
                return rule
            }
        case "tolerances": calibrations = try value.strings { text, _ in resolved(text) }
        case "database": database = resolved(try value.string("a path"))
        case "resolution":
            let pixels = try value.integer("a whole number of pixels")
            guard LatentSize.isSide(pixels) else {
                throw value.bad("must be \(LatentSize.sideRule)")
            }
            resolution = pixels
        default:
            let name = key.string ?? ""
            throw value.source.bad(
                key, "unknown key '\(name.printable)'",
                name.nearest(in: Self.keys).map { "did you mean '\($0)'?" }
                    ?? "keys are \(Self.keys.joined(separator: ", "))")
        }
    }

    private static func dtype(_ text: String, _ bad: ProjectValue.Failure) throws -> String {
        guard ConversionTarget(rawValue: text) != nil else {
            throw bad(
                "'\(text.printable)' is not fp16, int8, bf16 or fp32",
                text.nearest(in: ArchiveName.dtypes).map { "did you mean '\($0)'?" })
        }
        return text
    }

    private static func rule(_ text: String, _ bad: ProjectValue.Failure) throws -> UserRule {
        do throws(RuleError) { return try UserRule(text) } catch {
            throw bad(error.description, error.remedy)
        }
    }

    /// A path of the file, seen from the current directory.
    package func resolved(_ text: String) -> String {
        text.hasPrefix("/") ? text : Self.relative(path.parentFolder.appendingPath(text))
    }

    /// Where runs are recorded when `database` says nothing: next to this file, whatever the
    /// current directory is.
    package var defaultDatabase: String { resolved(HistoryStore.defaultPath) }

    /// The path from the current directory where it is below it, which reads better in reports.
    private static func relative(_ path: String) -> String {
        let current = FileManager.default.currentDirectoryPath
        let prefix = current.hasSuffix("/") ? current : current + "/"
        return path.hasPrefix(prefix) && path.count > prefix.count
            ? String(path.dropFirst(prefix.count)) : path
    }

    /// Archives of the model that convert has made where the file says, in the order of
    /// `ArchiveName.dtypes`.
    package var existingArchives: [String] {
        guard let model else { return [] }
        return ArchiveName.candidates(model: ModelPath.stem(model), output: output).filter(
            \.pathExists)
    }

    /// Whether `path` is the model, or an archive where convert puts those of the model.
    package func owns(_ path: String) -> Bool {
        guard let model else { return false }
        return ([model] + existingArchives + promisedArchives).contains {
            $0 == path || $0.resolvedPath == path.resolvedPath
        }
    }

    /// Archives that `convert` makes from the model by `dtype` and `output`; `verify` expects each.
    package var promisedArchives: [String] {
        guard let model else { return [] }
        var seen = Set<String>()
        return dtypes.map {
            ArchiveName.path(model: ModelPath.stem(model), dtype: $0, output: output)
        }.filter { seen.insert($0).inserted }
    }

    /// A command without MODEL outside any project.
    package static let noModel = UsageError(
        "no MODEL given, and no \(name) with a model in this directory or a parent",
        remedy: "give a MODEL, or write \(name) with 'sana-tools init'", page: .noModel)
}

/// Where convert puts an archive.
package enum ArchiveName {
    package static let suffix = Archive.suffix
    /// Types an archive can be made in.
    package static let dtypes = ["fp32", "fp16", "bf16", "int8"]

    /// - Parameters:
    ///   - output: a file ending in `.safetensors.zst`, a folder, or `nil` for the current folder.
    package static func path(model: String, dtype: String, output: String?) -> String {
        let folder = output ?? "."
        guard !folder.hasSuffix(suffix) else { return folder }
        var stem = model.lastPathComponent
        if stem == "." || stem == ".." {
            stem = URL(fileURLWithPath: model).standardizedFileURL.path.lastPathComponent
        }
        if stem.isEmpty || stem == "/" { stem = "model" }
        for ending in [suffix, ".safetensors", ".pth", ".pt", ".ckpt", ".dduf"]
        where stem.hasSuffix(ending) {
            stem = String(stem.dropLast(ending.count))
        }
        return folder.appendingPath("\(stem)-\(dtype)\(suffix)")
    }

    /// Every archive that convert may have made of `model`.
    package static func candidates(model: String, output: String?) -> [String] {
        var seen = Set<String>()
        return dtypes.map { path(model: model, dtype: $0, output: output) }
            .filter { seen.insert($0).inserted }
    }
}
