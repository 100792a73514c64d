import CSanaKernels

/// The hash by which the Hugging Face hub and its cache call the content of a file.
///
/// Source: huggingface_hub's cache layout: a blob is called by its ETag, which is the SHA-256 of a
/// file in large file storage and git's SHA-1 of any other.
public enum BlobHash: Sendable, Equatable {
    case sha256(String)
    /// SHA-1 over `blob SIZE`, a zero byte and the content.
    case gitSHA1(String)

    /// - Parameter name: 64 or 40 hexadecimal digits; `nil` for other text.
    public init?(_ name: String) {
        guard name.utf8.allSatisfy({ "0123456789abcdef".utf8.contains($0) }) else { return nil }
        switch name.utf8.count {
        case 64: self = .sha256(name)
        case 40: self = .gitSHA1(name)
        default: return nil
        }
    }

    public var text: String {
        switch self {
        case .sha256(let text), .gitSHA1(let text): text
        }
    }

    /// The hash of the same kind of the bytes in `content`, whose pages are let go behind it.
    public func ofSameKind(_ content: ByteView) -> BlobHash {
        switch self {
        case .sha256:
            return .sha256(ContentHash.sha256(of: content).hexadecimal)
        case .gitSHA1:
            let hash = ContentHash(SK_SHA1)
            hash.update(Array("blob \(content.count)\0".utf8))
            hash.update(releasing: content)
            return .gitSHA1(hash.digest.hexadecimal)
        }
    }
}
