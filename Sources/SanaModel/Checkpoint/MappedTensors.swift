/// Tensors by name, each a view of a mapped file.
struct MappedTensors: TensorSource {
    let tensors: [TensorInfo]
    private let path: String
    private let views: [ByteView]
    private let indexByName: [String: Int]

    /// - Parameter path: the file, for messages.
    /// - Throws: `BadDataError` when two tensors share a name.
    init(_ stored: [StoredTensor], path: String) throws {
        (tensors, views, self.path) = (stored.map(\.info), stored.map(\.bytes), path)
        indexByName = Dictionary(stored.enumerated().map { ($1.info.name, $0) }) { first, _ in first
        }
        guard indexByName.count == stored.count else {
            throw BadDataError(file: path, reason: "two tensors have the same name")
        }
    }

    func info(_ name: String) -> TensorInfo? { indexByName[name].map { tensors[$0] } }

    func bytes(of tensor: TensorInfo) throws -> ByteView {
        guard let index = indexByName[tensor.name] else {
            throw BadDataError(file: path, reason: "no tensor '\(tensor.name.printable)'")
        }
        return views[index]
    }
}
