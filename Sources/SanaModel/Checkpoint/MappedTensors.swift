/// Tensors by name, each a view of a mapped file or encoded there.
struct MappedTensors: TensorSource {
    let tensors: [TensorInfo]
    let metadata: [String: String]
    private let path: String
    let stored: [StoredTensor]
    private let indexByName: [String: Int]

    /// - Parameter path: the file, for messages.
    /// - Throws: `BadDataError` when two tensors share a name.
    init(_ stored: [StoredTensor], path: String, metadata: [String: String] = [:]) throws {
        (tensors, self.stored, self.path) = (stored.map(\.info), stored, path)
        self.metadata = metadata
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
        return try stored[index].bytes()
    }

    func rows(of tensor: TensorInfo) throws -> EncodedRows? {
        try indexByName[tensor.name].flatMap { try stored[$0].rows() }
    }

    func recipe(of tensor: TensorInfo) -> String? {
        indexByName[tensor.name].flatMap { stored[$0].recipe }
    }

    func storedByteCount(of tensor: TensorInfo) -> Int {
        indexByName[tensor.name].map { stored[$0].storedByteCount } ?? tensor.byteCount
    }

    var computesValues: Bool { stored.contains(where: \.isComputed) }
}
