import SanaModel

/// Builds safetensors files in memory, tensor by tensor in the order of their data.
public struct SafetensorsBuilder {
    private var entries: [JSONValue.Member] = []
    private var data: [UInt8] = []
    /// `__metadata__`; left out while empty.
    public var metadata: [String: String] = [:]

    public init() {}

    /// The tensors and the metadata of the file at `path`.
    ///
    /// - Parameter change: name, shape and bytes that a tensor gets; `nil` leaves it out.
    public init(
        copying path: String,
        _ change: (TensorInfo, [UInt8]) -> (String, [Int], [UInt8])? = { ($0.name, $0.shape, $1) }
    ) throws {
        let file = try SafetensorsFile(path: path)
        for tensor in file.tensors {
            let bytes = try file.bytes(of: tensor).withUnsafeBytes { Array($0) }
            guard let (name, shape, content) = change(tensor, bytes) else { continue }
            add(name, tensor.dtype, shape, bytes: content)
        }
        metadata = Dictionary(
            uniqueKeysWithValues: file.header.metadata.map { ($0.key, $0.value) })
    }

    /// The same without the tensor `name`.
    public init(copying path: String, without name: String?) throws {
        try self.init(copying: path) { $0.name == name ? nil : ($0.name, $0.shape, $1) }
    }

    /// Replaces text in the contract of a golden.
    public mutating func replaceInContract(_ old: String, _ new: String) {
        metadata["contract"] = metadata["contract"]?.replacing(old, with: new)
    }

    /// Appends a tensor whose raw bytes are `bytes`.
    public mutating func add(_ name: String, _ dtype: DType, _ shape: [Int], bytes: [UInt8]) {
        entries.append(
            .init(
                name,
                .object([
                    .init("dtype", .string(dtype.rawValue)),
                    .init("shape", .array(shape.map(JSONValue.int))),
                    .init(
                        "data_offsets", .array([.int(data.count), .int(data.count + bytes.count)])),
                ])))
        data += bytes
    }

    /// Appends an F32 tensor.
    public mutating func add(_ name: String, _ shape: [Int], _ values: [Float]) {
        add(name, .f32, shape, bytes: values.flatMap { littleEndianBytes($0.bitPattern) })
    }

    /// Appends a 16-bit float tensor from its bits.
    public mutating func add(_ name: String, _ dtype: DType, _ shape: [Int], bits: [UInt16]) {
        add(name, dtype, shape, bytes: bits.flatMap(littleEndianBytes))
    }

    /// The file.
    public var file: [UInt8] {
        let pairs = metadata.sorted { $0.key < $1.key }.map {
            JSONValue.Member($0.key, .string($0.value))
        }
        let header =
            (pairs.isEmpty ? [] : [JSONValue.Member("__metadata__", .object(pairs))]) + entries
        let json = Array(JSONValue.object(header).text().utf8)
        return littleEndianBytes(UInt64(json.count)) + json + data
    }
}

/// The bytes of a number, least significant first.
public func littleEndianBytes<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
}
