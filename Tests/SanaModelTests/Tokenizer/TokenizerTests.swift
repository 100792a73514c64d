import SanaModel
import SanaTestSupport
import Testing

/// Ids against Hugging Face's, and what a tokenizer does whatever its vocabulary.
struct TokenizerTests {
    static let path = Fixtures.path + "/tokenizer/tokenizer.json"
    private let tokenizer: Tokenizer

    init() throws { tokenizer = try Tokenizer(path: Self.path) }

    @Test("ids are those of Hugging Face's tokenizers")
    func golden() throws {
        let golden = try TokensGolden(Fixtures.path + "/tokenizer/tokens.json")
        #expect(golden.cases.count >= 2000)
        #expect(
            try golden.digest
                == ContentHash.sha256(of: ByteView(fileBytes(Self.path))).hexadecimal)
        golden.expect(tokenizer)
    }

    @Test("merges written as strings, and members in another order, are the same tokenizer")
    func olderSpelling() throws {
        var file = TokenizerBuilder()
        file.pieces = ["<unk>", "a", "b", "ab", "▁", "▁ab"]
        file.merges = [("a", "b"), ("▁", "ab")]
        let newer = try file.tokenizer()
        file.spellsMergesAsStrings = true
        file.putsModelFirst = true
        let older = try file.tokenizer()
        for text in ["ab", " ab", "b a ab ", "abab"] {
            #expect(newer.encode(text) == older.encode(text), "\(text)")
        }
        #expect(newer.encode(" ab") == [0, 5])
    }

    @Test("special tokens go around a text only when asked for")
    func specialTokens() {
        #expect(tokenizer.encode("") == [2])
        #expect(tokenizer.encode("", addsSpecialTokens: false) == [])
        #expect(tokenizer.encode("<bos>", addsSpecialTokens: false) == [2])
    }

    @Test("pieces that are canonically equivalent are different pieces")
    func canonicalEquivalence() throws {
        var file = TokenizerBuilder()
        file.pieces = ["<unk>", "e", "\u{301}", "é", "e\u{301}"]
        file.merges = [("e", "\u{301}")]
        let tokenizer = try file.tokenizer()
        #expect(tokenizer.encode("\u{E9}", addsSpecialTokens: false) == [3])
        #expect(tokenizer.encode("e\u{301}", addsSpecialTokens: false) == [4])
    }

    @Test("characters without pieces of all their bytes are unknown, as tokenizers orders them")
    func unknowns() throws {
        var file = TokenizerBuilder()
        file.pieces = ["<unk>", "a", "<0xC3>", "<0xA9>"]
        let fused = try file.tokenizer()
        #expect(fused.encode("xyaz", addsSpecialTokens: false) == [0, 1, 0])
        // tokenizers 0.23.3: the bytes of é come before the unknown x that precedes it.
        #expect(fused.encode("xé", addsSpecialTokens: false) == [2, 3, 0])
        file.fusesUnknown = false
        #expect(try file.tokenizer().encode("xya", addsSpecialTokens: false) == [0, 0, 1])
        file.unknown = nil
        #expect(try file.tokenizer().encode("xya", addsSpecialTokens: false) == [1])
    }

    @Test("of added tokens the leftmost is cut out, and of those the longest")
    func addedTokens() throws {
        var file = TokenizerBuilder()
        file.pieces = ["<unk>", "a", "b", "c", "ab", "abc", "bc"]
        file.added = ["ab", "abc", "bc"]
        let tokenizer = try file.tokenizer()
        #expect(tokenizer.encode("abc", addsSpecialTokens: false) == [5])
        #expect(tokenizer.encode("abab", addsSpecialTokens: false) == [4, 4])
        #expect(tokenizer.encode("bcab", addsSpecialTokens: false) == [6, 4])
        #expect(tokenizer.encode("abbc", addsSpecialTokens: false) == [4, 6])
    }

    @Test("added tokens that vocab does not have take the ids after it")
    func addedPastTheVocabulary() throws {
        var file = TokenizerBuilder()
        file.pieces = ["<unk>", "a"]
        file.added = ["<new>", "<newer>"]
        let tokenizer = try file.tokenizer()
        #expect(tokenizer.encode("a<newer>a<new>", addsSpecialTokens: false) == [1, 3, 1, 2])
        #expect(tokenizer.count == 4)
        #expect(tokenizer.piece(3) == "<newer>")
        #expect(tokenizer.id("<newer>") == 3)
    }

    /// A text without added tokens is one word: merging it pair by pair would take minutes.
    @Test("a text of 100 kB takes n log n")
    func longText() {
        let text = String(repeating: "the return value is an object ", count: 3400)
        let start = ContinuousClock.now
        let ids = tokenizer.encode(text)
        #expect(ContinuousClock.now - start < .seconds(20))
        #expect(ids.count > 10_000)
        #expect(ids.count < 60_000)
    }

    @Test("files that are named by their folder or repository open")
    func locations() throws {
        let folder = try TemporaryFolder()
        let content = try fileBytes(Self.path)
        try folder.write("model.json", content)
        #expect(try Tokenizer.open(folder("model.json")).count == tokenizer.count)
        #expect(throws: FileError.self) { try Tokenizer.open(folder.path) }
        #expect(throws: FileError.self) { try Tokenizer.open(folder("absent")) }
        try folder.write("tokenizer.model", [1, 2, 3])
        for path in [folder.path, folder("tokenizer.model")] {
            #expect {
                try Tokenizer.open(path)
            } throws: {
                ($0 as? BadDataError)?.reason.contains("SentencePiece") == true
            }
        }
        try folder.write("tokenizer.json", content)
        #expect(try Tokenizer.open(folder.path).count == tokenizer.count)
    }
}

/// Gemma-2's own vocabulary, which PyPI's splintr-rs carries, where a Python has it. None of it is
/// kept.
@Suite(.tags(.process)) struct GemmaVocabularyTests {
    private static let packages = "splintr, tokenizers"
    private static let python = Python.having(packages)

    @Test(
        "ids of Gemma-2's vocabulary are those of Hugging Face's tokenizers",
        .enabled(
            if: python != nil,
            "no Python with \(packages): Gemma-2's own vocabulary is not tested; 'pip install splintr-rs tokenizers' and set SANA_TOOLS_PYTHON"
        ))
    func realVocabulary() throws {
        let folder = try TemporaryFolder()
        let process = try SpawnedProcess(
            try #require(Self.python), [Fixtures.path + "/gemma_vocabulary.py", folder.path])
        process.waitUntilExit()
        try #require(process.exitCode == 0)
        let tokenizer = try Tokenizer.open(folder.path)
        #expect(tokenizer.count == 256_000)
        let golden = try TokensGolden(folder("tokens.json"))
        #expect(golden.cases.count >= 2000)
        golden.expect(tokenizer)
    }
}
