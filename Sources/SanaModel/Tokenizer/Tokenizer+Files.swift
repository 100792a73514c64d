import Libc

extension Tokenizer {
    /// The file that holds a tokenizer.
    static let fileName = "tokenizer.json"
    /// The component of a repository that has it.
    static let componentName = "tokenizer"

    /// Opens a repository (its folder `tokenizer`), a folder with a `tokenizer.json`, or that file.
    ///
    /// - Throws: `FileError`; `BadDataError` for a file that is damaged or of another kind.
    public static func open(_ path: String) throws -> Tokenizer {
        try Tokenizer(path: file(in: path))
    }

    /// Reads a `tokenizer.json`.
    ///
    /// - Throws: `FileError`, `BadDataError`.
    public init(path: String) throws {
        try self.init(content: ByteView(mapping: path), path: path)
    }

    /// Reads the content of a `tokenizer.json`.
    ///
    /// - Parameter path: its name, for messages.
    /// - Throws: `BadDataError`.
    public init(content: ByteView, path: String) throws(BadDataError) {
        guard path.lastPathComponent != Self.sentencePieceName else {
            throw Self.onlySentencePiece(path)
        }
        self = try TokenizerFile.read(content, path: path)
    }

    private static let sentencePieceName = "tokenizer.model"

    /// The `tokenizer.json` that `open` reads.
    ///
    /// - Throws: `FileError`, `BadDataError`.
    public static func file(in path: String) throws -> String {
        guard path.pathExists else { throw FileError(.open, path, code: ENOENT) }
        guard path.isFolder else { return path }
        let folder =
            path.appendingPath(Checkpoint.indexName).pathExists
            ? path.appendingPath(componentName) : path
        let file = folder.appendingPath(fileName)
        if !file.pathExists, folder.appendingPath(sentencePieceName).pathExists {
            throw onlySentencePiece(folder.appendingPath(sentencePieceName))
        }
        guard file.pathExists else { throw FileError(.open, file, code: ENOENT) }
        return file
    }

    private static func onlySentencePiece(_ path: String) -> BadDataError {
        BadDataError(
            file: path,
            reason: "a SentencePiece model; diffusers reads \(fileName), and so do we",
            remedy: "download \(fileName) from the same repository")
    }
}
