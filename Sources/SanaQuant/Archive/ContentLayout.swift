import SanaModel

/// A safetensors file to be written, inside an archive or plain: its tensors in order and its
/// header.
public struct ContentLayout {
    /// Key of the metadata that lists float types which a conversion to another one kept.
    public static let keptTypesKey = "sana_tools.kept_dtypes"
    /// Key of the metadata that lists the adapters which were added to the weights, as JSON.
    public static let adaptersKey = "sana_tools.lora"
    /// Keys of a file that archives restore, too.
    static let ownKeys: Set = [keptTypesKey, adaptersKey]

    /// In the order of their data.
    let tensors: [TensorInfo]
    /// Length field and JSON header, padded with spaces to a multiple of 8.
    let headerBytes: [UInt8]

    /// Orders tensors bytewise by name, which puts `X.scale` next to `X.weight`. Tensors that would
    /// leave the next one unaligned come last, widest elements first, so every tensor starts at a
    /// multiple of its element size.
    ///
    /// - Parameter metadata: of the file, in addition to the `format` that Python readers need.
    init(_ tensors: [TensorInfo], metadata: [JSONValue.Member] = []) {
        func rank(_ tensor: TensorInfo) -> Int {
            tensor.byteCount % 8 == 0 ? 0 : 64 - tensor.dtype.bitWidth
        }
        self.tensors = tensors.sorted {
            rank($0) == rank($1)
                ? $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) : rank($0) < rank($1)
        }
        var members = [
            JSONValue.Member(
                "__metadata__", .object([.init("format", .string("pt"))] + metadata))
        ]
        var offset = 0
        for tensor in self.tensors {
            let end = offset + tensor.byteCount
            members.append(Self.entry(tensor, from: offset, to: end))
            offset = end
        }
        var json = Array(JSONValue.object(members).text().utf8)
        json += Array(repeating: UInt8(ascii: " "), count: (8 - json.count % 8) % 8)
        let length = UInt64(json.count)
        headerBytes = (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + json
    }

    /// Bytes of the file.
    var byteCount: Int { tensors.reduce(headerBytes.count) { $0 + $1.byteCount } }

    /// Tensors dealt out to files of at most `maximumByteCount` bytes each, header included, in the
    /// order of their names. A tensor that is larger has a file of its own; what one source tensor
    /// becomes stays together.
    static func shards(
        _ groups: [[TensorInfo]], maximumByteCount: Int, metadata: [JSONValue.Member] = []
    ) -> [ContentLayout] {
        let empty = ContentLayout([], metadata: metadata).headerBytes.count + 8
        var (shards, size): ([[TensorInfo]], Int) = ([[]], empty)
        for group in groups.sorted(by: {
            $0[0].name.utf8.lexicographicallyPrecedes($1[0].name.utf8)
        }) {
            let count = group.reduce(0) {
                $0 + $1.byteCount + entryByteCount($1, endingBy: maximumByteCount)
            }
            if size + count > maximumByteCount, !shards[shards.count - 1].isEmpty {
                shards.append([])
                size = empty
            }
            shards[shards.count - 1] += group
            size += count
        }
        return shards.map { ContentLayout($0, metadata: metadata) }
    }

    /// Bytes that a tensor takes in the header at most, offsets being `end` or less.
    private static func entryByteCount(_ tensor: TensorInfo, endingBy end: Int) -> Int {
        JSONValue.object([entry(tensor, from: end, to: end)]).text().utf8.count
    }

    private static func entry(
        _ tensor: TensorInfo, from start: Int, to end: Int
    ) -> JSONValue.Member {
        .init(
            tensor.name,
            .object([
                .init("dtype", .string(tensor.dtype.rawValue)),
                .init("shape", .array(tensor.shape.map(JSONValue.int))),
                .init("data_offsets", .array([.int(start), .int(end)])),
            ]))
    }
}
