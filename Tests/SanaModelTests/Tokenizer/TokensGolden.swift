import SanaModel
import SanaTestSupport
import Testing

/// Token ids that Hugging Face's `tokenizers` computed: a file of format `sana-tokens`.
struct TokensGolden {
    let digest: String?
    let cases: [(text: String, ids: [Int])]

    init(_ path: String) throws {
        let file = try JSONFile.read(path, maximumByteCount: 256 << 20)
        try #require(file["format"] == .string("sana-tokens"))
        digest = file["tokenizer_sha256"]?.string
        cases = try #require(file["cases"]?.array).map { item in
            let ids = try #require(item["ids"]?.array)
            return (try #require(item["text"]?.string), ids.compactMap(\.int))
        }
    }

    /// Expects the ids of every case.
    func expect(_ tokenizer: Tokenizer) {
        var different = 0
        for (text, ids) in cases where tokenizer.encode(text) != ids {
            different += 1
            if different <= 5 {
                #expect(tokenizer.encode(text) == ids, "\(text.prefix(60).debugDescription)")
            }
        }
        #expect(different == 0, "of \(cases.count) texts")
    }
}
