import Foundation

/// An untrusted regular expression, for whole strings: matching ends in about a tenth of a second,
/// whatever it is.
public struct BoundedExpression: Sendable {
    private let pattern: NSRegularExpression

    /// Longest expression accepted, in UTF-8 bytes.
    private static let maximumByteCount = 1000
    /// Progress reports after which a match is given up; reasonable expressions finish before the
    /// first one. Left alone, the matcher gives up after several thousand and reports no match.
    private static let progressLimit = 500

    /// `nil` for text that is not a regular expression, or too long.
    public init?(_ text: String) {
        // Alone first, so that an unbalanced parenthesis cannot close ours.
        guard text.utf8.count <= Self.maximumByteCount,
            (try? NSRegularExpression(pattern: text)) != nil,
            let whole = try? NSRegularExpression(pattern: "\\A(?:\(text))\\z")
        else { return nil }
        pattern = whole
    }

    /// Whether the whole of `text` matches; `nil` where that takes too long to tell.
    public func matches(_ text: String) -> Bool? {
        var (isMatch, isOver, reports) = (false, false, 0)
        pattern.enumerateMatches(
            in: text, options: .reportProgress, range: NSRange(text.startIndex..., in: text)
        ) { result, flags, stop in
            isMatch = isMatch || result != nil
            reports += 1
            isOver = isOver || flags.contains(.internalError) || reports > Self.progressLimit
            if isMatch || isOver { stop.pointee = true }
        }
        return isMatch || !isOver ? isMatch : nil
    }
}
