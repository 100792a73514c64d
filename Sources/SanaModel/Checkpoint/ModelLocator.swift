import Libc

/// Where the weights of a model are.
public enum ModelLocation: Sendable, Equatable {
    /// The directory of one network: itself, or a component of the repository that was named.
    case folder(String)
    /// A zstd-packed archive, given as such or the only weights of a directory.
    case archive(String)
    case file(String, FileKind)

    /// What a file with weights is.
    public enum FileKind: Sendable, Equatable {
        case safetensors
        case gguf
        /// Of torch.save.
        case torch
        /// A whole pipeline, DDUF.
        case pipeline
    }
}

/// Tells what a path names: the one place that decides how MODEL is opened.
public enum ModelLocator {
    /// Ending of an archive's name.
    public static let archiveSuffix = ".safetensors.zst"

    /// - Parameter subfolder: component of a repository; see `Checkpoint.open`.
    /// - Throws: `FileError` where nothing is there; `BadDataError` for a repository without a Sana
    ///   network, and for what no reader knows.
    public static func locate(
        _ path: String, subfolder: String? = nil
    ) throws -> ModelLocation {
        guard path.pathExists else { throw FileError(.open, path, code: ENOENT) }
        guard path.isFolder else {
            guard !isArchive(path) else { return .archive(path) }
            return .file(path, try kind(of: ByteView(mapping: path), path: path))
        }
        let folder = try Checkpoint.componentFolder(path, subfolder: subfolder)
        let names = try folder.folderEntries()
        let stem = NetworkClass.stem(
            beside: try? JSONFile.read(folder.appendingPath("config.json")))
        if names.contains(stem + archiveSuffix),
            try WeightFiles.candidates(in: names, folder: folder, stem: stem).isEmpty
        {
            return .archive(folder.appendingPath(stem + archiveSuffix))
        }
        return .folder(folder)
    }

    /// Whether a path names an archive.
    public static func isArchive(_ path: String) -> Bool {
        path.hasSuffix(".zst") && !path.isFolder
    }

    /// What a file is, by what it begins with and, where it begins with nothing known, its name.
    ///
    /// - Throws: `BadDataError` for a zip file that is broken, `SafetensorsError` for one that is
    ///   called a safetensors file.
    public static func kind(
        of content: ByteView, path: String
    ) throws -> ModelLocation.FileKind {
        if let zip = try zip(content, path: path) {
            return zip[Checkpoint.indexName] == nil ? .torch : .pipeline
        }
        if GGUFFile.isGGUF(content, path: path) { return .gguf }
        return isTorchFile(path) ? .torch : .safetensors
    }

    /// The content as a zip file, where it is one.
    ///
    /// - Throws: `BadDataError` for one that is broken, `SafetensorsError` for one that is called a
    ///   safetensors file: nobody else would read it as what it is.
    static func zip(_ content: ByteView, path: String) throws -> ZipFile? {
        guard ZipFile.isZip(content) else { return nil }
        guard !path.hasSuffix(".safetensors") else {
            throw SafetensorsError(path, .foreign(ForeignContent(content) ?? .zip))
        }
        return try ZipFile(content: content, path: path)
    }

    /// Whether a file's name says that torch.save wrote it.
    public static func isTorchFile(_ path: String) -> Bool {
        [".pth", ".pt", ".ckpt"].contains { path.hasSuffix($0) }
    }
}
