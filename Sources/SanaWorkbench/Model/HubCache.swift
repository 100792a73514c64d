import Foundation
import SanaModel

/// A model as the Hugging Face hub calls it: `org/name` or `org/name@revision`.
package struct HubName: Sendable, Equatable {
    package let organisation: String
    package let name: String
    /// A branch, tag or full commit hash.
    package let revision: String

    /// Revision where none is given.
    package static let mainRevision = "main"

    package var repository: String { organisation + "/" + name }

    /// `nil` for text that cannot be the name of a repository, such as a path.
    ///
    /// Rules of huggingface_hub's `validate_repo_id`. Names that end as files do are paths.
    ///
    /// - Throws: `BadDataError` for a revision that could leave the cache or drive a shell.
    package init?(_ text: String) throws(BadDataError) {
        let parts = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
        let names = (parts.first ?? "").split(separator: "/", omittingEmptySubsequences: false)
        guard names.count == 2, (parts.first ?? "").utf8.count <= 96,
            names.allSatisfy(Self.isName),
            !Self.fileEndings.contains(where: { names[1].hasSuffix($0) })
        else { return nil }
        (organisation, name) = (String(names[0]), String(names[1]))
        revision = parts.count == 2 ? String(parts[1]) : Self.mainRevision
        guard Self.isRevision(revision) else {
            throw BadDataError(
                file: text,
                reason: "'\(revision.printable)' is not a valid revision",
                remedy: "give a branch, a tag or a full commit hash after the @")
        }
    }

    private static let fileEndings = [
        ".git", ".safetensors", ".zst", ".json", ".yaml", ".pth", ".pt", ".bin", ".ckpt", ".dduf",
        ".txt", ".sqlite",
    ]

    private static func isName(_ part: Substring) -> Bool {
        let edges: Set<Character> = ["-", "."]
        guard let first = part.first, let last = part.last, !edges.contains(first),
            !edges.contains(last), !part.contains("--"), !part.contains("..")
        else { return false }
        return part.utf8.allSatisfy { isWord($0) || $0 == UInt8(ascii: ".") }
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }

    /// Names that git allows and that need no quotes in a shell.
    private static func isRevision(_ text: String) -> Bool {
        guard (1...200).contains(text.utf8.count), !text.contains(".."), !text.hasPrefix("-") else {
            return false
        }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        return parts.allSatisfy { part in
            !part.isEmpty && part != "." && !part.hasPrefix(".")
                && part.utf8.allSatisfy { isWord($0) || ".+".utf8.contains($0) }
        }
    }

    /// Whether a text is a whole commit hash, by which the cache calls its snapshots.
    package static func isCommit(_ text: String) -> Bool {
        text.utf8.count == 40 && text.utf8.allSatisfy { "0123456789abcdef".utf8.contains($0) }
    }
}

/// The Hugging Face cache on this machine, read and never written; nothing is downloaded.
///
/// Source: huggingface_hub's `constants.py` for the folders, and its documentation of the cache for
/// their layout: `models--ORG--NAME/refs/REVISION` holds the commit, `snapshots/COMMIT/` its files,
/// which are links to blobs or files of their own.
package struct HubCache: Sendable {
    package let path: String

    /// The directory that huggingface_hub would use.
    package init(environment: [String: String] = ProcessInfo.processInfo.environment) {
        func folder(_ name: String) -> String? {
            guard let text = environment[name], !text.isEmpty else { return nil }
            return Self.expanded(text, environment)
        }
        let home = environment["HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? NSHomeDirectory()
        let caches = folder("XDG_CACHE_HOME") ?? home.appendingPath(".cache")
        let hub = folder("HF_HOME") ?? caches.appendingPath("huggingface")
        path =
            folder("HF_HUB_CACHE") ?? folder("HUGGINGFACE_HUB_CACHE") ?? hub.appendingPath("hub")
    }

    /// `~` and variables replaced, as Python's `expanduser` and `expandvars` do.
    private static func expanded(_ text: String, _ environment: [String: String]) -> String {
        var text = text
        if text == "~" || text.hasPrefix("~/"), let home = environment["HOME"] {
            text = home + text.dropFirst()
        }
        return text.replacing(/\$(?:\{(\w+)\}|(\w+))/) { match in
            let name = String(match.1 ?? match.2 ?? "")
            return environment[name] ?? String(match.0)
        }
    }

    /// What the cache keeps of a model in.
    package func folder(of model: HubName) -> String {
        path.appendingPath("models--\(model.organisation)--\(model.name)")
    }

    /// The snapshot's directory.
    ///
    /// - Throws: `ModelAbsentError` where the cache has none, `BadDataError` for a reference that
    ///   is no commit, `FileError` where it cannot be read.
    package func snapshot(of model: HubName) throws -> String {
        let folder = folder(of: model)
        guard folder.isFolder else { throw ModelAbsentError(model, cache: path, known: []) }
        let commit = try commit(of: model, in: folder)
        let snapshot = folder.appendingPath("snapshots").appendingPath(commit ?? "")
        guard commit != nil, snapshot.isFolder else {
            throw ModelAbsentError(model, cache: path, known: known(in: folder))
        }
        return snapshot
    }

    /// `nil` where nothing is known of the revision.
    private func commit(of model: HubName, in folder: String) throws -> String? {
        if HubName.isCommit(model.revision) { return model.revision }
        let file = folder.appendingPath("refs").appendingPath(model.revision)
        guard file.pathExists, !file.isFolder else { return nil }
        let content = try ByteView(mapping: file)
        let text = content.withUnsafeBytes { String(decoding: $0.prefix(64), as: UTF8.self) }
        guard content.count == 40, HubName.isCommit(text) else {
            throw BadDataError(
                file: file, reason: "is not a commit hash: '\(text.printable)'",
                remedy: "download the revision again: '\(ModelAbsentError.command(model))'")
        }
        return text
    }

    /// Revisions that could be given instead.
    private func known(in folder: String) -> [String] {
        let refs = (try? folder.appendingPath("refs").folderEntries()) ?? []
        let commits = (try? folder.appendingPath("snapshots").folderEntries()) ?? []
        return
            (refs.filter { !folder.appendingPath("refs").appendingPath($0).isFolder }
            + commits.filter(HubName.isCommit))
    }
}

/// A model that is neither a path nor in the cache.
package struct ModelAbsentError: DiagnosticError {
    package let model: HubName
    /// The cache's directory.
    package let cache: String
    /// Revisions of it that the cache has.
    package let known: [String]

    package init(_ model: HubName, cache: String, known: [String]) {
        (self.model, self.cache, self.known) = (model, cache, known)
    }

    package var category: DiagnosticCategory { .noInput }

    package var description: String {
        let there =
            known.isEmpty
            ? "" : "; it has \(known.prefix(5).joined(separator: ", ").printable)"
        return
            "\(model.repository) is not a path here, and its revision \(model.revision) is not in "
            + "the Hugging Face cache (\(cache.printable))\(there)"
    }

    package var remedy: String? { "check the path, or run '\(Self.command(model))'" }
    package var page: HelpPage? { .notInCache }

    /// What would fetch the model.
    package static func command(_ model: HubName) -> String {
        "hf download \(model.repository)"
            + (model.revision == HubName.mainRevision ? "" : " --revision \(model.revision)")
    }
}

/// MODEL as a user wrote it, and where it is.
package enum ModelPath {
    /// The path itself where something is there, else the snapshot of a model by its name on the
    /// hub; other text as it is.
    ///
    /// - Throws: the errors of `HubName.init` and `HubCache.snapshot`.
    package static func resolve(_ text: String, cache: HubCache = HubCache()) throws -> String {
        guard !text.pathExists, !text.isLink, let name = try HubName(text) else { return text }
        return try cache.snapshot(of: name)
    }

    /// Whether a text names a model of which the cache has anything.
    package static func isCached(_ text: String, cache: HubCache = HubCache()) throws -> Bool {
        try HubName(text).map { cache.folder(of: $0).isFolder } ?? false
    }

    /// What outputs are called after a model.
    package static func stem(_ text: String) -> String {
        guard !text.pathExists, let name = try? HubName(text) else { return text }
        return name.revision == HubName.mainRevision
            ? name.name : name.name + "@" + name.revision.replacing("/", with: "-")
    }
}

extension OpenedModel {
    /// The same model under the name that the user gave it.
    package func labelled(_ label: String) -> OpenedModel {
        OpenedModel(
            label: label, configJSON: configJSON, config: config, source: source, kind: kind)
    }
}
