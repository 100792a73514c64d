import SanaModel

/// What `tokenize` shows.
package struct TokenizeReport {
    package let ids: [Int]
    /// How a pipeline encodes the text; `nil` for the text as it is.
    package let tokens: PromptTokens?
    package let tokenizer: Tokenizer

    package init(ids: [Int], tokens: PromptTokens?, tokenizer: Tokenizer) {
        (self.ids, self.tokens, self.tokenizer) = (ids, tokens, tokenizer)
    }

    /// The interface that other programs read; field names are kept by tests.
    package var json: JSONValue {
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

    package var table: TextTable {
        var table = TextTable([("position", .right), ("id", .right), ("token", .left)])
        for (position, id) in ids.enumerated() {
            table.append(["\(position)", "\(id)", tokenizer.piece(id).printable])
        }
        return table
    }
}
