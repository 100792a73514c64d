/// What a file holds in place of the weights or settings that its name promises.
///
/// The one place that recognizes such files: readers ask it once they cannot read a file.
public enum ForeignContent: Sendable, Equatable {
    case empty
    case zeros
    case lfsPointer
    /// HTML or XML: a login page, or an error of a storage service.
    case webPage
    /// Any other text, such as the error of a server, with how it begins.
    case text(String)
    case appleDouble
    case gguf
    case torchZip
    case zip
    case pickle
    case safetensors
    case zstd
    /// A known format of something else, by its name.
    case other(String)

    /// Bytes at the beginning of a file that are looked at.
    private static let probedByteCount = 4096
    /// Longest Git LFS pointer (git-lfs, docs/spec.md).
    private static let pointerByteCount = 1024
    private static let pointerStart = "version https://git-lfs.github.com/spec/"

    /// What `content` is; `nil` where it is none of these.
    public init?(_ content: ByteView) {
        let start = content.slice(0, min(content.count, Self.probedByteCount))
            .withUnsafeBytes { Array($0) }
        guard !start.isEmpty else {
            self = .empty
            return
        }
        if start.allSatisfy({ $0 == 0 }) {
            self = .zeros
        } else if let known = Self.magic(start) {
            self = known
        } else if let text = Self.text(start, isCut: start.count < content.count) {
            let trimmed = text.drop { $0.isWhitespace || $0 == "\u{FEFF}" }
            if trimmed.hasPrefix(Self.pointerStart), content.count <= Self.pointerByteCount {
                self = .lfsPointer
            } else if trimmed.hasPrefix("<?xml"), trimmed.contains("<net ") {
                self = .other("OpenVINO model, which is a graph and not a checkpoint")
            } else if trimmed.hasPrefix("<") {
                self = .webPage
            } else {
                self = .text(String(trimmed.prefix(60)))
            }
        } else if ByteOrderMark(content) == .utf8 {
            self = .other("binary file with a byte order mark, as if it had been saved as text")
        } else {
            return nil
        }
    }

    private static func magic(_ start: [UInt8]) -> ForeignContent? {
        func begins(_ bytes: [UInt8]) -> Bool { start.starts(with: bytes) }
        if begins(Array("GGUF".utf8)) { return .gguf }
        if begins([0x50, 0x4B, 0x03, 0x04]) {
            // The first entry's name comes after 30 bytes.
            let name = String(decoding: start.dropFirst(30).prefix(200), as: UTF8.self)
            return name.contains("/data.pkl") ? .torchZip : .zip
        }
        if begins([0x28, 0xB5, 0x2F, 0xFD]) { return .zstd }
        if start.count > 1, start[0] == 0x80, (2...5).contains(start[1]) { return .pickle }
        if begins([0x00, 0x05, 0x16, 0x07]) { return .appleDouble }
        if begins([0xFF, 0xFE]) || begins([0xFE, 0xFF]) { return .other("text file in UTF-16") }
        // Of an ONNX model: its version of the format, then the name of the program that made it.
        if start.count > 3, start[0] == 0x08, (1...20).contains(start[1]), start[2] == 0x12,
            start[3] > 0, start[3] < 64
        {
            return .other("ONNX model, which is a graph and not a checkpoint")
        }
        if start.count > 8, start[8] == UInt8(ascii: "{"), start[6] == 0, start[7] == 0 {
            return .safetensors
        }
        let others: [([UInt8], String)] = [
            ([0x1F, 0x8B], "gzip file"), ([0x89] + Array("HDF".utf8), "HDF5 file"),
            ([0x93] + Array("NUMPY".utf8), "NumPy array"), (Array("%PDF".utf8), "PDF"),
            ([0x89] + Array("PNG".utf8), "PNG picture"), ([0xFF, 0xD8, 0xFF], "JPEG picture"),
            ([0xFD] + Array("7zXZ".utf8), "xz file"), (Array("7z".utf8) + [0xBC, 0xAF], "7z file"),
            (Array("BZh".utf8), "bzip2 file"), (Array("Rar!".utf8), "RAR file"),
        ]
        if let other = others.first(where: { begins($0.0) }) { return .other(other.1) }
        let isTar = start.count > 262 && Array(start[257..<262]) == Array("ustar".utf8)
        return isTar ? .other("tar file") : nil
    }

    /// The bytes as text; `nil` where they hold anything else.
    ///
    /// - Parameter isCut: whether a character may be cut off at the end.
    private static func text(_ start: [UInt8], isCut: Bool) -> String? {
        guard !start.contains(where: { $0 < 0x20 && ![0x09, 0x0A, 0x0D].contains($0) }) else {
            return nil
        }
        for dropped in 0...(isCut ? 3 : 0) {
            if let text = String(validating: start.dropLast(dropped), as: UTF8.self) { return text }
        }
        return nil
    }

    /// What the file is, to follow "is".
    public var description: String {
        switch self {
        case .empty: "empty"
        case .zeros: "all zeros at its beginning: the download never wrote it"
        case .lfsPointer: "a Git LFS pointer, not the file itself"
        case .webPage: "a web page (HTML or XML), such as a login page or a server error"
        case .text(let start): "text, such as a server error: \"\(start.printable)\""
        case .appleDouble: "macOS metadata (AppleDouble), not the file itself"
        case .gguf: "a GGUF file"
        case .torchZip: "a torch.save file (zip with a pickle)"
        case .zip: "a zip file"
        case .pickle: "a Python pickle, not a zip file, as torch.save wrote before torch 1.6"
        case .safetensors: "a safetensors file"
        case .zstd: "a zstd file"
        case .other(let name): ("AEHIOx".contains(name.prefix(1)) ? "an " : "a ") + name
        }
    }

    public var remedy: String {
        switch self {
        case .lfsPointer:
            "fetch the content with 'git lfs pull', or download with 'hf download'"
        case .webPage, .text:
            "download the file again; log in first ('hf auth login') if the repository requires it"
        case .appleDouble: "give the file without the '._' prefix"
        case .gguf: "rename it to .gguf"
        case .torchZip:
            "download the .safetensors file, or rename this one to .pth and give it as MODEL"
        case .pickle: "load and save it again with a newer torch, or download the .safetensors file"
        case .safetensors: "rename it to .safetensors"
        case .zstd: "rename it to .safetensors.zst, or unpack it with 'zstd -d'"
        case .empty, .zeros, .zip, .other: "download the file again"
        }
    }

    /// The page that explains it.
    public var page: HelpPage {
        switch self {
        case .lfsPointer: .lfsPointer
        case .torchZip, .pickle: .pickle
        default: .fileForeign
        }
    }
}

/// What downloaders leave next to a file that they have not finished.
public enum UnfinishedDownload {
    /// aria2, Firefox and wget, Chromium, huggingface_hub and Safari.
    public static let suffixes = [".aria2", ".part", ".crdownload", ".incomplete", ".download"]

    /// The file that a name stands for; `nil` for names of other files.
    public static func target(of name: String) -> String? {
        suffixes.first { name.hasSuffix($0) && name.count > $0.count }
            .map { String(name.dropLast($0.count)) }
    }

    /// The file next to `path` that says that `path` is unfinished.
    public static func marker(of path: String) -> String? {
        suffixes.lazy.map { path + $0 }.first(where: \.pathExists)
    }

    /// - Throws: `BadDataError` when `path` is itself what a downloader left.
    public static func checkName(_ path: String) throws {
        guard target(of: path.lastPathComponent) != nil else { return }
        throw BadDataError(
            file: path, reason: leftover, remedy: remedy, page: .downloadUnfinished)
    }

    /// - Throws: `BadDataError` when the download of `path` has not finished.
    public static func check(_ path: String) throws {
        try checkName(path)
        guard let marker = marker(of: path) else { return }
        throw BadDataError(
            file: path, reason: reason(marker.lastPathComponent), remedy: remedy,
            page: .downloadUnfinished)
    }

    /// What is wrong with a file next to which a downloader left `marker`.
    public static func reason(_ marker: String) -> String {
        "download is unfinished: \(marker.printable) is next to it"
    }
    /// What a file is that a downloader left, to follow its name.
    public static let leftover = "is left over from an unfinished download"
    public static let remedy =
        "finish the download; if the file is complete, remove the leftover"
}

extension String {
    /// Whether a file of this name is the operating system's, and nothing of a model: macOS's
    /// `._NAME` and `.DS_Store`, Windows's `Thumbs.db` and `desktop.ini`.
    public var isSystemFileName: Bool {
        hasPrefix("._") || [".DS_Store", "__MACOSX", "Thumbs.db", "desktop.ini"].contains(self)
    }
}
