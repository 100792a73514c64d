/// Several safetensors files that together hold one model, joined by an index
/// (`*.safetensors.index.json`).
///
/// Source: the `weight_map` layout that huggingface_hub writes and diffusers reads.
public struct ShardSet: TensorSource {
    /// The shards, in the order of their names.
    public let shards: [SafetensorsFile]
    public let tensors: [TensorInfo]
    private let shardByName: [String: Int]

    /// Longest index accepted, in bytes.
    static let maximumIndexByteCount = 64 << 20

    /// Reads an index and opens the shards it names, wherever they are stored.
    ///
    /// - Parameters:
    ///   - path: of the index, for messages.
    ///   - open: opens the shard of a bare file name.
    /// - Throws: `SafetensorsError`, `BadDataError` when the index contradicts the shards, and what
    ///   `open` throws.
    init(
        index content: ByteView, path: String, open: (String) throws -> SafetensorsFile
    ) throws {
        let document = try JSONFile.parse(
            content, path: path, maximumByteCount: Self.maximumIndexByteCount)
        guard let members = document["weight_map"]?.members, !members.isEmpty else {
            throw BadDataError(file: path, reason: "no \"weight_map\" object with tensors in it")
        }
        var fileByTensor: [String: String] = [:]
        for member in members {
            guard let file = member.value.string, ShardSet.isBareFileName(file) else {
                throw BadDataError(
                    file: path,
                    reason: "weight_map of '\(member.key.printable)' is not a bare file name: "
                        + member.value.text().printable,
                    remedy:
                        "keep shards in the directory of their index; names with '/' or '..' are refused"
                )
            }
            fileByTensor[member.key] = file
        }
        let names = Set(fileByTensor.values).sorted()
        var (shards, tensors): ([SafetensorsFile], [TensorInfo]) = ([], [])
        var shardByName: [String: Int] = [:]
        for (index, name) in names.enumerated() {
            let shard = try open(name)
            for tensor in shard.tensors {
                guard fileByTensor.removeValue(forKey: tensor.name) == name else {
                    throw BadDataError(
                        file: path,
                        reason: "tensor '\(tensor.name.printable)' is in \(name.printable), "
                            + "where the index does not place it",
                        remedy: "remove stale shards, or write the index again with the shards")
                }
                shardByName[tensor.name] = index
            }
            shards.append(shard)
            tensors += shard.tensors
        }
        if let (tensor, file) = fileByTensor.min(by: { $0.key < $1.key }) {
            throw BadDataError(
                file: path,
                reason:
                    "tensor '\(tensor.printable)' is not in \(file.printable), where the index places it",
                remedy: "download the missing shards again")
        }
        self.shards = shards
        self.tensors = tensors
        self.shardByName = shardByName
    }

    /// Joins files that no index lists.
    ///
    /// - Parameter path: what they are part of, for messages.
    /// - Throws: `BadDataError` when two of them hold a tensor of the same name.
    init(_ shards: [SafetensorsFile], path: String) throws {
        var shardByName: [String: Int] = [:]
        for (index, shard) in shards.enumerated() {
            for tensor in shard.tensors {
                guard shardByName.updateValue(index, forKey: tensor.name) == nil else {
                    throw BadDataError(
                        file: path,
                        reason: "tensor '\(tensor.name.printable)' is in two files",
                        remedy: "download the files again")
                }
            }
        }
        (self.shards, self.shardByName) = (shards, shardByName)
        tensors = shards.flatMap(\.tensors)
    }

    public var metadata: [String: String] {
        shards.reduce(into: [:]) { $0.merge($1.metadata) { first, _ in first } }
    }

    public func info(_ name: String) -> TensorInfo? {
        shardByName[name].flatMap { shards[$0].info(name) }
    }

    public func bytes(of tensor: TensorInfo) throws -> ByteView {
        guard let index = shardByName[tensor.name] else {
            throw BadDataError(
                file: shards[0].path, reason: "no tensor '\(tensor.name.printable)' in any shard")
        }
        return try shards[index].bytes(of: tensor)
    }

    /// Whether `name` names a file in the same directory and nothing else.
    public static func isBareFileName(_ name: String) -> Bool {
        !name.isEmpty && name != "." && name != ".." && name.utf8.count <= 255
            && !name.utf8.contains {
                $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") || $0 < 0x20
            }
    }
}
