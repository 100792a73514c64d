import SanaModel

/// Builds `tokenizer.json` from parts that a test may break.
struct TokenizerBuilder {
    /// By id.
    var pieces = ["<unk>", "a", "b", "ab"]
    var merges: [(String, String)] = []
    /// Ids are those of `pieces`, or the next ones.
    var added: [String] = []
    var unknown: String? = "<unk>"
    var fusesUnknown = true
    var spellsMergesAsStrings = false
    var putsModelFirst = false
    /// Members that take the place of those of the file, or of the model.
    var file: [String: String] = [:]
    var model: [String: String] = [:]

    private func quoted(_ text: String) -> String { JSONValue.string(text).text() }

    private func object(_ members: [(String, String)], _ changes: [String: String]) -> String {
        let names = members.map(\.0)
        let list =
            members.map { ($0.0, changes[$0.0] ?? $0.1) }
            + changes.filter { !names.contains($0.key) }.sorted { $0.key < $1.key }
            .map { ($0.key, $0.value) }
        return "{" + list.map { "\(quoted($0.0)):\($0.1)" }.joined(separator: ",") + "}"
    }

    var text: String {
        let vocabulary = pieces.enumerated().map { "\(quoted($1)):\($0)" }
        let list = merges.map { left, right in
            spellsMergesAsStrings
                ? quoted(left + " " + right) : "[\(quoted(left)),\(quoted(right))]"
        }
        var next = pieces.count - 1
        let tokens = added.map { token in
            let id =
                pieces.firstIndex(of: token)
                ?? {
                    next += 1
                    return next
                }()
            return #"{"id":\#(id),"content":\#(quoted(token)),"single_word":false,"#
                + #""lstrip":false,"rstrip":false,"normalized":false,"special":true}"#
        }
        let modelText = object(
            [
                ("type", #""BPE""#), ("dropout", "null"),
                ("unk_token", unknown.map(quoted) ?? "null"),
                ("continuing_subword_prefix", "null"), ("end_of_word_suffix", "null"),
                ("fuse_unk", "\(fusesUnknown)"), ("byte_fallback", "true"),
                ("ignore_merges", "false"),
                ("vocab", "{" + vocabulary.joined(separator: ",") + "}"),
                ("merges", "[" + list.joined(separator: ",") + "]"),
            ], model)
        let members = [
            ("version", #""1.0""#), ("truncation", "null"), ("padding", "null"),
            ("added_tokens", "[" + tokens.joined(separator: ",") + "]"),
            ("normalizer", #"{"type":"Replace","pattern":{"String":" "},"content":"▁"}"#),
            ("pre_tokenizer", "null"),
            (
                "post_processor",
                #"{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<unk>","type_id":0}},"#
                    + #"{"Sequence":{"id":"A","type_id":0}}],"pair":[],"#
                    + #""special_tokens":{"<unk>":{"id":"<unk>","ids":[0],"tokens":["<unk>"]}}}"#
            ),
            ("decoder", "null"),
        ]
        let modelMember = [("model", modelText)]
        return object(putsModelFirst ? modelMember + members : members + modelMember, file)
    }

    func tokenizer() throws -> Tokenizer {
        try Tokenizer(content: ByteView(Array(text.utf8)), path: "tokenizer.json")
    }
}
