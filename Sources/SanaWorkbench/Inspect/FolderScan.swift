import SanaModel

/// The files of one directory, with those that only look like files told apart. The directory is on
/// disk or in a zip file.
package struct FolderScan: Sendable {
    package let path: String
    /// The directory below the model, with a slash at its end; empty for the model's own.
    package let prefix: String
    /// Names of regular files with content of their own, sorted.
    package private(set) var files: [String] = []
    /// Names that exist but lead to nothing that can be read.
    package private(set) var unusable = Set<String>()
    /// What the files hold, where they are a zip file's.
    private var entries: [String: ByteView] = [:]

    /// Most files of a directory that are looked at.
    private static let maximumFileCount = 10_000

    /// - Throws: `FileError` when the directory cannot be listed.
    package init(_ path: String, prefix: String, _ problems: inout [Problem]) throws {
        (self.path, self.prefix) = (path, prefix)
        let names = try path.folderEntries()
        for name in names.prefix(Self.maximumFileCount) { add(name, &problems) }
        reportUnfinished(names, &problems)
    }

    /// The files of a directory in a zip file.
    ///
    /// - Parameter prefix: as in the names of the entries.
    package init(_ zip: ZipFile, prefix: String, _ problems: inout [Problem]) {
        path = prefix.isEmpty ? zip.path : zip.path.appendingPath(String(prefix.dropLast()))
        self.prefix = prefix
        for entry in zip.entries where entry.name.hasPrefix(prefix) {
            let name = String(entry.name.dropFirst(prefix.count))
            guard !name.contains("/"), !name.isSystemFileName else { continue }
            entries[name] = entry.bytes
            if Self.isPointer(entry.bytes) {
                addPointer(name, &problems)
            } else {
                files.append(name)
                checkMark(name, entry.bytes, &problems)
            }
        }
        files.sort()
        reportUnfinished(files, &problems)
    }

    /// A few files of a directory whose others are of no interest.
    package init(of names: [String], in path: String, _ problems: inout [Problem]) {
        (self.path, prefix) = (path, "")
        for name in names { add(name, &problems) }
        reportUnfinished(
            names.compactMap { UnfinishedDownload.marker(of: path.appendingPath($0)) }
                .map(\.lastPathComponent), &problems)
    }

    /// A problem for every file that a downloader left next to one, or in place of one.
    private mutating func reportUnfinished(_ names: [String], _ problems: inout [Problem]) {
        for name in names {
            guard let target = UnfinishedDownload.target(of: name) else { continue }
            problems.append(
                Problem(
                    .downloadUnfinished, prefix + target,
                    UnfinishedDownload.reason(name)))
        }
        files.removeAll { UnfinishedDownload.target(of: $0) != nil }
    }

    private mutating func add(_ name: String, _ problems: inout [Problem]) {
        let file = path.appendingPath(name)
        if file.isLink, !file.pathExists {
            problems.append(
                Problem(.linkDangling, prefix + name, "the link points to a missing file"))
            unusable.insert(name)
        } else if let content = try? ByteView(mapping: file), Self.isPointer(content) {
            addPointer(name, &problems)
        } else if file.pathExists, !file.isFolder {
            files.append(name)
            if let content = try? ByteView(mapping: file) { checkMark(name, content, &problems) }
        } else if !file.pathExists, name.contains("\u{FFFD}") {
            // Invalid bytes were replaced by U+FFFD, so no file has this path.
            problems.append(
                Problem(
                    .nameEncoding, prefix + name,
                    "the file name is not valid UTF-8, so the file is ignored"))
        }
    }

    private func checkMark(_ name: String, _ content: ByteView, _ problems: inout [Problem]) {
        guard name.hasSuffix(".json"), ByteOrderMark(content) == .utf8 else { return }
        problems.append(
            Problem(
                .byteOrderMark, prefix + name,
                "Unexpected UTF-8 BOM: the file begins with a byte order mark"))
    }

    private mutating func addPointer(_ name: String, _ problems: inout [Problem]) {
        problems.append(
            Problem(
                .lfsPointer, prefix + name,
                "is \(ForeignContent.lfsPointer.description): header too large or invalid JSON "
                    + "where it is loaded"))
        unusable.insert(name)
    }

    /// Whether a file is there, whole or not.
    package func exists(_ name: String) -> Bool {
        files.contains(name) || unusable.contains(name)
    }

    package func file(_ name: String) -> String { path.appendingPath(name) }

    /// The bytes of a file.
    ///
    /// - Throws: `FileError`.
    package func content(_ name: String) throws -> ByteView {
        try entries[name] ?? ByteView(mapping: file(name))
    }

    /// What weights that belong to the directory's configuration are called.
    package var weightsStem: String {
        let name = "config.json"
        guard files.contains(name), let content = try? content(name) else {
            return WeightFiles.stem
        }
        return NetworkClass.stem(beside: try? JSONFile.parse(content, path: file(name)))
    }

    private static func isPointer(_ content: ByteView) -> Bool {
        ForeignContent(content) == .lfsPointer
    }
}
