import SanaModel

/// What a GGUF file holds weights as.
public enum GGUFPrecision: String, Sendable, CaseIterable {
    case bf16, f16
    case q80 = "q8_0"

    /// Number of a whole file of this type (`general.file_type`).
    var fileType: UInt32 {
        switch self {
        case .f16: 1
        case .q80: 7
        case .bf16: 32
        }
    }
}

/// Writes a GGUF file as ComfyUI-GGUF and the `gguf` library read it.
///
/// Source: ggml `docs/gguf.md`, version 3; `convert.py` of ComfyUI-GGUF for what stays in fp32
/// (vectors and tables) and for the note on shapes. Q8_0 rounds as `quantize_row_q8_0_ref` of ggml
/// does.
public struct GGUFWriter {
    /// A tensor of the file.
    public struct Entry: Sendable {
        public let name: String
        public let from: DType
        /// `F32`, `F16`, `BF16` or `Q8_0`.
        public let to: String
        public let byteCount: Int
        let tensor: TensorInfo
        let type: UInt32
        /// As stored, outermost dimension first.
        let shape: [Int]
        let offset: Int
    }

    public let entries: [Entry]
    private let source: any TensorSource
    private let header: [UInt8]
    private static let alignment = 32
    private static let (f32, f16, q8, bf16) = (UInt32(0), UInt32(1), UInt32(8), UInt32(30))

    /// Decides what every tensor becomes.
    ///
    /// - Parameters:
    ///   - config: the model's configuration, noted in the file.
    ///   - name: of the model.
    /// - Throws: `BadDataError` for tensors that are no floats.
    public init(
        _ model: ConversionSource, as precision: GGUFPrecision, config: JSONValue?, name: String,
        tool: String
    ) throws {
        let source = model.tensors
        var (entries, offset): ([Entry], Int) = ([], 0)
        for tensor in source.tensors {
            guard tensor.dtype.isFloatWeight, tensor.elementCount > 0, tensor.shape.count <= 4
            else {
                throw BadDataError(
                    file: name,
                    reason:
                        "'\(tensor.name.printable)' is \(tensor.dtype.rawValue) \(tensor.shape), "
                        + "which is not written to GGUF",
                    remedy: "convert from the float checkpoint")
            }
            let (type, shape) = Self.layout(tensor, precision)
            let bytes = Self.byteCount(tensor.elementCount, type)
            entries.append(
                Entry(
                    name: tensor.name, from: tensor.dtype, to: Self.name(type), byteCount: bytes,
                    tensor: tensor, type: type, shape: shape, offset: offset))
            offset += (bytes + Self.alignment - 1) / Self.alignment * Self.alignment
        }
        (self.entries, self.source) = (entries, source)
        let notes = [
            ("sana_tools.config", config), (ContentLayout.adaptersKey, model.provenance),
        ].compactMap { key, note in note.map { Self.text(key, $0.text()) } }
        header = Self.header(entries, precision, notes, name, tool)
    }

    /// Bytes of the file.
    public var byteCount: Int {
        header.count + entries.reduce(0) { $0 + Self.padded($1.byteCount) }
    }

    /// - Parameter progress: called with bytes done and all.
    /// - Throws: `OutputExistsError`, `FileError`, errors of the source, `ConversionError` for
    ///   values that are not finite.
    public func write(
        to path: String, replaceExisting: Bool, workers: WorkerPool, progress: (Int, Int) -> Void
    ) throws {
        let file = try OutputFile(path, replaceExisting: replaceExisting)
        try file.write(header)
        var done = header.count
        for entry in entries {
            let bytes = try source.bytes(of: entry.tensor)
            let rows = max(entry.shape.count > 1 ? entry.shape[0] : 1, 1)
            let columns = entry.tensor.elementCount / rows
            let size = max(1, (1 << 20) / max(columns, 1))
            let starts = Array(stride(from: 0, to: rows, by: size))
            for group in stride(from: 0, to: starts.count, by: 4 * workers.threadCount) {
                let part = starts[group..<min(group + 4 * workers.threadCount, starts.count)]
                let encoded = try workers.map(part.count) { index in
                    let first = part[part.startIndex + index]
                    let count = min(size, rows - first) * columns
                    return try encode(bytes, entry, first * columns, count, path)
                }
                for run in encoded { try run.withUnsafeBytes { try file.write($0) } }
            }
            let padding = Self.padded(entry.byteCount) - entry.byteCount
            try file.write([UInt8](repeating: 0, count: padding))
            done += entry.byteCount + padding
            progress(done, byteCount)
        }
        try file.commit()
    }

    /// - Parameters:
    ///   - first: of the values; a multiple of a block's.
    private func encode(
        _ bytes: ByteView, _ entry: Entry, _ first: Int, _ count: Int, _ path: String
    ) throws -> ByteView {
        let width = entry.tensor.dtype.bitWidth / 8
        let part = bytes.slice(first * width, count * width)
        guard let values = part.widened(from: entry.tensor.dtype) else { return part }
        for index in 0..<count where !values.pointer[index].isFinite {
            throw ConversionError(path, .nonFinite(tensor: entry.name, element: first + index))
        }
        return ByteView(count: Self.byteCount(count, entry.type)) { memory in
            switch entry.type {
            case Self.q8:
                for block in 0..<count / 32 {
                    Self.quantize(
                        values.pointer + block * 32,
                        UnsafeMutableRawBufferPointer(
                            rebasing: memory[block * 34..<(block + 1) * 34]))
                }
            case Self.f16:
                let target = memory.bindMemory(to: UInt16.self)
                let largest = Float(Float16.greatestFiniteMagnitude)
                for index in 0..<count {
                    let value = min(max(values.pointer[index], -largest), largest)
                    target[index] = Float16(value).bitPattern.littleEndian
                }
            case Self.bf16:
                let target = memory.bindMemory(to: UInt16.self)
                for index in 0..<count {
                    let bits = values.pointer[index].bitPattern
                    target[index] =
                        UInt16((bits &+ 0x7FFF &+ ((bits >> 16) & 1)) >> 16).littleEndian
                }
            default:
                memory.copyMemory(
                    from: UnsafeRawBufferPointer(start: values.pointer, count: 4 * count))
            }
        }
    }

    /// A block of 32 values: scale absmax / 127 in fp16, and the values rounded away from zero.
    private static func quantize(
        _ values: UnsafePointer<Float>, _ target: UnsafeMutableRawBufferPointer
    ) {
        var largest: Float = 0
        for index in 0..<32 { largest = max(largest, abs(values[index])) }
        let scale = largest / 127
        let inverse = scale == 0 ? 0 : 1 / scale
        target.storeBytes(
            of: Float16(scale).bitPattern.littleEndian, toByteOffset: 0, as: UInt16.self)
        for index in 0..<32 {
            let value = (values[index] * inverse).rounded(.toNearestOrAwayFromZero)
            target[2 + index] = UInt8(bitPattern: Int8(max(-127, min(127, value))))
        }
    }

    // MARK: Layout

    /// Type and stored shape: vectors and tables stay in fp32, kernels take no blocks.
    private static func layout(
        _ tensor: TensorInfo, _ precision: GGUFPrecision
    ) -> (UInt32, [Int]) {
        let isTable =
            tensor.name.hasSuffix("scale_shift_table") || !tensor.name.hasSuffix(".weight")
        guard tensor.shape.count > 1, tensor.elementCount > 1024, !isTable else {
            return (f32, tensor.shape)
        }
        switch precision {
        case .bf16: return (bf16, tensor.shape)
        case .f16: return (f16, tensor.shape)
        case .q80:
            let isMatrix = tensor.shape.dropFirst(2).allSatisfy { $0 == 1 }
            guard isMatrix, tensor.shape[1] % 32 == 0 else { return (f16, tensor.shape) }
            return (q8, Array(tensor.shape.prefix(2)))
        }
    }

    private static func name(_ type: UInt32) -> String {
        [f32: "F32", f16: "F16", q8: "Q8_0", bf16: "BF16"][type] ?? ""
    }

    private static func byteCount(_ count: Int, _ type: UInt32) -> Int {
        type == f32 ? 4 * count : type == q8 ? count / 32 * 34 : 2 * count
    }

    private static func padded(_ count: Int) -> Int {
        (count + alignment - 1) / alignment * alignment
    }

    private static func header(
        _ entries: [Entry], _ precision: GGUFPrecision, _ notes: [[UInt8]], _ name: String,
        _ tool: String
    ) -> [UInt8] {
        var pairs: [[UInt8]] = [
            text("general.architecture", "sana"), text("general.name", name),
            number("general.file_type", precision.fileType),
            number("general.quantization_version", 2),
            number("general.alignment", UInt32(alignment)), text("sana_tools.version", tool),
        ]
        pairs += notes
        for entry in entries where entry.shape != entry.tensor.shape {
            pairs.append(
                string("comfy.gguf.orig_shape." + entry.name) + bytes(UInt32(9)) + bytes(UInt32(5))
                    + bytes(UInt64(entry.tensor.shape.count))
                    + entry.tensor.shape.flatMap { bytes(Int32(clamping: $0)) })
        }
        var header = Array("GGUF".utf8) + bytes(UInt32(3)) + bytes(UInt64(entries.count))
        header += bytes(UInt64(pairs.count)) + pairs.flatMap { $0 }
        for entry in entries {
            header += string(entry.name) + bytes(UInt32(entry.shape.count))
            for size in entry.shape.reversed() { header += bytes(UInt64(size)) }
            header += bytes(entry.type) + bytes(UInt64(entry.offset))
        }
        return header + [UInt8](repeating: 0, count: padded(header.count) - header.count)
    }

    private static func text(_ key: String, _ value: String) -> [UInt8] {
        string(key) + bytes(UInt32(8)) + string(value)
    }

    private static func number(_ key: String, _ value: UInt32) -> [UInt8] {
        string(key) + bytes(UInt32(4)) + bytes(value)
    }

    private static func string(_ text: String) -> [UInt8] {
        bytes(UInt64(text.utf8.count)) + Array(text.utf8)
    }

    private static func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
}
