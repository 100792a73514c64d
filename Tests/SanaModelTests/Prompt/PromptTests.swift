import SanaTestSupport
import Testing

@testable import SanaModel

/// Prompts as diffusers' `encode_prompt` hands them to the transformer.
struct PromptTests {
    private static let folder = Fixtures.path + "/prompt"
    private let tokenizer: Tokenizer
    private let model: Gemma2Model

    init() throws {
        tokenizer = try Tokenizer.open(Fixtures.path + "/tokenizer")
        let path = Self.folder + "/text_encoder"
        model = try Gemma2Model(
            Gemma2Config(json: JSONFile.read(path + "/config.json"), file: path),
            source: SafetensorsFile(path: path + "/model.safetensors"), label: path)
    }

    private func context() -> ForwardContext {
        ForwardContext(workers: WorkerPool(threadCount: 2))
    }

    private struct Golden {
        let file: SafetensorsFile
        let cases: [JSONValue]

        init() throws {
            file = try SafetensorsFile(path: PromptTests.folder + "/prompts.safetensors")
            let text = try #require(file.header.metadata.first { $0.key == "cases" }?.value)
            cases = try #require(try JSONScanner.parse(text).array)
        }

        func floats(_ name: String) throws -> DenseTensor {
            let info = try #require(file.info(name))
            let values = try #require(try file.bytes(of: info).widened(from: info.dtype))
            return DenseTensor(shape: info.shape, values: values)
        }

        /// Rows of whole numbers.
        func rows(_ name: String) throws -> [[Int]] {
            let info = try #require(file.info(name))
            return try file.bytes(of: info).withUnsafeBytes { bytes in
                (0..<info.shape[0]).map { row in
                    (0..<info.shape[1]).map { column in
                        Int(
                            bytes.loadUnaligned(
                                fromByteOffset: 8 * (row * info.shape[1] + column),
                                as: Int64.self))
                    }
                }
            }
        }
    }

    private func strings(_ json: JSONValue?) -> [String] {
        (json?.array ?? []).compactMap(\.string)
    }

    private func expect(
        _ encoded: PromptEmbeds, _ golden: Golden, _ prefix: String, images: Int
    ) throws {
        let tokens = encoded.tokens
        let ids = tokens.map { $0.padded(with: 0) }
        #expect(try ids == golden.rows(prefix + "input_ids"), "\(prefix)")
        let masks = tokens.map { text in (0..<text.length).map { $0 < text.ids.count ? 1 : 0 } }
        #expect(try masks == golden.rows(prefix + "attention_mask"), "\(prefix)")
        let repeated = try encoded.repeated(imagesPerPrompt: images)
        let mask = try golden.rows(prefix + "prompt_attention_mask")
        #expect(repeated.mask.values.values.map { Int($0) } == mask.flatMap { $0 }, "\(prefix)")
        let reference = try golden.floats(prefix + "prompt_embeds")
        #expect(repeated.embeds.shape == reference.shape, "\(prefix)")
        let (ours, theirs) = (repeated.embeds.values.values, reference.values.values)
        let difference = zip(ours, theirs).reduce(0.0) {
            $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1)
        }
        let power = theirs.reduce(0.0) { $0 + Double($1) * Double($1) }
        #expect((difference / power).squareRoot() < 2e-6, "\(prefix)")
    }

    @Test("embeddings, masks and ids are those of diffusers' pipelines")
    func parity() throws {
        let golden = try Golden()
        #expect(golden.cases.count >= 14)
        let encoder = PromptEncoder(tokenizer: tokenizer, model: model)
        for (index, item) in golden.cases.enumerated() {
            var options = PromptOptions()
            options.instruction = strings(item["instruction"])
            options.maxSequenceLength = try #require(item["length"]?.int)
            let prompts = strings(item["prompt"])
            let images = try #require(item["images"]?.int)
            let negatives = strings(item["negative"])
            let encoded = try encoder.encode(
                prompts, negatives: negatives, options, context())
            try expect(encoded.positive, golden, "\(index).", images: images)
            #expect((encoded.negative == nil) == negatives.isEmpty)
            guard let negative = encoded.negative else { continue }
            try expect(negative, golden, "\(index).negative_", images: images)
        }
    }

    @Test("the standard instruction is that of diffusers")
    func instruction() throws {
        let golden = try Golden()
        #expect(strings(golden.cases[0]["instruction"]) == ComplexHumanInstruction.standard)
    }

    @Test("what diffusers does wrong, or with Python packages, is refused")
    func refused() throws {
        let encoder = PromptEncoder(tokenizer: tokenizer, model: model)
        var options = PromptOptions()
        options.maxSequenceLength = 8
        let two = try encoder.encode(["a", "b"], options, context()).positive
        #expect(throws: PromptError.self) { try two.repeated(imagesPerPrompt: 2) }
        #expect(throws: PromptError.self) { try two.repeated(imagesPerPrompt: 0) }
        #expect(try two.repeated(imagesPerPrompt: 1).tokens.count == 2)
        #expect(throws: PromptError.self) { try encoder.encode([], options, context()) }
        #expect(throws: PromptError.self) {
            try encoder.encode(["a", "b"], negatives: ["a", "b", "c"], options, context())
        }
        options.cleansCaption = true
        #expect {
            try encoder.encode(["a"], options, context())
        } throws: {
            ($0 as? PromptError)?.description.contains("clean_caption") == true
        }
        options.cleansCaption = false
        for length in [0, -1, 1 << 40] {
            options.maxSequenceLength = length
            #expect(throws: PromptError.self) { try encoder.encode(["a"], options, context()) }
        }
        (options.instruction, options.maxSequenceLength) = ([], 1)
        #expect(throws: PromptError.self) { try encoder.encode(["a"], options, context()) }
    }

    @Test("characters are lower-cased as Python does")
    func lowerCase() throws {
        let file = try JSONFile.read(Self.folder + "/lower.json")
        let changed = Dictionary(
            uniqueKeysWithValues: (file["lower"]?.members ?? []).map {
                (UInt32($0.key, radix: 16) ?? 0, $0.value.string ?? "")
            })
        #expect(changed.count > 1300)
        #expect(file["unicode"] == .string("14.0.0"))
        var different: [UInt32] = []
        for value in UInt32(0)...0x10FFFF {
            // Letters that are younger than Python's table have no say.
            guard let scalar = Unicode.Scalar(value), scalar != "Σ",
                let age = scalar.properties.age, age.major <= 14
            else { continue }
            let text = String(Character(scalar))
            let expected = changed[value] ?? text
            if !PromptText.lowercased(text).utf8.elementsEqual(expected.utf8) {
                different.append(value)
            }
        }
        #expect(different == [])
        for item in file["texts"]?.array ?? [] {
            let text = try #require(item["text"]?.string)
            let expected = try #require(item["processed"]?.string)
            #expect(
                PromptText.preprocessed(text).utf8.elementsEqual(expected.utf8),
                "\(text.debugDescription)")
        }
    }
}
