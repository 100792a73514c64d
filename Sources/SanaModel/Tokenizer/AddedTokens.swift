/// Tokens that are cut out of the raw text before anything else, the leftmost first and of those
/// that begin together the longest: control tokens, runs of newlines, HTML tags.
struct AddedTokens: Sendable {
    /// Nodes of a trie of bytes; the root is 0. Keys are a node and a byte.
    private var children: [UInt64: Int32] = [:]
    /// Id of the token that ends at a node; negative where none does.
    private var ends: [Int32] = [-1]
    /// Whether a token begins with a byte.
    private var isFirst = [Bool](repeating: false, count: 256)

    /// - Returns: `false` where the token is there already.
    mutating func add(_ token: [UInt8], id: Int) -> Bool {
        guard let first = token.first else { return false }
        isFirst[Int(first)] = true
        var node = 0
        for byte in token {
            let key = Self.key(node, byte)
            if let child = children[key] {
                node = Int(child)
            } else {
                ends.append(-1)
                node = ends.count - 1
                children[key] = Int32(node)
            }
        }
        guard ends[node] < 0 else { return false }
        ends[node] = Int32(id)
        return true
    }

    /// The first token in `text` from byte `start` on.
    func first(
        in text: UnsafeRawBufferPointer, from start: Int
    ) -> (range: Range<Int>, id: Int)? {
        for position in start..<text.count where isFirst[Int(text[position])] {
            if let match = longest(in: text, at: position) { return match }
        }
        return nil
    }

    private func longest(
        in text: UnsafeRawBufferPointer, at start: Int
    ) -> (range: Range<Int>, id: Int)? {
        var (node, position) = (0, start)
        var match: (Range<Int>, Int)?
        while position < text.count, let child = children[Self.key(node, text[position])] {
            (node, position) = (Int(child), position + 1)
            if ends[node] >= 0 { match = (start..<position, Int(ends[node])) }
        }
        return match
    }

    private static func key(_ node: Int, _ byte: UInt8) -> UInt64 {
        UInt64(node) << 8 | UInt64(byte)
    }
}
