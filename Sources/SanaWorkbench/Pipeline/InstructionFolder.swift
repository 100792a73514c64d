import Foundation
import SanaModel
import SanaQuant

/// A folder that keeps keys and values of instructions between runs, a file for each text encoder,
/// instruction and way of computing.
///
/// A file is called by the hash of what it was made with, and says that inside, with the hash of
/// every tensor: one that was changed, or copied from elsewhere, is refused.
package final class InstructionFolder: InstructionStore {
    private static let (kind, version) = ("sana-instruction", "2")
    package let path: String
    /// `WeightsDigest` of the text encoder; `nil` until it was loaded, and then nothing is kept.
    package var weightsDigest: String?

    package init(_ path: String) { self.path = path }

    package func fill(_ cache: Gemma2Cache, of model: Gemma2Model, _ context: ForwardContext) throws
    {
        guard let key = key(cache, model, context) else { return }
        let file = place(key)
        guard file.pathExists else { return }
        let stored = try SafetensorsFile(path: file)
        func bad(_ reason: String) -> BadDataError {
            BadDataError(
                file: file, reason: reason,
                remedy: "delete the file; it is created again when needed")
        }
        guard stored.metadata["kind"] == Self.kind,
            stored.metadata["version"] == Self.version,
            let contract = stored.metadata["contract"],
            let json = try? JSONFile.parse(ByteView(Array(contract.utf8)), path: file)
        else { throw bad("is not a cached output of the text encoder") }
        guard json["made_with"] == key else {
            throw bad("is of another text encoder, instruction or compute setting")
        }
        guard let count = json["tokens"]?.int, count > 0, count <= cache.asked.count else {
            throw bad("contract: tokens is not from 1 to \(cache.asked.count)")
        }
        let positions = (json["positions"]?.array ?? []).compactMap(\.int)
        guard positions == positions.filter({ (0..<count).contains($0) }),
            positions.count == json["positions"]?.array?.count
        else { throw bad("contract: positions is not a list of numbers below \(count)") }
        try cache.fill(
            count, positions: positions, capsScores: model.caps(context), for: model.config
        ) {
            name, rows, columns in
            guard let info = stored.info(name), info.dtype == .f32, info.shape == [rows, columns]
            else { throw bad("has no \(name) of \(rows) × \(columns) F32 values") }
            let bytes = try stored.bytes(of: info)
            guard json["sha256"]?[name]?.string == ContentHash.sha256(of: bytes).hexadecimal else {
                throw bad("\(name) does not match its hash: the file was damaged or changed")
            }
            let values = Matrix(rows: rows, columns: columns)
            bytes.withUnsafeBytes {
                UnsafeMutableRawBufferPointer(
                    start: values.pointer, count: values.count * MemoryLayout<Float>.stride
                ).copyMemory(from: $0)
            }
            return values
        }
    }

    package func keep(_ cache: Gemma2Cache, of model: Gemma2Model, _ context: ForwardContext) throws
    {
        guard let key = key(cache, model, context) else { return }
        try FileManager.default.createFolder(path)
        var (hashes, tensors) = ([JSONValue.Member](), [StoredTensor]())
        for (name, values) in cache.contents {
            let bytes = UnsafeRawBufferPointer(
                start: values.pointer, count: values.count * MemoryLayout<Float>.stride)
            let view = ByteView(Array(bytes))
            hashes.append(.init(name, .string(ContentHash.sha256(of: view).hexadecimal)))
            guard
                let info = TensorInfo(
                    name: name, dtype: .f32, shape: [values.rows, values.columns])
            else { return }
            tensors.append(StoredTensor(info, view))
        }
        let contract = JSONValue.object([
            .init("made_with", key), .init("tokens", .int(cache.count)),
            .init("positions", .array(cache.positions.map(JSONValue.int))),
            .init("sha256", .object(hashes)),
        ])
        try SafetensorsWriter.write(
            tensors,
            metadata: [
                .init("kind", .string(Self.kind)), .init("version", .string(Self.version)),
                .init("contract", .string(contract.text())),
            ], to: place(key), replaceExisting: true)
    }

    /// All that the values depend on; not the set of kernels or threads, which change no bit.
    private func key(
        _ cache: Gemma2Cache, _ model: Gemma2Model, _ context: ForwardContext
    ) -> JSONValue? {
        guard let weightsDigest else { return nil }
        return .object([
            .init("version", .string(Self.version)),
            .init("weights_digest", .string(weightsDigest)),
            .init("compute", .string(context.compute.rawValue)),
            .init("soft_cap", .bool(model.caps(context))),
            .init("ids", .array(cache.asked.map(JSONValue.int))),
        ])
    }

    private func place(_ key: JSONValue) -> String {
        let hash = ContentHash.sha256(of: key.text()).hexadecimal
        return path.appendingPath("instruction-\(hash.prefix(32)).safetensors")
    }
}
