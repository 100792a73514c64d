import SanaModel

/// Writes small safetensors files whose values are all in memory.
public enum SafetensorsWriter {
    /// - Parameter metadata: in addition to the `format` that Python's readers look for.
    /// - Throws: `OutputExistsError`, `FileError`, errors of the tensors.
    public static func write(
        _ tensors: [StoredTensor], metadata: [JSONValue.Member] = [], to path: String,
        replaceExisting: Bool
    ) throws {
        let layout = ContentLayout(tensors.map(\.info), metadata: metadata)
        let byName = Dictionary(tensors.map { ($0.info.name, $0) }) { first, _ in first }
        let file = try OutputFile(path, replaceExisting: replaceExisting)
        try file.write(layout.headerBytes)
        for tensor in layout.tensors {
            try byName[tensor.name]?.bytes().withUnsafeBytes { try file.write($0) }
        }
        try file.commit()
    }
}
