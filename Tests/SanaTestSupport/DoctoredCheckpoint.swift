import Foundation
import SanaModel

/// A copy of a fixture's component folder whose weights a test may damage.
public struct DoctoredCheckpoint {
    private let folder: TemporaryFolder
    /// Path of the copy, a component folder.
    public var path: String { folder.path }

    private var weights: String { folder("diffusion_pytorch_model.safetensors") }

    /// Copies `config.json` and the one weights file of `fixture`, a folder below `fixtures/`.
    public init(_ fixture: String) throws {
        try self.init(copying: Fixtures.path + "/" + fixture)
    }

    /// Copies `config.json` and the one weights file of a component folder.
    public init(copying path: String) throws {
        folder = try TemporaryFolder()
        for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
            try folder.write(name, fileBytes(path + "/" + name))
        }
    }

    /// The raw values of a tensor.
    public func bytes(_ tensor: String) throws -> [UInt8] {
        let file = try SafetensorsFile(content: ByteView(fileBytes(weights)), path: weights)
        guard let info = file.info(tensor) else {
            throw BadDataError(file: weights, reason: "no tensor '\(tensor)'")
        }
        return try file.bytes(of: info).withUnsafeBytes { Array($0) }
    }

    /// Overwrites bytes of a tensor from its element `element` on.
    public func patch(_ tensor: String, element: Int = 0, with bytes: [UInt8]) throws {
        var content = try fileBytes(weights)
        let file = try SafetensorsFile(content: ByteView(content), path: weights)
        guard let index = file.tensors.firstIndex(where: { $0.name == tensor }) else {
            throw BadDataError(file: weights, reason: "no tensor '\(tensor)'")
        }
        let start =
            file.headerBytes.count + file.header.dataOffsets[index]
            + element * file.tensors[index].dtype.bitWidth / 8
        content.replaceSubrange(start..<start + bytes.count, with: bytes)
        try folder.write(weights.lastPathComponent, content)
    }

    /// Writes the weights again with their list of tensors changed.
    public func rewrite(
        _ change: (TensorInfo, [UInt8]) -> (String, [Int], [UInt8])?, adding: [String] = []
    ) throws {
        let file = try SafetensorsFile(content: ByteView(fileBytes(weights)), path: weights)
        var builder = SafetensorsBuilder()
        for tensor in file.tensors {
            let bytes = try file.bytes(of: tensor).withUnsafeBytes { Array($0) }
            guard let (name, shape, content) = change(tensor, bytes) else { continue }
            builder.add(name, tensor.dtype, shape, bytes: content)
        }
        for name in adding { builder.add(name, [1], [0]) }
        try folder.write(weights.lastPathComponent, builder.file)
    }

    /// Replaces text in `config.json`.
    public func editConfig(_ old: String, _ new: String) throws {
        let text = String(decoding: try fileBytes(folder("config.json")), as: UTF8.self)
        try folder.write("config.json", Array(text.replacingOccurrences(of: old, with: new).utf8))
    }
}
