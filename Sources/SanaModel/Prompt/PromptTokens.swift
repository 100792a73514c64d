/// A prompt as Sana's pipelines hand it to the text encoder: token ids, their padding, and the
/// positions whose embeddings the transformer gets.
public struct PromptTokens: Sendable, Equatable {
    /// Ids without padding.
    public let ids: [Int]
    /// Tokens with padding, which is on the right.
    public let length: Int
    /// Positions that are kept, of all `length`.
    public let selected: [Int]

    /// Tokenizes a text that has been preprocessed.
    ///
    /// With an instruction, the text encoder reads instruction and prompt as one text of up to
    /// `maxSequenceLength` tokens more than the instruction's, less two: the first token, and the
    /// space that ends the instruction, which becomes one with the prompt's first word. Kept are
    /// the first position and the last `maxSequenceLength` − 1.
    ///
    /// - Parameter instruction: diffusers' `complex_human_instruction`; of an empty one nothing.
    /// - Throws: `PromptError` for a length that leaves no token.
    public init(
        _ text: String, instruction: [String], maxSequenceLength: Int, tokenizer: Tokenizer
    ) throws(PromptError) {
        guard (1...(1 << 20)).contains(maxSequenceLength) else {
            throw PromptError("a prompt of \(maxSequenceLength) tokens is not possible")
        }
        let prefix = instruction.joined(separator: "\n")
        let length =
            instruction.isEmpty
            ? maxSequenceLength : tokenizer.encode(prefix).count + maxSequenceLength - 2
        let around = tokenizer.template
        guard length > around.before.count + around.after.count, length >= maxSequenceLength - 1
        else {
            throw PromptError(
                "the tokenizer's special tokens leave no room in \(length) tokens")
        }
        let content = tokenizer.encode(prefix + text, addsSpecialTokens: false)
        ids =
            around.before
            + content.prefix(length - around.before.count - around.after.count)
            + around.after
        self.length = length
        selected = [0] + (length - maxSequenceLength + 1..<length)
    }

    /// Ids with padding.
    public func padded(with id: Int) -> [Int] {
        ids + Array(repeating: id, count: length - ids.count)
    }
}

/// A prompt that cannot be encoded as asked.
public struct PromptError: DiagnosticError {
    public let description: String
    public let remedy: String?

    init(_ description: String, remedy: String? = nil) {
        (self.description, self.remedy) = (description, remedy)
    }

    public var category: DiagnosticCategory { .usage }
}
