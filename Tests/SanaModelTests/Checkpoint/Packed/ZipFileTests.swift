import SanaModel
import SanaTestSupport
import Testing

/// One test per rule, each with the attack that it stops.
struct ZipFileTests {
    private func open(_ content: [UInt8]) throws -> ZipFile {
        try ZipFile(content: ByteView(content), path: "x.zip")
    }

    private func refusal(_ content: [UInt8]) -> String? {
        do {
            _ = try open(content)
            return nil
        } catch { return "\(error)" }
    }

    private func refusal(_ change: (inout ZipBuilder) -> Void) -> String? {
        var zip = ZipBuilder([("a/b", [1, 2, 3]), ("c", [4])])
        change(&zip)
        return refusal(zip.file)
    }

    @Test(arguments: [false, true])
    func entriesAreViewsInTheOrderOfTheirData(_ isZip64: Bool) throws {
        var zip = ZipBuilder([("a/b", [1, 2, 3]), ("c", []), ("folder/", [])])
        zip.isZip64 = isZip64
        let file = try open(zip.file)
        #expect(file.entries.map(\.name) == ["a/b", "c"])
        #expect(file["a/b"]?.bytes.withUnsafeBytes { Array($0) } == [1, 2, 3])
        #expect(file["c"]?.bytes.count == 0)
        #expect(file["d"] == nil)
    }

    /// Lengths around the eight bytes that are summed at once, and more than are read at once.
    @Test(.tags(.slow), arguments: [0, 1, 7, 8, 9, 63, 64, 4 << 20, 4 << 20 + 5])
    func sumsAreThoseOfTheBytes(_ count: Int) throws {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 167 &+ $0 >> 8) }
        let workers = WorkerPool(threadCount: 2)
        #expect(try open(ZipBuilder([("a", bytes)]).file).damages(using: workers) == [])
        guard count > 0 else { return }
        for place in Set([0, count / 2, count - 1]) {
            var zip = ZipBuilder([("a", bytes), ("b", [1])])
            let sum = try open(zip.file).entries[0].crc32
            zip.entries[0].crc32 = sum
            zip.entries[0].data[place] ^= 0x10
            let found = try open(zip.file).damages(using: workers)
            #expect(found.map(\.entry) == ["a"])
            #expect(found.first?.stated == sum)
        }
    }

    /// The check value of the catalogue of CRCs (G. Cook): "123456789".
    @Test func sumOfNineDigits() throws {
        var zip = ZipBuilder([("a", Array("123456789".utf8))])
        zip.entries[0].crc32 = 0xCBF4_3926
        #expect(try open(zip.file).damages(using: WorkerPool(threadCount: 1)) == [])
    }

    @Test func commentsMayFollowTheEndRecord() throws {
        var content = ZipBuilder([("a", [1])]).file
        content[content.count - 2] = 3
        #expect(try open(content + [7, 7, 7]).entries.count == 1)
        #expect(refusal(content + [7, 7])?.contains("truncated") == true)
    }

    @Test func compressedEntries() {
        #expect(refusal { $0.entries[0].method = 8 }?.contains("is compressed (method 8)") == true)
    }

    @Test func encryptedEntries() {
        #expect(refusal { $0.entries[1].flags = 1 }?.contains("'c' is encrypted") == true)
    }

    @Test(arguments: [
        "../a", "/etc/a", "a/../b", "a//b", "", "a\\b", "./a", "a\u{1}b",
        String(repeating: "a", count: 2000),
    ])
    func namesThatLeadElsewhere(_ name: String) {
        let text = refusal { $0.entries[0].name = name }
        #expect(text?.contains("is not a plain relative path") == true)
    }

    /// Each part is short enough for a file.
    @Test func longNames() {
        func refusal(_ parts: Int) -> String? {
            self.refusal {
                $0.entries[0].name = [String](repeating: "a", count: parts).joined(separator: "/")
            }
        }
        #expect(refusal(512) == nil)
        #expect(refusal(513)?.contains("is not a plain relative path") == true)
    }

    @Test func moreEntriesThanAnyModelHas() {
        func refusal(_ count: UInt64) -> String? {
            self.refusal { ($0.isZip64, $0.statedCount) = (true, count) }
        }
        #expect(refusal(2) == nil)
        #expect(refusal(1 << 16 + 1)?.contains("over the limit") == true)
        #expect(refusal(1 << 16)?.contains("over the limit") == false)
    }

    @Test func namesThatOccurTwice() {
        #expect(refusal { $0.entries[1].name = "a/b" }?.contains("two entries are named") == true)
    }

    @Test func headersThatContradictTheDirectory() {
        let reason = "has a local header that differs"
        #expect(refusal { $0.entries[0].localName = "a/x" }?.contains(reason) == true)
        #expect(refusal { $0.entries[0].localCount = 2 }?.contains(reason) == true)
        #expect(refusal { $0.entries[0].offset = 1 }?.contains(reason) == true)
        #expect(refusal { $0.entries[0].offset = .max - 1 }?.contains(reason) == true)
    }

    /// Two names for the same bytes; 2¹⁶ of those once made 281 TB of 10 MB ("zip bomb", D.
    /// Fifield).
    @Test func entriesThatOverlap() {
        let text = refusal {
            $0.entries[1].name = "a/c"
            $0.entries[1].data = [4]
            $0.entries[0].data = [1, 2, 3] + ZipBuilder([("a/c", [4])]).file.prefix(34)
            $0.entries[1].offset = 36
        }
        #expect(text?.contains("overlaps") == true, "\(text ?? "taken")")
    }

    @Test func everyCutIsRefused() {
        for isZip64 in [false, true] {
            var zip = ZipBuilder([("a/b", [1, 2, 3]), ("c", [4])])
            zip.isZip64 = isZip64
            let content = zip.file
            for count in 0..<content.count { #expect(refusal(Array(content.prefix(count))) != nil) }
        }
    }

    /// Whatever byte changes, reading ends with an error or with entries inside of the file.
    @Test func everyChangedByteIsSurvived() throws {
        let content = ZipBuilder([("a/b", [1, 2, 3]), ("c", [4])]).file
        for index in content.indices {
            for value: UInt8 in [0, 1, 0x7F, 0xFF] {
                var changed = content
                changed[index] = value
                let entries = (try? open(changed))?.entries ?? []
                #expect(entries.allSatisfy { $0.bytes.count <= content.count })
            }
        }
    }
}
