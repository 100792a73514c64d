import SanaModel

/// What `tokenize` shows.
struct TokenizeReport {
    let ids: [Int]
    /// How a pipeline encodes the text; `nil` for the text as it is.
    let tokens: PromptTokens?
    let tokenizer: Tokenizer

    /// The interface that other programs read; field names are kept by tests.
    var json: JSONValue {
        var members: [JSONValue.Member] = [
            .init("ids", .array(ids.map(JSONValue.int))),
            .init("tokens", .array(ids.map { .string(tokenizer.piece($0)) })),
        ]
        if let tokens {
            members += [
                .init("padded_length", .int(tokens.length)),
                .init("selected", .array(tokens.selected.map(JSONValue.int))),
            ]
        }
        return .object(members)
    }

    var table: TextTable {
        var table = TextTable([("position", .right), ("id", .right), ("token", .left)])
        for (position, id) in ids.enumerated() {
            table.append(["\(position)", "\(id)", tokenizer.piece(id).printable])
        }
        return table
    }
}
