import SanaModel
import SanaTestSupport
import Testing

/// Broken and foreign tokenizer files end with an error that says what is wrong.
struct HostileTokenizerTests {
    private func problem(_ change: (inout TokenizerBuilder) -> Void) -> String? {
        var file = TokenizerBuilder()
        change(&file)
        do {
            _ = try file.tokenizer()
            return nil
        } catch { return (error as? BadDataError)?.reason ?? "another error: \(error)" }
    }

    @Test("an unchanged file opens")
    func valid() {
        #expect(problem { _ in } == nil)
        #expect(problem { $0.file["pre_tokenizer"] = Self.split } == nil)
        #expect(problem { $0.file["truncation"] = #"{"max_length":3}"# } == nil)
    }

    private static let split =
        #"{"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious","invert":false}"#

    @Test(
        "what a failed download left is named",
        arguments: [
            ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "pointer"),
            ("<!DOCTYPE html>\n<html>401</html>", "web page"), ("\0\0\0\0", "zeros"), ("", "empty"),
        ])
    func failedDownload(_ content: String, _ words: String) {
        let error = #expect(throws: BadDataError.self) {
            try Tokenizer(content: ByteView(Array(content.utf8)), path: "tokenizer.json")
        }
        #expect(error?.reason.contains(words) == true, "\(error?.reason ?? "")")
    }

    @Test(
        "tokenizers of other kinds are refused by name",
        arguments: [
            ("type", #""Unigram""#, "Unigram"), ("type", #""WordPiece""#, "WordPiece"),
            ("byte_fallback", "false", "byte_fallback"), ("byte_fallback", "3", "byte_fallback"),
            ("dropout", "0.1", "dropout"), ("ignore_merges", "true", "ignore_merges"),
            ("continuing_subword_prefix", "\"##\"", "continuing_subword_prefix"),
            ("end_of_word_suffix", #""</w>""#, "end_of_word_suffix"),
            ("unk_token", #""absent""#, "unk_token"), ("unk_token", "7", "unk_token"),
            ("scores", "[]", "scores"),
        ])
    func otherModels(_ key: String, _ value: String, _ noun: String) {
        #expect(problem { $0.model[key] = value }?.contains(noun) == true)
    }

    @Test(
        "other normalizers, pre-tokenizers and post-processors are refused by name",
        arguments: [
            ("normalizer", #"{"type":"NFKC"}"#, "NFKC"), ("normalizer", "null", "normalizer"),
            (
                "normalizer",
                #"{"type":"Replace","pattern":{"String":" "},"content":"_"}"#, "normalizer"
            ),
            (
                "normalizer",
                #"{"type":"Replace","pattern":{"Regex":" "},"content":"▁"}"#, "normalizer"
            ),
            ("pre_tokenizer", #"{"type":"ByteLevel"}"#, "ByteLevel"),
            (
                "pre_tokenizer", #"{"type":"Split","pattern":{"String":"a"},"invert":false}"#,
                "pre_tokenizer"
            ),
            ("post_processor", "null", "post_processor"),
            ("post_processor", #"{"type":"BertProcessing"}"#, "BertProcessing"),
            (
                "post_processor", #"{"type":"TemplateProcessing","single":[]}"#,
                "post_processor"
            ),
            (
                "post_processor",
                #"{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}]}"#,
                "post_processor"
            ),
            ("surprise", "1", "surprise"),
        ])
    func otherParts(_ key: String, _ value: String, _ noun: String) {
        #expect(problem { $0.file[key] = value }?.contains(noun) == true)
    }

    @Test(
        "broken vocabularies are refused",
        arguments: [
            #"{"<unk>":0,"a":1,"b":1,"ab":3}"#, #"{"<unk>":0,"a":1,"b":2,"ab":9}"#,
            #"{"<unk>":0,"a":1,"b":2,"ab":-3}"#, #"{"<unk>":0,"a":1.5,"b":2,"ab":3}"#,
            #"{"<unk>":0,"a":"1","b":2,"ab":3}"#, #"{"<unk>":0,"a":1,"a":2,"ab":3}"#,
            #"{"<unk>":0,"a":1,"\u0061":2,"ab":3}"#, #"{"<unk>":0,"":1}"#,
            #"{"<unk>":0,"a":99999999999999999999999}"#, "[]", "{}", "7", #"{"<unk>":null}"#,
        ])
    func vocabularies(_ text: String) {
        #expect(problem { $0.model["vocab"] = text } != nil)
    }

    @Test(
        "broken merges are refused",
        arguments: [
            #"[["a","c"]]"#, #"[["c","a"]]"#, #"[["b","a"]]"#, #"[["a","b","a"]]"#, #"[["a"]]"#,
            #"[["a",""]]"#, #"[["","ab"]]"#, "[[]]", #"["ab"]"#, #"["a b a"]"#, #"["a  b"]"#,
            #"[" ab"]"#, #"["ab "]"#, #"[""]"#, "[1]", "[[1,2]]", "{}", "null",
        ])
    func merges(_ text: String) {
        #expect(problem { $0.model["merges"] = text } != nil)
    }

    @Test(
        "broken added tokens are refused",
        arguments: [
            #"[{"id":1,"content":"b"}]"#, #"[{"content":"a"}]"#, "[3]", "{}", "[{}]",
            token(id: 2, "a"), token(id: 7, "<new>"), token(id: 1, ""), token(id: -1, "a"),
            token(id: 1, "a", "lstrip"), token(id: 1, "a", "rstrip"),
            token(id: 1, "a", "single_word"), token(id: 1, "a", "normalized"),
            "[" + token(id: 1, "a").dropFirst().dropLast() + ","
                + token(id: 1, "a").dropFirst(),
        ])
    func addedTokens(_ text: String) {
        #expect(problem { $0.file["added_tokens"] = text } != nil)
    }

    private static func token(id: Int, _ content: String, _ flag: String = "") -> String {
        let flags = ["single_word", "lstrip", "rstrip", "normalized"].map {
            "\"\($0)\":\($0 == flag)"
        }
        return #"[{"id":\#(id),"content":"\#(content)",\#(flags.joined(separator: ","))}]"#
    }

    @Test("depth, size and giant pieces are bounded", .tags(.slow))
    func bounds() {
        let deep = String(repeating: "[", count: 100_000)
        #expect(problem { $0.file["decoder"] = deep } != nil)
        #expect(problem { $0.file["padding"] = "{" + deep } != nil)
        #expect(
            problem { $0.pieces.append(String(repeating: "x", count: 5000)) }?
                .contains("5000 bytes") == true)
        let huge = "[" + String(repeating: "0,", count: 3 << 20) + "0]"
        #expect(problem { $0.file["normalizer"] = huge }?.contains("bytes") == true)
        #expect(problem { $0.file["added_tokens"] = huge }?.contains("bytes") == true)
        // What is not used is only read past.
        #expect(problem { $0.file["decoder"] = huge } == nil)
    }

    @Test("a piece that is not UTF-8 is refused")
    func notUTF8() {
        var bytes = Array(TokenizerBuilder().text.utf8)
        let index = bytes.indices.first { bytes[$0...].starts(with: Array(#""ab":3"#.utf8)) }
        if let index { bytes[index + 1] = 0xFF }
        #expect(index != nil)
        #expect(throws: BadDataError.self) {
            try Tokenizer(content: ByteView(bytes), path: "tokenizer.json")
        }
    }

    @Test("a file cut anywhere, and any byte changed, is refused or still a tokenizer")
    func mutations() {
        var file = TokenizerBuilder()
        file.pieces = ["<unk>", "a", "b", "ab", "▁", "<0x41>"]
        (file.merges, file.added) = ([("a", "b")], ["<unk>"])
        let bytes = Array(file.text.utf8)
        for count in 0..<bytes.count {
            #expect(throws: BadDataError.self) {
                try Tokenizer(content: ByteView(bytes[..<count]), path: "t")
            }
        }
        var state: UInt32 = 1
        var opened = 0
        for round in 0..<4000 {
            var changed = bytes
            for _ in 0...(round % 3) {
                state = state &* 1_664_525 &+ 1_013_904_223
                let place = Int(state >> 8) % changed.count
                state = state &* 1_664_525 &+ 1_013_904_223
                changed[place] =
                    round % 2 == 0 ? UInt8(state >> 24) : bytes[Int(state >> 8) % bytes.count]
            }
            if let tokenizer = try? Tokenizer(content: ByteView(changed), path: "t") {
                let ids = tokenizer.encode("ab A\u{1F600}<unk>b")
                opened += 1
                #expect(ids.allSatisfy { $0 >= 0 && $0 < 1 << 24 })
            }
        }
        #expect(opened > 0)
    }
}
