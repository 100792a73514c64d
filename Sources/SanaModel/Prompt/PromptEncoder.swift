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
    /// What the text encoder read for each; empty where nobody tells.
    public let tokens: [PromptTokens]

    public init(embeds: DenseTensor, mask: DenseTensor, tokens: [PromptTokens] = []) {
        (self.embeds, self.mask, self.tokens) = (embeds, mask, tokens)
    }

    /// The same for several images of each prompt, those of one prompt next to each other.
    ///
    /// diffusers 0.42.1 repeats embeddings so (AABB) and masks prompt after prompt (ABAB), which gives
    /// prompts the masks of others; that is refused rather than repeated or mended in silence.
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

/// Encodes prompts as diffusers' `SanaPipeline.encode_prompt` does, and those of SanaSprintPipeline
/// and SanaControlNetPipeline, which differ only in that Sprint has no negative prompt.
///
/// What all prompts begin with is computed for the first one and kept. One prompt at a time.
public final class PromptEncoder {
    private let tokenizer: Tokenizer
    private let model: Gemma2Model
    /// The instruction whose beginnings of prompts `cache` has.
    private var cached: (instruction: [String], cache: Gemma2Cache)?

    public init(tokenizer: Tokenizer, model: Gemma2Model) {
        (self.tokenizer, self.model) = (tokenizer, model)
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

    /// - Throws: `PromptError`; `InputError` where the tokenizer has ids that the model has not.
    public func encode(
        _ prompts: [String], _ options: PromptOptions, _ context: ForwardContext
    ) throws -> PromptEmbeds {
        guard !prompts.isEmpty else { throw PromptError("there is no prompt") }
        let tokens = try prompts.map { try Self.tokens($0, options, tokenizer) }
        let (count, hidden) = (options.maxSequenceLength, model.config.hiddenSize)
        let embeds = DenseTensor(shape: [prompts.count, count, hidden])
        let mask = DenseTensor(shape: [prompts.count, count])
        let cache = cache(options.instruction)
        for (index, tokens) in tokens.enumerated() {
            let states = try model.forward(tokens.ids, cache: cache, context)
            for (place, position) in tokens.selected.enumerated() where position < tokens.ids.count
            {
                (embeds.values.pointer + (index * count + place) * hidden).update(
                    from: states.values.pointer + position * hidden, count: hidden)
                mask.values.pointer[index * count + place] = 1
            }
        }
        return PromptEmbeds(embeds: embeds, mask: mask, tokens: tokens)
    }

    /// Negative prompts: one for all prompts, or as many as there are prompts.
    ///
    /// - Throws: as `encode`.
    public func encodeNegative(
        _ negatives: [String], prompts: Int, _ options: PromptOptions,
        _ context: ForwardContext
    ) throws -> PromptEmbeds {
        guard negatives.count == 1 || negatives.count == prompts else {
            throw PromptError("\(negatives.count) negative prompts for \(prompts) prompts")
        }
        let encoded = try encode(negatives, options.negative, context)
        return negatives.count == prompts
            ? encoded : try encoded.repeated(imagesPerPrompt: prompts)
    }

    private func cache(_ instruction: [String]) -> Gemma2Cache? {
        guard !instruction.isEmpty else { return nil }
        if let cached, cached.instruction == instruction { return cached.cache }
        let cache = Gemma2Cache(ids: tokenizer.encode(instruction.joined(separator: "\n")))
        cached = (instruction, cache)
        return cache
    }
}
