/// Gemma's tokenizer as Hugging Face's `tokenizers` runs it from a `tokenizer.json`: added tokens
/// are cut out of the raw text, spaces become "▁", and what is between the added tokens is one word
/// of byte-pair merges, with bytes in place of characters that are not pieces.
///
/// Ids are those of `tokenizers` for any text. `truncation` and `padding` of the file are not
/// applied, as transformers sets both anew for every call.
public struct Tokenizer: Sendable {
    let pieces: PieceTable
    let merger: PairMerger
    let added: AddedTokens
    /// Tokens with ids past those of `pieces`.
    let addedPieces: [String]
    /// Ids before and after a text.
    let template: (before: [Int], after: [Int])
    let unknown: Unknown
    /// Ids of the pieces `<0x00>` to `<0xFF>`; `nil` where there is none.
    private let byteIDs: [Int?]
    /// Ids of ASCII characters, that of "▁" for a space.
    private let asciiIDs: [Int?]

    /// What becomes of a character that neither is a piece nor has pieces of all its bytes.
    struct Unknown: Sendable {
        /// `nil`: it is left out.
        let id: Int?
        /// Whether several in a row are one token.
        let isFused: Bool
    }

    init(
        pieces: PieceTable, merger: PairMerger, added: AddedTokens, addedPieces: [String],
        template: (before: [Int], after: [Int]), unknown: Unknown
    ) {
        (self.pieces, self.merger, self.added) = (pieces, merger, added)
        (self.addedPieces, self.template, self.unknown) = (addedPieces, template, unknown)
        byteIDs = (0..<256).map { byte in
            let digits = Array("0123456789ABCDEF")
            return pieces.id("<0x\(digits[byte >> 4])\(digits[byte & 15])>")
        }
        asciiIDs = (0..<128).map { pieces.id($0 == 0x20 ? Self.space : [UInt8($0)]) }
    }

    /// What a space becomes: "▁".
    private static let space: [UInt8] = [0xE2, 0x96, 0x81]

    /// Number of ids.
    public var count: Int { pieces.count + addedPieces.count }

    /// The piece of an id below `count`, as the file spells it.
    public func piece(_ id: Int) -> String {
        id < pieces.count ? pieces[id] : addedPieces[id - pieces.count]
    }

    /// The id of a piece.
    public func id(_ piece: String) -> Int? {
        if let id = pieces.id(piece) { return id }
        return addedPieces.firstIndex { $0.utf8.elementsEqual(piece.utf8) }
            .map { pieces.count + $0 }
    }

    /// The ids of a text.
    ///
    /// - Parameter addsSpecialTokens: put those of the file's template around them, such as
    ///   `<bos>`.
    public func encode(_ text: String, addsSpecialTokens: Bool = true) -> [Int] {
        var (text, ids) = (text, addsSpecialTokens ? template.before : [])
        text.withUTF8 { utf8 in
            let bytes = UnsafeRawBufferPointer(utf8)
            var start = 0
            while let token = added.first(in: bytes, from: start) {
                appendWord(bytes[start..<token.range.lowerBound], to: &ids)
                ids.append(token.id)
                start = token.range.upperBound
            }
            appendWord(bytes[start...], to: &ids)
        }
        return addsSpecialTokens ? ids + template.after : ids
    }

    private func appendWord(_ word: Slice<UnsafeRawBufferPointer>, to ids: inout [Int]) {
        guard !word.isEmpty else { return }
        var symbols = symbols(UnsafeRawBufferPointer(rebasing: word))
        merger.merge(&symbols)
        ids.append(contentsOf: symbols.lazy.map(Int.init))
    }

    /// The pieces of single characters that merging starts with.
    private func symbols(_ word: UnsafeRawBufferPointer) -> [Int32] {
        var symbols: [Int32] = []
        symbols.reserveCapacity(word.count)
        var unknowns = 0
        func flush() {
            if let id = unknown.id, unknowns > 0 {
                symbols += Array(repeating: Int32(id), count: unknown.isFused ? 1 : unknowns)
            }
            unknowns = 0
        }
        var position = 0
        while position < word.count {
            let first = word[position]
            let length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
            let character = UnsafeRawBufferPointer(
                rebasing: word[position..<min(position + length, word.count)])
            position += length
            if let id = first < 0x80 ? asciiIDs[Int(first)] : pieces.id(character) {
                flush()
                symbols.append(Int32(id))
                continue
            }
            let bytes = first == 0x20 ? Self.space : Array(character)
            let fallback = bytes.compactMap { byteIDs[Int($0)] }
            if fallback.count == bytes.count {
                // Unknown characters before them come after them, as in `tokenizers`.
                symbols += fallback.map(Int32.init)
            } else {
                unknowns += 1
            }
        }
        flush()
        return symbols
    }
}
