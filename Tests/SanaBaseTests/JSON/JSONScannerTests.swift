import SanaBase
import Testing

struct JSONScannerTests {
    /// A tree takes many times the memory of its text; what is passed over takes none.
    @Test func treesAreBoundedAndWhatIsSkippedIsNot() {
        let list = String(repeating: "[],0,", count: JSONScanner.maximumValueCount / 2)
        #expect(throws: JSONError.self) { try JSONScanner.parse("[\(list)0]") }
        let bytes = Array("[\(list)0]".utf8)
        #expect(throws: Never.self) {
            try bytes.withUnsafeBytes { bytes in
                var scanner = JSONScanner(bytes)
                try scanner.skipValue()
                try scanner.end()
            }
        }
    }

    /// Comparing such texts takes time that grows with the square of their length.
    @Test func refusesTextsThatTakeLongToCompare() throws {
        func text(_ marks: Int) -> String {
            "a"
                + String(
                    String.UnicodeScalarView(
                        (0..<marks).map { $0 % 2 == 0 ? "\u{315}" : "\u{300}" }))
        }
        #expect(try JSONScanner.parse("\"\(text(30))\"") == .string(text(30)))
        #expect(throws: JSONError.self) { try JSONScanner.parse("\"\(text(31))\"") }
        // Those in order take no longer than others.
        let ordered = "a" + String(repeating: "\u{301}", count: 500)
        #expect(try JSONScanner.parse("\"\(ordered)\"") == .string(ordered))
        let start = ContinuousClock.now
        #expect(throws: JSONError.self) { try JSONScanner.parse("{\"\(text(20_000))\":0}") }
        #expect(ContinuousClock.now - start < .seconds(1))
    }

    @Test func readsEveryKindOfValueAndKeepsOrderAndDigits() throws {
        let text = #"{"b":[1,-2.50e+3,true,false,null],"a":{"x":"é\n\u0041\ud83d\ude00"}}"#
        let value = try JSONScanner.parse(text)
        #expect(value["b"]?.array?.map(\.double) == [1, -2500, nil, nil, nil])
        #expect(value["a"]?["x"]?.string == "é\nA😀")
        #expect(value.members?.map(\.key) == ["b", "a"])
        #expect(value.text() == #"{"b":[1,-2.50e+3,true,false,null],"a":{"x":"é\nA😀"}}"#)
        #expect(value.text(sortedKeys: true).hasPrefix(#"{"a":"#))
    }

    @Test(arguments: [
        #"{"a":1,"a":2}"#, #"{"x":{"a":1,"b":2,"a":3}}"#, #"[{"a":[],"a":{}}]"#,
        #"{"a":1,"\u0061":2}"#,
    ])
    func refusesDuplicateKeysAtEveryLevel(_ text: String) {
        #expect { try JSONScanner.parse(text) } throws: {
            ($0 as? JSONError)?.reason.hasPrefix("duplicate key") == true
        }
    }

    @Test(arguments: [
        "", " ", "{", "[", "[1,]", "{\"a\"}", "{\"a\":}", "{a:1}", "[1 2]", "01", "-", "1.", "1e",
        "+1",
        ".5", "tru", "nul", "\"\\x\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"a",
        "1 1",
        "\"\u{1}\"", "NaN", "-Infinity", "[1]]", "'a'",
    ])
    func refusesWhatIsNotJSON(_ text: String) {
        #expect(throws: JSONError.self) { try JSONScanner.parse(text) }
    }

    @Test func refusesInvalidUTF8() {
        let bytes: [UInt8] = [0x22, 0xFF, 0xFE, 0x22]
        #expect(throws: JSONError.self) { try bytes.withUnsafeBytes { try JSONScanner.parse($0) } }
    }

    @Test func refusesDeepNestingInsteadOfOverflowingTheStack() {
        let deep = String(repeating: "[", count: 100_000)
        #expect(throws: JSONError.self) { try JSONScanner.parse(deep) }
        let depth = JSONScanner.maximumDepth
        let allowed = String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        #expect(throws: Never.self) { try JSONScanner.parse(allowed) }
    }

    /// diffusers writes `-Infinity` into scheduler_config.json.
    @Test func readsPythonsNonFiniteNumbersWhenAsked() throws {
        let text = "[NaN,Infinity,-Infinity]"
        let value = try Array(text.utf8).withUnsafeBytes {
            try JSONScanner.parse($0, allowsNonFinite: true)
        }
        let numbers = value.array?.compactMap(\.double) ?? []
        try #require(numbers.count == 3)
        #expect(numbers[0].isNaN)
        #expect(numbers[1] == .infinity)
        #expect(numbers[2] == -.infinity)
    }

    @Test func wholeNumbersAreIntegersHoweverWritten() throws {
        let value = try JSONScanner.parse("[2, 2.0, 2e3, 2.5, 1e300]")
        #expect(value.array?.map(\.int) == [2, 2, 2000, nil, nil])
    }
}
