import SanaModel
import Testing

/// What quantized weights are read, named and refused.
struct QuantizationCheckTests {
    private func tensor(_ name: String, _ dtype: DType, _ shape: [Int]) throws -> TensorInfo {
        try #require(TensorInfo(name: name, dtype: dtype, shape: shape))
    }

    /// A linear layer in int8, a norm, and an output head that stays float.
    private func int8() throws -> [TensorInfo] {
        [
            try tensor("a.weight", .i8, [4, 8]), try tensor("a.scale", .f32, [4, 1]),
            try tensor("norm.weight", .bf16, [8]), try tensor("out.weight", .bf16, [2, 4]),
        ]
    }

    private let plain = #""quant_method": "sdnq", "weights_dtype": "int8", "quant_conv": true"#
    private let list = #""modules_to_not_convert": ["norm.weight", "out.weight"]"#

    private func findings(_ settings: String, _ tensors: [TensorInfo]) throws
        -> [QuantizationFinding]
    {
        QuantizationCheck.findings(
            config: try JSONScanner.parse(#"{"quantization_config": \#(settings)}"#),
            tensors: tensors)
    }

    @Test("plain int8 with its configuration breaks no rule")
    func plainInt8() throws {
        #expect(try findings("{\(plain), \(list)}", int8()) == [])
        // As sdnq 0.2.8 writes it: every key of its own, all switches off.
        let own = """
            {\(plain), "modules_to_not_convert": [".norm", "out"], "use_svd": false, "svd_rank": 32,
             "use_hadamard": false, "hadamard_group_size": 256, "group_size": -1, "is_integer": true,
             "modules_dtype_dict": {}, "scale_dtype": null, "sdnq_version": "0.2.8"}
            """
        #expect(try findings(own, int8()) == [])
        #expect(QuantizationCheck.findings(config: .object([]), tensors: []) == [])
    }

    /// Names and shapes are those of plain int8, and the integers mean something else.
    @Test(arguments: [
        (#""use_codebook": true"#, "code book"), (#""is_unsigned": true"#, "zero points"),
        (#""scale_dtype": "uint4""#, "quantized scales (uint4)"),
        (#""use_rotation": "spin""#, "unknown key use_rotation"),
    ])
    func otherRecipesAreNamed(_ key: String, _ words: String) throws {
        let found = try findings("{\(plain), \(list), \(key)}", int8())
        #expect(found.map(\.kind) == [.unsupported])
        #expect(found.first?.reason.contains("SDNQ (int8") == true, "\(found)")
        #expect(found.first?.reason.contains(words) == true, "\(found)")
    }

    @Test("matrices in groups are not taken for convolutions")
    func groupedMatrices() throws {
        let settings =
            #"{"quant_method": "sdnq", "weights_dtype": "int8", "group_size": 4, \#(list)}"#
        var tensors = try int8()
        tensors[0] = try tensor("a.weight", .i8, [4, 2, 4])
        tensors[1] = try tensor("a.scale", .f32, [4, 2, 1])
        #expect(try findings(settings, tensors) == [])
        tensors[0] = try tensor("a.weight", .i8, [4, 8, 3, 3])
        tensors[1] = try tensor("a.scale", .f32, [4, 1, 3, 3])
        #expect(try findings(settings, tensors).map(\.kind) == [.contradiction])
    }

    /// Only their scales tell floats of SDNQ from weights that are not quantized.
    @Test(
        "types of 16 and 32 bits are read, and compared with the configuration",
        arguments: [
            ("int32", DType.i32), ("float16", .f16), ("bf16", .bf16), ("float32", .f32),
        ])
    func wideTypes(_ name: String, _ dtype: DType) throws {
        var tensors = try int8()
        tensors[0] = try tensor("a.weight", dtype, [4, 8])
        let settings = #"{"quant_method": "sdnq", "weights_dtype": "\#(name)", \#(list)}"#
        #expect(try findings(settings, tensors) == [])
        for (other, dtype) in [("int4", dtype), (name, .i8)] {
            tensors[0] = try tensor("a.weight", dtype, [4, 8])
            let found = try findings(
                settings.replacing("\"\(name)\"", with: "\"\(other)\""), tensors)
            #expect(found.map(\.kind) == [.contradiction])
            #expect(
                found.first?.reason.contains("'a.weight' is \(other), but it is \(dtype.rawValue)")
                    == true, "\(found)")
        }
    }

    @Test("a type that cannot be read is named with its method")
    func unreadableTypes() throws {
        var tensors = try int8()
        for (name, dtype) in [("int64", DType.i64), ("float8_e8m0fnu", .f8e8m0)] {
            tensors[0] = try tensor("a.weight", dtype, [4, 8])
            let found = try findings(
                #"{"quant_method": "sdnq", "weights_dtype": "\#(name)", \#(list)}"#, tensors)
            #expect(found.map(\.kind) == [.unsupported])
            #expect(found.first?.reason.contains("SDNQ (\(name))") == true, "\(found)")
        }
    }

    @Test("scales of another type than the configuration says are a contradiction")
    func scaleTypes() throws {
        for type in ["float8_e4m3fn", "uint8"] {
            let found = try findings(
                "{\(plain), \(list), \"scale_dtype\": \"\(type)\"}", int8())
            #expect(found.map(\.kind) == [.contradiction])
            #expect(found.first?.reason.contains("'a.scale' is \(type), but it is F32") == true)
        }
    }

    /// What the configuration adds to plain int8 is known and decoded, not guessed.
    @Test(arguments: [
        #""use_hadamard": true"#, #""use_svd": true"#, #""group_size": 32"#,
        #""modules_dtype_dict": {"int8": ["a"]}"#,
    ])
    func readableRecipesBreakNoRule(_ key: String) throws {
        #expect(try findings("{\(plain), \(list), \(key)}", int8()) == [])
    }

    @Test("a type that is not the stored one contradicts it")
    func typeThatIsNotStored() throws {
        let key = #""modules_dtype_dict": {"int4": ["a"]}"#
        let found = try findings("{\(plain), \(list), \(key)}", int8())
        #expect(found.map(\.kind) == [.contradiction])
        #expect(found.first?.reason.contains("'a.weight' is int4, but it is I8") == true)
    }

    @Test("another type of SDNQ is named")
    func otherTypeOfSDNQ() throws {
        let settings = #"{"quant_method": "sdnq", "weights_dtype": "uint64", "use_svd": true}"#
        let packed = [
            try tensor("a.weight", .u8, [16]), try tensor("a.scale", .f32, [4, 1]),
            try tensor("a.svd_up", .f32, [4, 2]),
        ]
        #expect(
            try findings(settings, packed).first?.reason.contains("SDNQ (uint64") == true)
    }

    @Test(arguments: [
        ("a.wscales", DType.bf16, "nunchaku (SVDQuant)"),
        ("a.qzeros", .i32, "GPTQ or AWQ"), ("a.weight._data", .i8, "quanto"),
        ("a._weight_qdata", .u8, "torchao (packed U8)"),
        ("a.weight_scale_inv", .f32, "fp8 (in blocks)"),
        ("b.weight", .u8, "packed bytes (U8)"), ("b.weight", .f4, "fp4 (F4)"),
        ("b.weight", .i32, "packed integers (I32)"),
    ])
    func storedMethodsAreNamed(_ name: String, _ dtype: DType, _ words: String) throws {
        let tensors = [try tensor("a.weight", .bf16, [4, 8]), try tensor(name, dtype, [4])]
        for config in [nil, JSONValue.object([])] {
            let found = QuantizationCheck.findings(config: config, tensors: tensors)
            #expect(found.map(\.kind) == [.unsupported])
            #expect(found.first?.reason.contains(words) == true, "\(found)")
        }
    }

    @Test("scales of another type or shape are another recipe")
    func scalesOfAnotherKind() throws {
        let weight = try tensor("a.weight", .i8, [4, 8])
        for (scale, words) in [
            (try tensor("a.scale", .bf16, [4, 1]), "BF16 scales"),
            (try tensor("a.scale", .f32, [4, 2]), "scales of shape [4, 2]"),
            (try tensor("a.scale", .f32, [1, 8]), "scales of shape [1, 8]"),
            (try tensor("a.bias", .f32, [4]), "without scales"),
        ] {
            let found = QuantizationCheck.findings(config: nil, tensors: [weight, scale])
            #expect(found.first?.reason.contains(words) == true, "\(found)")
        }
    }

    @Test("configuration and tensors that contradict each other")
    func contradictions() throws {
        let floats = [try tensor("a.weight", .bf16, [4, 8])]
        for (settings, tensors, words) in [
            ("null", try int8(), "no quantization_config"),
            ("[]", try int8(), "not an object"),
            ("{\(plain)}", floats, "names sdnq (int8), and no weight is quantized"),
            (#"{"quant_method": "torchao", "quant_type": "int8wo"}"#, floats, "torchao (int8wo)"),
            (#"{"load_in_8bit": true}"#, try int8(), "bitsandbytes (int8), and the weights"),
            (
                "{\(plain)}", floats + [try tensor("a.SCB", .f32, [4])],
                "stored as by bitsandbytes (int8)"
            ),
            (
                "{\(plain), \"modules_to_not_convert\": [\"norm.weight\"]}", try int8(),
                "'out.weight'"
            ),
            ("{\(plain), \"modules_to_not_convert\": [\"out\"]}", try int8(), "'norm.weight'"),
            (
                "{\(plain), \"modules_to_not_convert\": [\"a\", \"out\", \"norm\"]}", try int8(),
                "names 'a.weight'"
            ),
        ] {
            let found = try findings(settings, tensors)
            #expect(found.first?.kind == .contradiction, "\(settings): \(found)")
            #expect(found.first?.reason.contains(words) == true, "\(found)")
        }
    }

    @Test("a method that describes itself is read, and compared with the configuration")
    func selfDescribingMethods() throws {
        let tensors = [try tensor("a.weight", .i8, [4, 8]), try tensor("a.SCB", .f32, [4])]
        let settings = #"{"quant_method": "bitsandbytes", "load_in_8bit": true}"#
        #expect(try findings(settings, tensors) == [])
        #expect(QuantizationCheck.findings(config: nil, tensors: tensors) == [])
        for (settings, words) in [
            ("null", "config.json has no quantization_config"),
            (
                #"{"quant_method": "bitsandbytes", "bnb_4bit_quant_type": "nf4"}"#,
                "bitsandbytes (nf4)"
            ), (#"{"quant_method": "torchao"}"#, "torchao"),
        ] {
            let found = try findings(settings, tensors)
            #expect(found.map(\.kind) == [.contradiction], "\(settings)")
            #expect(found.first?.reason.contains(words) == true, "\(found)")
        }
        #expect(throws: QuantizationError.self) {
            try QuantizationCheck.require(
                config: .object([]), tensors: tensors, file: "m")
        }
    }
}

/// Files that are not what their names say.
struct ForeignContentTests {
    @Test(arguments: [
        ("", ForeignContent.empty), ("\u{0}\u{0}\u{0}", .zeros),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", .lfsPointer),
        ("\u{FEFF} \n<!DOCTYPE html>", .webPage), ("<Error><Code>AccessDenied</Code>", .webPage),
        ("{\"error\": \"x\"}", .text("{\"error\": \"x\"}")),
        ("Entry not found", .text("Entry not found")),
        ("HTTP/1.1 403 Forbidden\r\n", .text("HTTP/1.1 403 Forbidden\r\n")),
        ("GGUF\u{3}\u{0}", .gguf), ("PK\u{3}\u{4}", .zip),
    ])
    func kindIsTold(_ text: String, _ kind: ForeignContent) {
        #expect(ForeignContent(ByteView(Array(text.utf8))) == kind)
    }

    @Test(
        arguments: [
            ([0x80, 0x02, 0x7D], ForeignContent.pickle), ([0x1F, 0x8B, 8], .other("gzip file")),
            ([0x28, 0xB5, 0x2F, 0xFD], .zstd), ([0, 5, 0x16, 7], .appleDouble),
            ([2, 0, 0, 0, 0, 0, 0, 0, 0x7B, 0x7D], .safetensors),
        ] as [([UInt8], ForeignContent)])
    func binaryKindIsTold(_ bytes: [UInt8], _ kind: ForeignContent) {
        #expect(ForeignContent(ByteView(bytes)) == kind)
    }

    @Test("bytes behind a byte order mark are no longer what they were")
    func markedBytes() {
        let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
        let safetensors: [UInt8] = [2, 0, 0, 0, 0, 0, 0, 0, 0x7B, 0x7D]
        for content in [safetensors, Array("GGUF\u{3}\u{0}".utf8), [0x50, 0x4B, 3, 4, 0]] {
            let kind = ForeignContent(ByteView(mark + content))
            #expect(kind?.description.contains("byte order mark") == true, "\(content)")
            #expect(kind?.remedy == "download the file again")
        }
        #expect(ForeignContent(ByteView(mark + Array("Not found".utf8))) == .text("Not found"))
    }

    @Test("a text cut off within a character is still a text")
    func cutText() {
        let bytes = Array(String(repeating: "ä", count: 4000).utf8)
        #expect(ForeignContent(ByteView([0x61] + bytes)) != nil)
        #expect(ForeignContent(ByteView([0x0A, 0x01, 0x80, 0x00])) == nil)
    }

    @Test(arguments: ["w.aria2", "w.part", "w.crdownload", "w.incomplete"])
    func unfinishedDownloadsAreTold(_ name: String) {
        #expect(UnfinishedDownload.target(of: name) == "w")
        #expect(UnfinishedDownload.target(of: "w") == nil)
        #expect(UnfinishedDownload.target(of: ".part") == nil)
    }
}
