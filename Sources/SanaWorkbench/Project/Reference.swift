import Libc
import SanaModel

/// Golden files that a command was given.
package enum Reference {
    /// Folders replaced by the goldens in them, sorted; `*` in the last part of a path stands for
    /// any characters.
    ///
    /// - Parameter mustExist: whether a path where nothing is is an error here; else it stays, for
    ///   its reader to tell of.
    /// - Throws: `FileError` when nothing is there or matches, `BadDataError` for a folder without
    ///   a golden.
    package static func expand(_ paths: [String], mustExist: Bool = true) throws -> [String] {
        try paths.flatMap { path -> [String] in
            if path.isFolder {
                let files = try goldens(in: path, matching: "*")
                guard !files.isEmpty else {
                    throw BadDataError(
                        file: path, reason: "no .safetensors file in this directory",
                        remedy: "give a golden or a directory of goldens, or record one with "
                            + "'sana-tools capture'")
                }
                return files
            }
            let name = path.lastPathComponent
            guard name.contains("*") else {
                guard path.pathExists || !mustExist else {
                    throw FileError(.open, path, code: ENOENT)
                }
                return [path]
            }
            let matches = try goldens(in: path.parentFolder, matching: name)
            guard !matches.isEmpty else { throw FileError(.open, path, code: ENOENT) }
            return matches
        }
    }

    private static func goldens(
        in folder: String, matching pattern: String
    ) throws -> [String] {
        guard folder.isFolder else { throw FileError(.open, folder, code: ENOENT) }
        return try folder.folderEntries()
            .filter { $0.hasSuffix(".safetensors") || $0.hasSuffix(".safetensors.zst") }
            .filter { fnmatch(pattern, $0, 0) == 0 }
            .map { folder.appendingPath($0) }
    }
}
