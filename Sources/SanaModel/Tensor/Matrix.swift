/// Memory for floats, 64-byte aligned, freed with its last reference.
///
/// The model's layers write disjoint parts of it from several threads; nothing else synchronises
/// access.
public final class FloatBuffer: @unchecked Sendable {
    /// Number of floats.
    public let count: Int
    /// The first float.
    public let pointer: UnsafeMutablePointer<Float>
    /// Whether it holds them, or only stands for them.
    let hasValues: Bool

    /// Allocates `count` zeros.
    public init(count: Int) {
        (self.count, hasValues) = (count, true)
        let bytes = max(count, 1) * MemoryLayout<Float>.stride
        pointer = AlignedMemory.allocate(byteCount: bytes)
            .bindMemory(to: Float.self, capacity: max(count, 1))
        pointer.initialize(repeating: 0, count: max(count, 1))
    }

    /// Copies `values`.
    public convenience init(_ values: [Float]) {
        self.init(count: values.count)
        for (index, value) in values.enumerated() { pointer[index] = value }
    }

    /// Stands for `count` floats in a forward that is recorded on shapes. It holds one, so its
    /// values must not be touched.
    init(shapeOnly count: Int) {
        (self.count, hasValues) = (count, false)
        pointer = AlignedMemory.allocate(byteCount: MemoryLayout<Float>.stride)
            .bindMemory(to: Float.self, capacity: 1)
    }

    deinit { AlignedMemory.deallocate(UnsafeMutableRawPointer(pointer)) }

    /// The values, copied.
    public var values: [Float] { Array(UnsafeBufferPointer(start: pointer, count: count)) }
}

/// A row-major view `[rows, columns]` of a buffer.
public struct Matrix: Sendable {
    /// Owner of the memory.
    public let buffer: FloatBuffer
    /// Floats before the first row.
    public let offset: Int
    public let rows: Int
    public let columns: Int

    /// Views `rows × columns` floats of `buffer` from `offset` on; they must be inside it.
    public init(_ buffer: FloatBuffer, offset: Int = 0, rows: Int, columns: Int) {
        precondition(offset >= 0 && offset + rows * columns <= buffer.count)
        (self.buffer, self.offset, self.rows, self.columns) = (buffer, offset, rows, columns)
    }

    /// Allocates zeros.
    public init(rows: Int, columns: Int) {
        self.init(FloatBuffer(count: rows * columns), rows: rows, columns: columns)
    }

    public var count: Int { rows * columns }

    /// The first float; valid as long as `buffer` lives.
    public var pointer: UnsafeMutablePointer<Float> { buffer.pointer + offset }

    /// The first float of a row.
    func row(_ index: Int) -> UnsafeMutablePointer<Float> { pointer + index * columns }

    /// The rows from `start`, `count` of them.
    func rows(_ start: Int, _ count: Int) -> Matrix {
        Matrix(buffer, offset: offset + start * columns, rows: count, columns: columns)
    }

    /// The values, copied.
    public var values: [Float] { Array(UnsafeBufferPointer(start: pointer, count: count)) }
}
