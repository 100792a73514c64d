import SanaModel

/// Profile `planes16`: a 16-bit tensor as two planes, all low bytes before all high bytes.
///
/// Exponents, which repeat, are then no longer interleaved with mantissas, which do not, so zstd
/// compresses better. A split tensor is U8 `[2, *shape]` under its own name, and the file's
/// `__metadata__` says of which type it was.
enum Planes16 {
    /// Key of `__metadata__`; its value is a JSON object of names and types.
    static let metadataKey = "sana_tools.planes16"
    /// Smaller tensors stay whole.
    static let minimumElementCount = 64 << 10

    /// How `tensor` is stored; `nil` when it is not split.
    static func stored(_ tensor: TensorInfo) -> TensorInfo? {
        guard tensor.dtype == .f16 || tensor.dtype == .bf16,
            tensor.elementCount >= minimumElementCount
        else { return nil }
        return TensorInfo(name: tensor.name, dtype: .u8, shape: [2] + tensor.shape)
    }

    /// The metadata that describes the tensors that are split, given in their own types.
    static func metadata(_ split: [TensorInfo]) -> JSONValue.Member {
        let types = split.map { JSONValue.Member($0.name, .string($0.dtype.rawValue)) }
        return .init(metadataKey, .string(JSONValue.object(types).text(sortedKeys: true)))
    }

    /// The tensors of a file in their own types, and which of them are split.
    ///
    /// - Throws: `ArchiveError.Rule` for metadata that does not fit the tensors.
    static func tensors(
        of header: SafetensorsHeader
    ) throws(ArchiveError.Rule) -> (tensors: [TensorInfo], split: Set<String>) {
        guard let text = header.metadata.first(where: { $0.key == metadataKey })?.value else {
            return (header.tensors, [])
        }
        let json: JSONValue
        do {
            json = try ByteView(Array(text.utf8)).withUnsafeBytes { (bytes) throws(JSONError) in
                try JSONScanner.parse(bytes)
            }
        } catch { throw .planes("the list is \(error)") }
        guard let members = json.members else { throw .planes("the list is not an object") }
        var types: [String: DType] = [:]
        for member in members {
            guard let type = member.value.string.flatMap(DType.init(rawValue:)),
                type == .f16 || type == .bf16
            else { throw .planes("'\(member.key)' is neither F16 nor BF16") }
            types[member.key] = type
        }
        let tensors = try header.tensors.map { tensor throws(ArchiveError.Rule) in
            guard let type = types[tensor.name] else { return tensor }
            guard tensor.dtype == .u8, tensor.shape.first == 2,
                let whole = TensorInfo(
                    name: tensor.name, dtype: type, shape: Array(tensor.shape.dropFirst())),
                whole.byteCount == tensor.byteCount
            else { throw .planes("'\(tensor.name)' is not U8 of two planes") }
            return whole
        }
        let present = Set(header.tensors.map(\.name))
        if let absent = types.keys.filter({ !present.contains($0) }).min() {
            throw .planes("'\(absent)' is not in the file")
        }
        return (tensors, Set(types.keys))
    }

    /// The 16-bit values whose planes follow one another in `stored`.
    static func join(_ stored: ByteView) -> ByteView {
        let count = stored.count / 2
        return ByteView(count: stored.count) { target in
            stored.withUnsafeBytes { bytes in
                join(bytes.part(0, count), bytes.part(count, count), target)
            }
        }
    }

    /// Joins two planes of the same size into `target`, which is twice as long.
    static func join(
        _ low: UnsafeRawBufferPointer, _ high: UnsafeRawBufferPointer,
        _ target: UnsafeMutableRawBufferPointer
    ) {
        precondition(low.count == high.count && target.count == 2 * low.count)
        guard let low = low.baseAddress, let high = high.baseAddress,
            let start = target.baseAddress
        else { return }
        Codec.kernels.join_planes(
            low.assumingMemoryBound(to: UInt8.self), high.assumingMemoryBound(to: UInt8.self),
            start, target.count / 2)
    }
}
