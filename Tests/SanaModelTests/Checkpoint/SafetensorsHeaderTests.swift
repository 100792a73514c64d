import SanaModel
import SanaTestSupport
import Testing

/// One test per rule of the format, each with the attack that it stops.
struct SafetensorsHeaderTests {
    private func file(_ json: String, data: Int = 0) -> ByteView {
        ByteView(
            littleEndianBytes(UInt64(json.utf8.count)) + Array(json.utf8)
                + Array(repeating: 7, count: data))
    }

    private func rule(_ content: ByteView) -> SafetensorsError.Rule? {
        do {
            _ = try SafetensorsFile(content: content, path: "x.safetensors")
            return nil
        } catch { return error.rule }
    }

    private func rule(_ json: String, data: Int = 0) -> SafetensorsError.Rule? {
        rule(file(json, data: data))
    }

    @Test func readsTensorsListedInAnyOrderAndPaddedWithSpaces() throws {
        let json =
            #"{"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},"#
            + #""__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}    "#
        let parsed = try SafetensorsFile(content: file(json, data: 6), path: "x")
        #expect(parsed.tensors.map(\.name) == ["a", "b"])
        #expect(parsed.header.metadata.map(\.value) == ["pt"])
        #expect(try parsed.bytes(of: parsed.tensors[1]).count == 2)
    }

    @Test(arguments: DType.allCases)
    func readsEveryTypeThatSafetensorsNames(_ dtype: DType) {
        let bytes = 24 * dtype.bitWidth / 8
        let json =
            #"{"t":{"dtype":"\#(dtype.rawValue)","shape":[4,6],"data_offsets":[0,\#(bytes)]}}"#
        #expect(rule(json, data: bytes) == nil)
    }

    @Test func namesAndShapesLongerThanAnyModelHas() {
        let name = String(repeating: "x", count: 1025)
        #expect(
            rule(#"{"\#(name)":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, data: 1)
                == .longName(tensor: name))
        let longest = String(name.dropLast())
        #expect(
            rule(#"{"\#(longest)":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, data: 1)
                == nil)
        func shape(_ rank: Int) -> String {
            let ones = [String](repeating: "1", count: rank).joined(separator: ",")
            return #"{"a":{"dtype":"U8","shape":[\#(ones)],"data_offsets":[0,1]}}"#
        }
        #expect(rule(shape(64), data: 1) == nil)
        guard case .invalidJSON = rule(shape(65), data: 1) else {
            Issue.record("a shape of 65 dimensions is read")
            return
        }
    }

    @Test(.tags(.slow)) func moreTensorsThanAnyModelHas() {
        func header(_ count: Int) -> String {
            let tensors = (0..<count).map {
                #""\#($0)":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#
            }
            return "{" + tensors.joined(separator: ",") + "}"
        }
        let limit = SafetensorsHeader.maximumTensorCount
        #expect(rule(header(limit)) == nil)
        guard case .invalidJSON = rule(header(limit + 1)) else {
            Issue.record("\(limit + 1) tensors are read")
            return
        }
        func metadata(_ count: Int) -> String {
            let members = (0..<count).map { #""\#($0)":"""# }
            return #"{"__metadata__":{"# + members.joined(separator: ",") + "}}"
        }
        #expect(rule(metadata(limit)) == nil)
        guard case .invalidJSON = rule(metadata(limit + 1)) else {
            Issue.record("\(limit + 1) pairs of metadata are read")
            return
        }
    }

    @Test func fileShorterThanTheLengthField() {
        #expect(rule(ByteView([1, 2, 3])) == .noHeader(fileByteCount: 3))
        #expect(rule(ByteView([])) == .foreign(.empty))
    }

    @Test func headerLengthOverTheLimit() {
        #expect(rule(ByteView(littleEndianBytes(UInt64.max))) == .headerTooLong(.max))
    }

    @Test func headerLengthPastTheEndOfTheFile() {
        #expect(
            rule(ByteView(littleEndianBytes(UInt64(50)) + [0x7B, 0x7D]))
                == .headerPastEnd(headerByteCount: 50, fileByteCount: 10))
    }

    @Test func headerThatStartsWithAnythingButABrace() {
        #expect(rule(" {}") == .headerNotObject)
        #expect(rule("[]") == .headerNotObject)
        #expect(rule("") == .foreign(.zeros))
    }

    @Test func duplicateTensorName() {
        let entry = #"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#
        guard case .invalidJSON(let error) = rule(#"{"a":\#(entry),"a":\#(entry)}"#) else {
            Issue.record("duplicate accepted")
            return
        }
        #expect(error.reason.contains("duplicate"))
    }

    @Test func duplicateKeyInsideATensor() {
        let json = #"{"a":{"dtype":"U8","shape":[1],"shape":[2],"data_offsets":[0,1]}}"#
        guard case .invalidJSON = rule(json, data: 1) else {
            Issue.record("duplicate accepted")
            return
        }
    }

    @Test func metadataThatIsNotStrings() {
        guard case .invalidJSON = rule(#"{"__metadata__":{"a":1}}"#) else {
            Issue.record("number accepted")
            return
        }
    }

    @Test(arguments: ["dtype", "shape", "data_offsets"])
    func missingKey(_ key: String) {
        let all = ["dtype": #""U8""#, "shape": "[1]", "data_offsets": "[0,1]"]
        let rest = all.filter { $0.key != key }.map { #""\#($0.key)":\#($0.value)"# }
        #expect(
            rule(#"{"a":{\#(rest.joined(separator: ","))}}"#, data: 1)
                == .missingKey(tensor: "a", key: key))
    }

    /// As the format's own library reads them.
    @Test("unknown keys and null metadata are accepted with a warning")
    func oddities() throws {
        for (json, words) in [
            (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"strides":[[1]]}}"#, "strides"),
            (#"{"__metadata__":null,"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, "null"),
        ] {
            #expect(rule(json, data: 1) == nil)
            let content = littleEndianBytes(UInt64(json.utf8.count)) + Array(json.utf8) + [0]
            let file = try SafetensorsFile(content: ByteView(content), path: "x")
            #expect(file.header.warnings.count == 1)
            #expect(file.header.warnings.first?.contains(words) == true)
        }
    }

    @Test func unknownDType() {
        let json = #"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,1]}}"#
        #expect(rule(json, data: 1) == .unknownDType(tensor: "a", dtype: "F31"))
    }

    @Test func shapeWhoseProductOverflows() {
        let json = #"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#
        #expect(rule(json) == .sizeOverflow(tensor: "a", dtype: .f32, shape: [1 << 32, 1 << 32]))
    }

    @Test func subByteShapeThatFillsNoWholeBytes() {
        let json = #"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}"#
        #expect(rule(json, data: 1) == .sizeOverflow(tensor: "a", dtype: .f4, shape: [3]))
    }

    @Test(arguments: ["-1", "1.5", "1e2", "9223372036854775808", "\"1\""])
    func shapeThatIsNoCount(_ dimension: String) {
        let json = #"{"a":{"dtype":"U8","shape":[\#(dimension)],"data_offsets":[0,1]}}"#
        guard case .invalidJSON = rule(json, data: 1) else {
            Issue.record("\(dimension) accepted")
            return
        }
    }

    @Test func offsetsInReverse() {
        let json = #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}"#
        #expect(rule(json, data: 1) == .invalidOffsets(tensor: "a", offsets: [1, 0]))
    }

    @Test func offsetsThatDisagreeWithTheShape() {
        let json = #"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}"#
        #expect(rule(json, data: 1) == .sizeMismatch(tensor: "a", expected: 2, actual: 1))
    }

    @Test func tensorsThatOverlap() {
        let json =
            #"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"#
            + #""b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#
        #expect(rule(json, data: 3) == .overlap(tensor: "b", offset: 1))
    }

    @Test func holeBetweenTensors() {
        let json =
            #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"#
            + #""b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}"#
        #expect(rule(json, data: 3) == .hole(before: "b", from: 1, to: 2))
    }

    @Test func truncatedAndTrailingData() {
        let json = #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#
        #expect(rule(json, data: 3) == .dataSize(described: 4, present: 3))
        #expect(rule(json, data: 5) == .dataSize(described: 4, present: 5))
    }

    @Test func messagesEscapeControlCharactersInNames() {
        let json = #"{"\u001b[31mred\u202e":{"dtype":"F31","shape":[],"data_offsets":[0,0]}}"#
        do {
            _ = try SafetensorsFile(content: file(json), path: "x")
            Issue.record("accepted")
        } catch {
            #expect(!error.description.contains("\u{1B}"))
            #expect(!error.description.contains("\u{202E}"))
            #expect(error.description.contains("\\u{1b}[31mred"))
        }
    }

    @Test func everyTruncationOfARealFileIsRefused() throws {
        let bytes = try fileBytes(Fixtures.path + "/tiny/plain/diffusion_pytorch_model.safetensors")
        for count in stride(from: 0, to: bytes.count, by: 997) {
            #expect(rule(ByteView(bytes[..<count])) != nil, "\(count) bytes")
        }
    }
}
