import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// `tokenize` of the built binary.
@Suite(.tags(.process)) struct TokenizeCommandTests {
    private let program: BuiltProgram
    private static let file = "fixtures/tokenizer/tokenizer.json"

    init() throws { program = try BuiltProgram() }

    private func ids(_ outcome: BuiltProgram.Outcome) -> [Int]? {
        outcome.json?["ids"]?.array?.compactMap(\.int)
    }

    @Test("text is encoded exactly as it is")
    func asItIs() throws {
        let tokenizer = try Tokenizer.open(Fixtures.path + "/tokenizer")
        let text = "  A Cat\n<bos> é\u{301}\n"
        try program.folder.write("text.txt", Array(text.utf8))
        for arguments in [
            ["tokenize", Self.file, "--prompt", text, "--format", "json"],
            ["tokenize", "fixtures/tokenizer", "--text-file", "text.txt", "--format", "json"],
        ] {
            let outcome = try program.run(arguments)
            #expect(outcome.code == 0)
            #expect(ids(outcome) == tokenizer.encode(text))
            let tokens = outcome.json?["tokens"]?.array?.compactMap(\.string)
            #expect(tokens == tokenizer.encode(text).map(tokenizer.piece))
        }
        let input = try program.run(
            limits: "exec < text.txt",
            ["tokenize", Self.file, "--text-file", "-", "--format", "json"])
        #expect(ids(input) == tokenizer.encode(text))
    }

    @Test("--pipeline encodes as SanaPipeline, after the instruction")
    func pipeline() throws {
        let tokenizer = try Tokenizer.open(Fixtures.path + "/tokenizer")
        let outcome = try program.run(
            "tokenize", Self.file, "--prompt", " A Cat ", "--pipeline", "--format", "json")
        #expect(outcome.code == 0)
        let text = ComplexHumanInstruction.standard.joined(separator: "\n") + "a cat"
        #expect(ids(outcome) == tokenizer.encode(text))
        #expect(outcome.json?["selected"]?.array?.count == 300)
        #expect(outcome.json?["selected"]?.array?.first == .int(0))
    }

    @Test("a table shows positions, ids and tokens, control characters escaped")
    func table() throws {
        let outcome = try program.run("tokenize", Self.file, "--prompt", "a\n\u{1B}")
        #expect(outcome.code == 0)
        #expect(outcome.output.contains("position"))
        #expect(outcome.output.contains("<bos>"))
        #expect(outcome.output.contains("\\u{a}"))
        let markdown = try program.run(
            "tokenize", Self.file, "--prompt", "a", "--format", "markdown")
        #expect(markdown.output.hasPrefix("| position |"))
    }

    @Test("a repository is tokenized with its component")
    func repository() throws {
        let folder = program.folder("repo/tokenizer")
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true)
        try program.folder.write("repo/model_index.json", Array("{}".utf8))
        let absent = try program.run("tokenize", "repo", "--prompt", "a")
        #expect(absent.code == 66)
        #expect(absent.talk.contains("tokenizer.json"))
        try program.folder.write("repo/tokenizer/tokenizer.model", [1])
        let sentencePiece = try program.run("tokenize", "repo", "--prompt", "a")
        #expect(sentencePiece.code == 65)
        #expect(sentencePiece.talk.contains("SentencePiece"))
        try program.folder.write(
            "repo/tokenizer/tokenizer.json",
            fileBytes(Fixtures.path + "/tokenizer/tokenizer.json"))
        #expect(try program.run("tokenize", "repo", "--prompt", "a").code == 0)
    }

    @Test("what cannot be encoded has the exit code of its kind")
    func failures() throws {
        #expect(try program.run("tokenize", "absent", "--prompt", "a").code == 66)
        #expect(try program.run("tokenize", Self.file, "--text-file", "absent").code == 66)
        #expect(try program.run("tokenize", Self.file).code == 64)
        #expect(
            try program.run("tokenize", Self.file, "--prompt", "a", "--text-file", "-").code == 64)
        #expect(try program.run("tokenize").code == 64)
        try program.folder.write("latin1.txt", [0x61, 0xE9])
        let encoding = try program.run("tokenize", Self.file, "--text-file", "latin1.txt")
        #expect(encoding.code == 65)
        #expect(encoding.talk.contains("UTF-8"))
        try program.folder.write(
            "other.json", Array(#"{"model":{"type":"Unigram","vocab":[]}}"#.utf8))
        let other = try program.run("tokenize", "other.json", "--prompt", "a")
        #expect(other.code == 65)
        #expect(other.talk.contains("Unigram"))
        #expect(try program.run("tokenize", "--help").output.contains("EXAMPLES"))
    }
}
