/// Reads `tokenizer.json` from its bytes: vocabulary and merges, which are nearly all of it, go
/// straight to their tables.
///
/// Everything that the tokenizer does not do is refused by name, so ids are never those of another
/// tokenizer.
struct TokenizerFile {
    /// Larger files are refused.
    private static let maximumByteCount = 128 << 20
    /// Longest piece, in bytes; Gemma's longest has 93.
    private static let maximumPieceByteCount = 1 << 12
    /// Bytes of all added tokens, and of a part other than those, vocabulary and merges.
    private static let maximumPartByteCount = 4 << 20

    /// The values of the file's members, as it spells them.
    private typealias Parts = [String: UnsafeRawBufferPointer]

    /// - Throws: `BadDataError`.
    static func read(_ content: ByteView, path: String) throws(BadDataError) -> Tokenizer {
        guard content.count <= maximumByteCount else {
            throw BadDataError(
                file: path,
                reason: "\(content.count) bytes is over the limit of \(maximumByteCount)")
        }
        func bad(_ reason: String) -> BadDataError {
            BadDataError(
                file: path, reason: reason,
                remedy: "give the tokenizer.json of a Sana repository, which is Gemma's")
        }
        let result = content.withUnsafeBytes { bytes -> Result<Tokenizer, BadDataError> in
            do {
                return .success(try tokenizer(bytes))
            } catch let error as TokenizerDefect {
                return .failure(bad(error.reason))
            } catch {
                return .failure(bad("\(error)"))
            }
        }
        content.releasePages()
        if case .failure = result, let foreign = JSONFile.foreignContent(content, path) {
            throw foreign
        }
        return try result.get()
    }

    private static func tokenizer(_ bytes: UnsafeRawBufferPointer) throws -> Tokenizer {
        var scanner = JSONScanner(bytes)
        let file = try parts(
            &scanner, "the file",
            of: [
                "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                "post_processor", "decoder", "model",
            ])
        try scanner.end()
        guard let modelText = file["model"] else { throw TokenizerDefect("it has no model") }
        var modelScanner = JSONScanner(modelText)
        guard modelScanner.isNext(UInt8(ascii: "{")) else {
            throw TokenizerDefect("model is not an object")
        }
        let model = try parts(
            &modelScanner, "model",
            of: [
                "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges",
            ])
        try checkModel(model)
        try checkNormalizer(value(file, "normalizer"))
        try checkPreTokenizer(value(file, "pre_tokenizer"))

        let pieces = try vocabulary(model)
        let (added, addedPieces) = try addedTokens(file["added_tokens"], pieces)
        return Tokenizer(
            pieces: pieces, merger: try merges(model, pieces), added: added,
            addedPieces: addedPieces,
            template: try template(value(file, "post_processor")),
            unknown: try unknown(model, pieces))
    }

    // MARK: Kinds

    private static func checkModel(_ model: Parts) throws {
        if let type = try value(model, "type"), type != .string("BPE") {
            throw TokenizerDefect("model is of type \(type.text().printable), not \"BPE\"")
        }
        guard try value(model, "byte_fallback") == .bool(true) else {
            throw TokenizerDefect("model does not fall back to bytes (byte_fallback)")
        }
        for key in ["dropout", "ignore_merges", "continuing_subword_prefix", "end_of_word_suffix"] {
            switch try value(model, key) {
            case nil, .null, .bool(false), .string(""): break
            case let other?:
                throw TokenizerDefect("model has \(key) \(other.text().printable)")
            }
        }
    }

    private static let spacePattern = JSONValue.object([.init("String", .string(" "))])

    private static func checkNormalizer(_ normalizer: JSONValue?) throws {
        guard normalizer?["type"]?.string == "Replace", normalizer?["pattern"] == spacePattern,
            let content = normalizer?["content"]?.string, content.utf8.elementsEqual("▁".utf8)
        else {
            throw TokenizerDefect(
                "normalizer is \(text(normalizer)), not one that replaces a space by ▁")
        }
    }

    /// One that splits at spaces finds none, since they are replaced by then.
    private static func checkPreTokenizer(_ preTokenizer: JSONValue?) throws {
        guard let preTokenizer, preTokenizer != .null else { return }
        guard preTokenizer["type"]?.string == "Split", preTokenizer["pattern"] == spacePattern,
            preTokenizer["invert"]?.bool == false
        else {
            throw TokenizerDefect(
                "pre_tokenizer is \(text(preTokenizer)), not one that splits at spaces")
        }
    }

    /// Ids that a `TemplateProcessing` puts around a text.
    private static func template(_ processor: JSONValue?) throws -> (before: [Int], after: [Int]) {
        guard processor?["type"]?.string == "TemplateProcessing",
            let parts = processor?["single"]?.array
        else {
            throw TokenizerDefect("post_processor is \(text(processor)), not a TemplateProcessing")
        }
        var ids: [[Int]] = [[]]
        for part in parts {
            if part["Sequence"]?["id"]?.string == "A" {
                ids.append([])
                continue
            }
            guard let name = part["SpecialToken"]?["id"]?.string,
                let list = processor?["special_tokens"]?[name]?["ids"]?.array,
                case let values = list.compactMap(\.int), values.count == list.count,
                values.allSatisfy({ (0..<1 << 24).contains($0) })
            else {
                throw TokenizerDefect("post_processor has an unknown part \(text(part))")
            }
            ids[ids.count - 1] += values
        }
        guard ids.count == 2 else {
            throw TokenizerDefect("post_processor's template does not have the text once")
        }
        return (ids[0], ids[1])
    }

    // MARK: Tables

    private static func vocabulary(_ model: Parts) throws -> PieceTable {
        guard let text = model["vocab"] else { throw TokenizerDefect("model has no vocab") }
        var builder = PieceTable.Builder()
        var scanner = JSONScanner(text)
        try scanner.members { scanner, key throws(JSONError) in
            try check(piece: key, scanner)
            guard String(validating: key, as: UTF8.self) != nil else {
                throw scanner.error("a piece is not UTF-8")
            }
            builder.add(key, id: try scanner.unsignedInteger())
        }
        return try builder.build()
    }

    private static func check(piece: [UInt8], _ scanner: JSONScanner) throws(JSONError) {
        guard !piece.isEmpty else { throw scanner.error("a piece is empty") }
        guard piece.count <= maximumPieceByteCount else {
            throw scanner.error(
                "a piece has \(piece.count) bytes, over the limit of \(maximumPieceByteCount)")
        }
    }

    private static func merges(_ model: Parts, _ pieces: PieceTable) throws -> PairMerger {
        guard let text = model["merges"] else { throw TokenizerDefect("model has no merges") }
        var merger = PairMerger()
        merger.reserve(2 * pieces.count)
        var scanner = JSONScanner(text)
        var joined: [UInt8] = []
        try scanner.array { scanner throws(JSONError) in
            joined.removeAll(keepingCapacity: true)
            let length = try pair(&scanner, into: &joined)
            let ids = joined.withUnsafeBytes { bytes in
                (
                    pieces.id(UnsafeRawBufferPointer(rebasing: bytes[..<length])),
                    pieces.id(UnsafeRawBufferPointer(rebasing: bytes[length...])),
                    pieces.id(bytes)
                )
            }
            guard let left = ids.0, let right = ids.1, let result = ids.2 else {
                throw scanner.error(
                    "merge \(merger.count) is of pieces, or makes one, that vocab does not have")
            }
            merger.add(left, right, result: result)
        }
        return merger
    }

    /// Reads a merge, `["left", "right"]` or as older files have it `"left right"`.
    ///
    /// - Parameter joined: empty; gets both pieces, one after the other.
    /// - Returns: bytes of the left one.
    private static func pair(
        _ scanner: inout JSONScanner, into joined: inout [UInt8]
    ) throws(JSONError) -> Int {
        if scanner.isNext(UInt8(ascii: "\"")) {
            try scanner.string(into: &joined)
            guard let space = joined.firstIndex(of: 0x20), joined.last != 0x20, space > 0,
                joined.lastIndex(of: 0x20) == space
            else { throw scanner.error("a merge is not two pieces with a space between them") }
            joined.remove(at: space)
            return space
        }
        var ends: [Int] = []
        try scanner.array { scanner throws(JSONError) in
            try scanner.string(into: &joined)
            ends.append(joined.count)
        }
        guard ends.count == 2, ends[0] > 0, ends[1] > ends[0] else {
            throw scanner.error("a merge is not of two pieces")
        }
        return ends[0]
    }

    /// - Returns: all of them, and those that the vocabulary does not have.
    private static func addedTokens(
        _ text: UnsafeRawBufferPointer?, _ pieces: PieceTable
    ) throws -> (AddedTokens, [String]) {
        var (added, more) = (AddedTokens(), [String]())
        guard let text else { return (added, more) }
        guard text.count <= maximumPartByteCount else {
            throw TokenizerDefect("added_tokens has \(text.count) bytes")
        }
        guard let list = try JSONScanner.parse(text).array else {
            throw TokenizerDefect("added_tokens is not an array")
        }
        for token in list {
            guard let content = token["content"]?.string, let id = token["id"]?.int,
                !content.isEmpty, content.utf8.count <= maximumPieceByteCount
            else { throw TokenizerDefect("an added token has no id, or no content of its own") }
            for flag in ["single_word", "lstrip", "rstrip", "normalized"]
            where token[flag]?.bool != false {
                throw TokenizerDefect(
                    "added token '\(content.printable)' does not have \(flag) false")
            }
            let expected = pieces.id(content) ?? pieces.count + more.count
            guard id == expected else {
                throw TokenizerDefect(
                    "added token '\(content.printable)' has id \(id), not \(expected)")
            }
            if id >= pieces.count { more.append(content) }
            guard added.add(Array(content.utf8), id: id) else {
                throw TokenizerDefect("added_tokens lists '\(content.printable)' twice")
            }
        }
        return (added, more)
    }

    private static func unknown(
        _ model: Parts, _ pieces: PieceTable
    ) throws -> Tokenizer.Unknown {
        let isFused = try value(model, "fuse_unk") == .bool(true)
        guard let token = try value(model, "unk_token"), token != .null else {
            return .init(id: nil, isFused: isFused)
        }
        guard let id = token.string.flatMap({ pieces.id($0) }) else {
            throw TokenizerDefect("vocab does not have unk_token \(text(token))")
        }
        return .init(id: id, isFused: isFused)
    }

    // MARK: Parts

    /// The members of an object.
    private static func parts(
        _ scanner: inout JSONScanner, _ what: String, of known: Set<String>
    ) throws(JSONError) -> Parts {
        var parts: Parts = [:]
        try scanner.object { scanner, key throws(JSONError) in
            guard known.contains(key) else {
                throw scanner.error("\(what) has an unknown member \"\(key.printable)\"")
            }
            parts[key] = try scanner.skip()
        }
        return parts
    }

    /// A small part as a tree.
    private static func value(_ parts: Parts, _ key: String) throws -> JSONValue? {
        guard let text = parts[key] else { return nil }
        guard text.count <= maximumPartByteCount else {
            throw TokenizerDefect("\(key) has \(text.count) bytes")
        }
        return try JSONScanner.parse(text)
    }

    private static func text(_ value: JSONValue?) -> String {
        value.map { $0.text().printable } ?? "absent"
    }
}
