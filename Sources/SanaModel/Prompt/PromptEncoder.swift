/// How a pipeline encodes prompts; defaults are those of diffusers.
public struct PromptOptions: Sendable, Equatable {
    /// Empty: none.
    public var instruction = ComplexHumanInstruction.standard
    /// Positions that the transformer gets of a prompt.
    public var maxSequenceLength = 300
    /// Refused where `true`: diffusers cleans with beautifulsoup4, ftfy and some thirty regular
    /// expressions of Python's, and not at all where one of the packages is absent.
    public var cleansCaption = false

    public init() {}

    /// Those of a negative prompt, which goes without the instruction.
    var negative: PromptOptions {
        var options = self
        options.instruction = []
        return options
    }
}

/// Prompts as the transformer gets them.
public struct PromptEmbeds: Sendable {
    /// `[prompts, maxSequenceLength, hidden]`; zero where the mask is.
    ///
    /// diffusers computes values of padding too. The transformer attends to none of them.
    public let embeds: DenseTensor
    /// `[prompts, maxSequenceLength]`, 1 for a token.
    public let mask: DenseTensor
    /// What the text encoder read for each; empty if unknown.
    public let tokens: [PromptTokens]

    public init(embeds: DenseTensor, mask: DenseTensor, tokens: [PromptTokens] = []) {
        (self.embeds, self.mask, self.tokens) = (embeds, mask, tokens)
    }

    /// The same for several images of each prompt, those of one prompt next to each other.
    ///
    /// diffusers 0.42.1 repeats embeddings so (AABB) and masks prompt after prompt (ABAB), which
    /// gives prompts the masks of others; that is refused rather than repeated or mended in
    /// silence.
    ///
    /// - Throws: `PromptError` for several images of several prompts.
    public func repeated(imagesPerPrompt count: Int) throws(PromptError) -> PromptEmbeds {
        guard count > 0 else { throw PromptError("\(count) images of a prompt are not possible") }
        guard count == 1 || tokens.count == 1 else {
            throw PromptError(
                "several images of each of several prompts: diffusers pairs prompts with the masks of "
                    + "others",
                remedy: "encode one prompt at a time, or ask for one image of each")
        }
        return PromptEmbeds(
            embeds: embeds.repeated(count), mask: mask.repeated(count),
            tokens: (0..<count).flatMap { _ in tokens })
    }
}

extension PromptEmbeds {
    /// Writes what the text encoder made of the text `index`.
    fileprivate func fill(_ index: Int, _ states: DenseTensor) {
        let (count, hidden) = (embeds.shape[1], embeds.shape[2])
        for (place, position) in tokens[index].selected.enumerated()
        where position < tokens[index].ids.count {
            (embeds.values.pointer + (index * count + place) * hidden).update(
                from: states.values.pointer + position * hidden, count: hidden)
            mask.values.pointer[index * count + place] = 1
        }
    }
}

/// Encodes prompts as diffusers' `SanaPipeline.encode_prompt` does, and those of SanaSprintPipeline
/// and SanaControlNetPipeline, which differ only in that Sprint has no negative prompt.
///
/// What all prompts begin with is computed for the first one and kept. One call at a time.
public final class PromptEncoder {
    /// Tokens that are computed together, unless one text has more.
    private static let mostTokens = 1024

    private let tokenizer: Tokenizer
    private let model: Gemma2Model
    private let store: (any InstructionStore)?
    /// The instruction whose beginnings of prompts `cache` has.
    private var cached: (instruction: [String], cache: Gemma2Cache)?

    /// - Parameter store: keeps what is made of instructions between runs.
    public init(
        tokenizer: Tokenizer, model: Gemma2Model, store: (any InstructionStore)? = nil
    ) {
        (self.tokenizer, self.model, self.store) = (tokenizer, model, store)
    }

    /// Tokens of a prompt.
    ///
    /// - Throws: `PromptError`.
    public static func tokens(
        _ prompt: String, _ options: PromptOptions, _ tokenizer: Tokenizer
    ) throws(PromptError) -> PromptTokens {
        guard !options.cleansCaption else {
            throw PromptError(
                "clean_caption is not supported: diffusers does it with Python packages (ftfy, "
                    + "beautifulsoup4)",
                remedy: "clean the prompt in Python, and give the result")
        }
        return try PromptTokens(
            PromptText.preprocessed(prompt), instruction: options.instruction,
            maxSequenceLength: options.maxSequenceLength, tokenizer: tokenizer)
    }

    /// Prompts and their negative ones: none, one for all prompts, or as many as there are prompts.
    ///
    /// Texts are computed together where that reads weights less often, which changes no bit: the
    /// negative ones with the first prompt, prompts behind it with each other once the instruction
    /// is known.
    ///
    /// - Parameter onForward: called after each forward.
    /// - Throws: `PromptError`; `InputError` where the tokenizer has ids that the model has not.
    public func encode(
        _ prompts: [String], negatives: [String] = [], _ options: PromptOptions,
        _ context: ForwardContext, onForward: () -> Void = {}
    ) throws -> (positive: PromptEmbeds, negative: PromptEmbeds?) {
        guard !prompts.isEmpty else { throw PromptError("no prompt given") }
        guard [0, 1, prompts.count].contains(negatives.count) else {
            throw PromptError(
                "\(negatives.count) negative prompts for \(prompts.count) prompts")
        }
        let tokens = try prompts.map { try Self.tokens($0, options, tokenizer) }
        let negativeTokens = try negatives.map {
            try Self.tokens($0, options.negative, tokenizer)
        }
        let positive = embeds(tokens, options)
        let negative = negatives.isEmpty ? nil : embeds(negativeTokens, options)
        /// Texts in the order in which they are computed.
        let texts =
            [(positive, 0)] + negativeTokens.indices.compactMap { i in negative.map { ($0, i) } }
            + tokens.indices.dropFirst().map { (positive, $0) }
        let cache = try cache(options.instruction, context)
        var isKept = cache?.count != 0
        var rest = texts[...]
        while !rest.isEmpty {
            let group = rest.prefix(together(rest.map { $0.0.tokens[$0.1].ids }, cache))
            let tokens = group.map { $0.0.tokens[$0.1] }
            let states = try model.forward(
                texts: tokens.map(\.ids),
                asking: tokens.map { text in text.selected.filter { $0 < text.ids.count } },
                cache: cache, context)
            for ((embeds, index), states) in zip(group, states) { embeds.fill(index, states) }
            if !isKept, let cache, cache.count > 0 {
                try store?.keep(cache, of: model, context)
                isKept = true
            }
            rest = rest.dropFirst(group.count)
            onForward()
        }
        if let negative, negatives.count < prompts.count {
            return (positive, try negative.repeated(imagesPerPrompt: prompts.count))
        }
        return (positive, negative)
    }

    /// How many of these texts, at least one, are computed together.
    private func together(_ texts: [[Int]], _ cache: Gemma2Cache?) -> Int {
        let isFilled = (cache?.count ?? 0) > 0
        var (count, tokens) = (0, 0)
        for text in texts {
            let shared = cache?.shared(with: text.dropLast()) ?? 0
            tokens += text.count - (isFilled ? shared : 0)
            // Most of it will be known once the first one is computed.
            let waits = !isFilled && 2 * shared > text.count
            guard count == 0 || tokens <= Self.mostTokens && !waits else { break }
            count += 1
        }
        return count
    }

    private func embeds(_ tokens: [PromptTokens], _ options: PromptOptions) -> PromptEmbeds {
        let count = options.maxSequenceLength
        return PromptEmbeds(
            embeds: DenseTensor(shape: [tokens.count, count, model.config.hiddenSize]),
            mask: DenseTensor(shape: [tokens.count, count]), tokens: tokens)
    }

    private func cache(
        _ instruction: [String], _ context: ForwardContext
    ) throws -> Gemma2Cache? {
        guard !instruction.isEmpty else { return nil }
        if let cached, cached.instruction == instruction { return cached.cache }
        let cache = Gemma2Cache(ids: tokenizer.encode(instruction.joined(separator: "\n")))
        try store?.fill(cache, of: model, context)
        cached = (instruction, cache)
        return cache
    }
}
