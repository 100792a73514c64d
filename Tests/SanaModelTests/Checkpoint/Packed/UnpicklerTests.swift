import SanaModel
import SanaTestSupport
import Testing

/// Pickles that torch would run, or choke on: each is refused with a message of its own, at once
/// and without memory for what it announces.
struct UnpicklerTests {
    private typealias Bytes = [UInt8]

    private static func ascii(_ text: String) -> [UInt8] { Array(text.utf8) }
    private static func text(_ text: String) -> [UInt8] {
        [0x58] + littleEndianBytes(UInt32(text.utf8.count)) + ascii(text)
    }

    /// `{"w": tensor}` with two F32 values in storage 0.
    private static func tensor(
        shape: [UInt8] = [0x4B, 2, 0x85], strides: [UInt8] = [0x4B, 1, 0x85],
        offset: [UInt8] = [0x4B, 0], count: [UInt8] = [0x4B, 2], storage: String = "FloatStorage",
        names: [String] = ["w"]
    ) -> [UInt8] {
        let one =
            ascii("ctorch._utils\n_rebuild_tensor_v2\n((") + text("storage")
            + ascii("ctorch\n\(storage)\n") + text("0") + text("cpu") + count + ascii("tQ") + offset
            + shape + strides + [0x89] + ascii("ccollections\nOrderedDict\n)RtR")
        return [0x80, 2] + ascii("}(") + names.flatMap { text($0) + one } + ascii("u.")
    }

    /// - Parameter sum: of the pickle, which takes long for a large one and is not read here.
    private func read(
        _ pickle: [UInt8], values: [UInt8] = Array(0..<8), sum: UInt32? = nil
    ) throws -> any TensorSource {
        var zip = ZipBuilder(pickle: pickle, storages: [("0", values)])
        zip.entries[0].crc32 = sum
        return try Checkpoint.weights(content: ByteView(zip.file), path: "x.pth")
    }

    private func refusal(_ pickle: [UInt8], sum: UInt32? = nil) -> String? {
        do {
            _ = try read(pickle, sum: sum)
            return nil
        } catch {
            #expect((error as? any DiagnosticError)?.category == .badData)
            return "\(error)"
        }
    }

    @Test func tensorIsAViewOfItsStorage() throws {
        let weights = try read(Self.tensor(shape: [0x4B, 1, 0x85], offset: [0x4B, 1]))
        let tensor = try #require(weights.info("w"))
        #expect(tensor.shape == [1])
        #expect(tensor.dtype == .f32)
        #expect(try weights.bytes(of: tensor).withUnsafeBytes { Array($0) } == [4, 5, 6, 7])
    }

    /// What training programs write beside, or in place of, `state_dict`.
    @Test func weightsUnderOtherKeysAreTold() throws {
        let inner = Self.tensor().dropFirst(2).dropLast()
        func file(_ keys: [String]) -> [UInt8] {
            [0x80, 2] + Self.ascii("}(") + keys.flatMap { Self.text($0) + inner }
                + Self.text("epoch") + [0x4B, 3] + Self.ascii("u.")
        }
        let both = refusal(file(["state_dict_ema", "module"]))
        #expect(both?.contains("but tensors are under 'state_dict_ema', 'module'") == true)
        #expect(try read(file(["model"])).info("w") != nil)
        #expect(try read(file(["state_dict"])).info("w") != nil)
        #expect(refusal(file([]))?.contains("no tensor; its keys are 'epoch'") == true)
    }

    @Test(arguments: [
        ("os.system", "cos\nsystem\n(X\u{4}\0\0\0truetR.", "'os.system'"),
        ("builtins.eval", "c__builtin__\neval\n)R.", "'__builtin__.eval'"),
        ("torch's own", "ctorch\nload\n)R.", "'torch.load'"),
        (
            "subclasses", "ctorch._utils\n_rebuild_wrapper_subclass\n)R.",
            "_rebuild_wrapper_subclass"
        ),
        ("control codes", "cos\u{1B}[2J\nx\n.", "os\\u{1b}[2J"),
        ("BUILD", "ctorch\nSize\n}b.", "BUILD"),
        ("INST", "(ios\nsystem\n.", "INST"), ("OBJ", "(o.", "OBJ"),
        ("PERSID", "Pevil\n.", "PERSID"),
        ("a call of a text", "X\u{1}\0\0\0a)R.", "unknown function"),
        ("a size of nothing", "ctorch\nSize\n)R.", "0 arguments"),
        ("a persistent id", "K\u{1}Q.", "not a tensor storage"),
    ])
    func whatIsNoPlainValue(_ name: String, _ code: String, _ expected: String) {
        let message = refusal([0x80, 2] + Self.ascii(code))
        #expect(message?.contains(expected) == true, "\(name): \(message ?? "taken")")
    }

    private static let outOfBounds: [(String, [UInt8], String)] = [
        ("STACK_GLOBAL", [0x8C, 2, 0x6F, 0x73, 0x8C, 1, 0x78, 0x93], "'os.x'"),
        ("NEWOBJ", Array("ctorch\nSize\n)".utf8) + [0x81], "NEWOBJ"),
        ("EXT4", [0x84, 1, 0, 0, 0], "EXT4"),
        ("LONG4", [0x8B, 255, 255, 255, 127], "an integer of"),
        ("negative LONG4", [0x8B, 255, 255, 255, 255], "an integer of -1"),
        ("LONG1", [0x8A, 65] + [UInt8](repeating: 1, count: 65), "65 bytes"),
        ("BINBYTES", [0x42, 255, 255, 255, 255], "reaches past"),
        ("BINUNICODE8", [0x8D] + [UInt8](repeating: 255, count: 8), "out of range"),
        ("FRAME", [0x95, 255, 255, 255, 255, 0, 0, 0, 0], "a frame is truncated"),
        ("text", [0x58, 1, 0, 0, 0, 0xFF], "not UTF-8"),
        ("depth", .init(repeating: 0x28, count: 9999), "deep"),
        ("stack", .init(repeating: 0x4E, count: 1 << 17), "limits"),
        ("memo", [0x68, 7], "no stored value 7"), ("empty stack", [0x30], "missing"),
        ("value below the mark", [0x4E, 0x28, 0x30], "missing"),
        ("no mark", [0x74], "mark is missing"),
        ("protocol", [0x80, 200], "protocol 200"), ("list", [0x4E, 0x4E, 0x61], "only a list"),
    ]

    @Test(arguments: outOfBounds)
    func whatIsOutOfBounds(_ name: String, _ code: [UInt8], _ expected: String) {
        let message = refusal([0x80, 2] + code + [0x2E])
        #expect(message?.contains(expected) == true, "\(name): \(message ?? "taken")")
    }

    /// As NumPy's PCG64 has them in its state.
    @Test("integers of more than 64 bits are passed over as data")
    func wideIntegers() {
        let value: [UInt8] = [0x8A, 16] + [UInt8](repeating: 1, count: 16)
        let pickle = [0x80, 2] + Self.ascii("}X\u{5}\0\0\0state") + value + Self.ascii("s.")
        let message = refusal(pickle)
        #expect(message?.contains("no tensor; its keys are 'state'") == true, "\(message ?? "")")
    }

    /// Each list holds the one before twice; written out they would be 2²⁰⁰⁰⁰ values.
    @Test func listsThatDoubleEndlesslyCostNothing() {
        let bomb = (0..<20_000).flatMap { _ in Self.ascii("q\u{0}0](h\u{0}h\u{0}e") }
        let start = ContinuousClock.now
        let message = refusal([0x80, 2, 0x5D] + bomb + [0x2E])
        #expect(message?.contains("no state dictionary") == true, "\(message ?? "taken")")
        #expect(start.duration(to: .now) < .seconds(1))
    }

    /// The same values may stand in any number of containers, at a byte or two each.
    @Test(
        "values in containers are counted",
        arguments: [("list", "]", "e"), ("tuples", "N", "t"), ("dictionary", "}", "u")])
    func moreItemsThanAnyModelHas(_ name: String, _ start: String, _ fill: String) {
        let part = Self.ascii("(") + [UInt8](repeating: 0x4E, count: 60_000) + Self.ascii(fill)
        func refusal(_ parts: Int) -> String? {
            let filled = (0..<parts).flatMap { _ in part }
            return self.refusal([0x80, 2] + Self.ascii(start) + filled + [0x2E], sum: 0)
        }
        let limit = "more than 524288 values in containers"
        #expect(refusal(8)?.contains(limit) == false)
        #expect(refusal(9)?.contains(limit) == true)
    }

    @Test func picklesThatAreLongerThanThoseOfAnyModel() {
        func refusal(_ count: Int) -> String? {
            let bytes = [0x42] + littleEndianBytes(UInt32(count - 8))
            return self.refusal(
                [0x80, 2] + bytes + [UInt8](repeating: 0, count: count - 8) + [0x2E], sum: 0)
        }
        #expect(refusal(16 << 20)?.contains("no state dictionary") == true)
        #expect(refusal(16 << 20 + 1)?.contains("over the limit of 16777216") == true)
    }

    /// A list that holds itself, and a tower of lists: neither is ever walked.
    @Test func circlesAndTowersEndQuietly() {
        #expect(refusal([0x80, 2] + Self.ascii("]q\u{0}h\u{0}a.")) != nil)
        let tower = Self.ascii(
            String(repeating: "]", count: 60_000) + String(repeating: "a", count: 59_999))
        #expect(refusal([0x80, 2] + tower + [0x2E])?.contains("no state dictionary") == true)
    }

    @Test func tensorsThatLeaveTheirStorage() {
        let huge: [UInt8] = [0x4A, 255, 255, 255, 127]
        let wide = [0x8A, 8] + littleEndianBytes(Int64.max)
        #expect(refusal(Self.tensor(offset: [0x4B, 1]))?.contains("past its storage") == true)
        #expect(refusal(Self.tensor(offset: wide))?.contains("past its storage") == true)
        #expect(refusal(Self.tensor(shape: huge + [0x85]))?.contains("past its storage") == true)
        #expect(refusal(Self.tensor(shape: wide + [0x85]))?.contains("impossible") == true)
        #expect(refusal(Self.tensor(count: huge))?.contains("but the file has 8 bytes") == true)
        #expect(refusal(Self.tensor(count: wide))?.contains("but the file has 8 bytes") == true)
        #expect(
            refusal(Self.tensor(storage: "HalfStorage"))?.contains("but the file has 8") == true)
        let minus: [UInt8] = [0x4A, 255, 255, 255, 255]
        #expect(refusal(Self.tensor(offset: minus))?.contains("past its storage") == true)
        #expect(refusal(Self.tensor(shape: minus + [0x85]))?.contains("impossible") == true)
        #expect(refusal(Self.tensor(count: minus))?.contains("not a tensor storage") == true)
    }

    @Test func viewsThatSkipValues() {
        let message = refusal(Self.tensor(strides: [0x4B, 2, 0x85]))
        #expect(message?.contains("strides [2]") == true)
        #expect(refusal(Self.tensor(strides: [0x29]))?.contains("strides []") == true)
    }

    /// Comparing such texts takes time that grows with the square of their length.
    @Test func textsThatTakeLongToCompare() {
        let marks = String(repeating: "\u{315}\u{300}", count: 16)
        #expect(refusal(Self.text("a" + marks))?.contains("combining marks") == true)
    }

    @Test func namesThatOccurTwice() {
        #expect(refusal(Self.tensor(names: ["w", "v"])) == nil)
        #expect(refusal(Self.tensor(names: ["w", "w"]))?.contains("two tensors") == true)
    }

    /// Whatever byte of a good pickle changes, reading ends with an error or with tensors.
    @Test(.tags(.slow)) func everyChangedByteIsSurvived() throws {
        let good = Self.tensor()
        for index in good.indices {
            for value in UInt8.min...UInt8.max {
                var changed = good
                changed[index] = value
                let weights = try? read(changed)
                #expect(weights.map { $0.tensors.allSatisfy { $0.byteCount <= 8 } } ?? true)
            }
        }
    }
}
