import SanaModel

extension Archive {
    /// What an archive says of itself and of the checkpoint it was made from.
    public struct Manifest: Sendable, Equatable {
        /// A tensor's place and identity.
        public struct Tensor: Sendable, Equatable {
            public let name: String
            /// Index in the seek table; for a tensor without bytes, that of the frame that comes
            /// next.
            public let firstFrame: Int
            public let frameCount: Int
            /// SHA-256 of the values, 64 hexadecimal digits, as everywhere here.
            public let sha256: String
        }
        /// A file that the weights came from.
        public struct SourceFile: Sendable, Equatable {
            public let name: String
            public let byteCount: Int
            public let sha256: String
        }

        /// A low-rank adapter that was added to the weights before they were converted.
        public struct Adapter: Sendable, Equatable {
            public let name: String
            public let sha256: String
            /// How strongly it counts.
            public let weight: Double

            init(name: String, sha256: String, weight: Double) {
                (self.name, self.sha256, self.weight) = (name, sha256, weight)
            }

            public init(_ adapter: LoraAdapter) {
                (name, sha256) = (adapter.path.lastPathComponent, adapter.sha256)
                weight = adapter.weight
            }

            /// As manifests and metadata have it.
            public var json: JSONValue {
                .object([
                    .init("name", .string(name)), .init("sha256", .string(sha256)),
                    .init("weight", .double(weight)),
                ])
            }
        }

        public static let formatName = "sana-tools.safetensors-zst"
        public static let plainProfile = "plain"
        public static let planesProfile = "planes16"
        public static let majorVersion = 1
        /// 1 since `quantization_record`, 2 since `lora` of the source.
        public static let minorVersion = 2

        /// Program that wrote the archive.
        public var tool: String
        /// `plain`: frames hold the tensors as they are; `planes16`: 16-bit ones split into planes.
        public var profile = plainProfile
        /// Major and minor version of the format.
        public var version = [majorVersion, minorVersion]
        /// Size and SHA-256 of the safetensors file that unpacking restores.
        public var contentByteCount: Int
        public var contentSHA256: String
        /// SHA-256 of its first 8 + N bytes, length field and JSON header.
        public var headerSHA256: String
        /// Bytes of every frame of a tensor but the last.
        public var chunkByteCount: Int
        public var zstdVersion: String
        public var zstdLevel: Int
        /// In the order of their data.
        public var tensors: [Tensor]
        /// The model's `config.json`, with its `quantization_config` where there is one.
        public var config: JSONValue
        /// `quantization_config`; `nil` for float weights.
        public var quantization: JSONValue?
        /// What the conversion did to the values of every source tensor, an object for each; `nil`
        /// in archives of version 1.0.
        public var quantizationRecord: JSONValue?
        /// `WeightsDigest` of the source, with its adapters added.
        public var weightsDigest: String
        /// Type that most of the source's bytes had.
        public var sourceDType: String
        public var sourceFiles: [SourceFile]
        /// Adapters that were added to the weights, in order.
        public var adapters: [Adapter] = []

        /// SHA-256 over the hash of the header and those of all tensors, 32 raw bytes each.
        public var root: String {
            ContentHash.sha256(
                of: ByteView(([headerSHA256] + tensors.map(\.sha256)).flatMap(\.hexadecimalBytes))
            ).hexadecimal
        }
    }
}

// MARK: JSON

extension Archive.Manifest {
    /// The text in the archive: sorted keys, no white space.
    var text: String {
        json.setting(Self.hashKey, to: .string(Self.hash(of: json))).text(sortedKeys: true)
    }

    /// Key of the manifest's own hash, since version 1.1.
    private static let hashKey = "manifest_sha256"

    /// SHA-256 of the text without its own hash.
    private static func hash(of json: JSONValue) -> String {
        ContentHash.sha256(of: json.text(sortedKeys: true)).hexadecimal
    }

    private var json: JSONValue {
        JSONValue.object(
            [
                .init("format", .string(Self.formatName)),
                .init("version", .array(version.map(JSONValue.int))),
                .init("profile", .string(profile)),
                .init("tool", .string(tool)),
                .init(
                    "content",
                    .object([
                        .init("size", .int(contentByteCount)),
                        .init("sha256", .string(contentSHA256)),
                        .init("header_sha256", .string(headerSHA256)),
                    ])),
                .init("chunk_bytes", .int(chunkByteCount)),
                .init(
                    "zstd",
                    .object([
                        .init("version", .string(zstdVersion)), .init("level", .int(zstdLevel)),
                    ])),
                .init(
                    "tensors",
                    .array(
                        tensors.map {
                            .array([
                                .string($0.name), .int($0.firstFrame), .int($0.frameCount),
                                .string($0.sha256),
                            ])
                        })),
                .init("root", .string(root)),
                .init("config", config),
                .init("quantization", quantization ?? .null),
            ] + (quantizationRecord.map { [.init("quantization_record", $0)] } ?? []) + [
                .init("source", source)
            ]
        )
    }

    private var source: JSONValue {
        let files = sourceFiles.map {
            JSONValue.object([
                .init("name", .string($0.name)), .init("size", .int($0.byteCount)),
                .init("sha256", .string($0.sha256)),
            ])
        }
        let lora = adapters.map(\.json)
        return .object(
            [
                .init("weights_digest", .string(weightsDigest)),
                .init("dtype", .string(sourceDType)), .init("files", .array(files)),
            ] + (lora.isEmpty ? [] : [.init("lora", .array(lora))]))
    }

    /// Reads the manifest and checks it against itself; unknown keys are ignored.
    ///
    /// - Throws: `ArchiveError.Rule`.
    init(_ json: JSONValue) throws(ArchiveError.Rule) {
        let root = Fields(json)
        let format = try root.string("format")
        guard format == Self.formatName else { throw .format(format) }
        version = try root.array("version").map { item throws(ArchiveError.Rule) in
            guard let number = item.int else { throw .manifestField("version") }
            return number
        }
        guard version.count == 2 else { throw .manifestField("version") }
        guard version[0] == Self.majorVersion else {
            throw .version(version.map(String.init).joined(separator: "."))
        }
        profile = try root.string("profile")
        guard [Self.plainProfile, Self.planesProfile].contains(profile) else {
            throw .profile(profile)
        }
        tool = try root.string("tool")
        let content = try root.object("content")
        contentByteCount = try content.count("size")
        contentSHA256 = try content.sha256("sha256")
        headerSHA256 = try content.sha256("header_sha256")
        chunkByteCount = try root.count("chunk_bytes")
        let zstd = try root.object("zstd")
        zstdVersion = try zstd.string("version")
        zstdLevel = try zstd.count("level")
        tensors = try root.array("tensors").map { item throws(ArchiveError.Rule) in
            guard let fields = item.array, fields.count == 4, let name = fields[0].string,
                let first = fields[1].int, first >= 0, let count = fields[2].int, count >= 0,
                let hash = fields[3].string, hash.isSHA256
            else { throw .manifestField("tensors") }
            return Tensor(name: name, firstFrame: first, frameCount: count, sha256: hash)
        }
        config = try root.object("config").json
        let quantization = try root.value("quantization")
        self.quantization = quantization == .null ? nil : quantization
        if json["quantization_record"] != nil {
            quantizationRecord = .array(try root.array("quantization_record"))
        }
        let source = try root.object("source")
        weightsDigest = try source.sha256("weights_digest")
        sourceDType = try source.string("dtype")
        sourceFiles = try source.array("files").map { item throws(ArchiveError.Rule) in
            let file = Fields(item)
            return SourceFile(
                name: try file.string("name"), byteCount: try file.count("size"),
                sha256: try file.sha256("sha256"))
        }
        if source.json["lora"] != nil {
            adapters = try source.array("lora").map { item throws(ArchiveError.Rule) in
                let adapter = Fields(item)
                guard let weight = item["weight"]?.double else { throw .manifestField("weight") }
                return Adapter(
                    name: try adapter.string("name"), sha256: try adapter.sha256("sha256"),
                    weight: weight)
            }
        }
        guard try root.sha256("root") == self.root else {
            throw .contradiction("root is not the hash of its hashes")
        }
        if json[Self.hashKey] != nil || version[1] >= 1 {
            let rest = (json.members ?? []).filter { $0.key != Self.hashKey }
            guard try root.sha256(Self.hashKey) == Self.hash(of: .object(rest)) else {
                throw .contradiction("\(Self.hashKey) is not the hash of the rest")
            }
        }
        guard quantization == config["quantization_config"] ?? .null else {
            throw .contradiction("quantization differs from the config's quantization_config")
        }
    }

    /// Typed access to an object's members.
    private struct Fields {
        let json: JSONValue

        init(_ json: JSONValue) { self.json = json }

        func value(_ key: String) throws(ArchiveError.Rule) -> JSONValue {
            guard let value = json[key] else { throw .manifestField(key) }
            return value
        }
        func string(_ key: String) throws(ArchiveError.Rule) -> String {
            guard let text = json[key]?.string else { throw .manifestField(key) }
            return text
        }
        func count(_ key: String) throws(ArchiveError.Rule) -> Int {
            guard let number = json[key]?.int, number >= 0 else { throw .manifestField(key) }
            return number
        }
        func array(_ key: String) throws(ArchiveError.Rule) -> [JSONValue] {
            guard let items = json[key]?.array else { throw .manifestField(key) }
            return items
        }
        func object(_ key: String) throws(ArchiveError.Rule) -> Fields {
            guard let value = json[key], value.members != nil else { throw .manifestField(key) }
            return Fields(value)
        }
        func sha256(_ key: String) throws(ArchiveError.Rule) -> String {
            guard let text = json[key]?.string, text.isSHA256 else { throw .manifestField(key) }
            return text
        }
    }
}

extension String {
    /// Whether the text is 64 lower-case hexadecimal digits.
    fileprivate var isSHA256: Bool {
        utf8.count == 64
            && utf8.allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
            }
    }

    /// The bytes that pairs of hexadecimal digits stand for.
    fileprivate var hexadecimalBytes: [UInt8] {
        let digits = compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count - 1, by: 2).map {
            UInt8(truncatingIfNeeded: digits[$0] << 4 | digits[$0 + 1])
        }
    }
}
