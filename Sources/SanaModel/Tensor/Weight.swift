import CSanaKernels

/// The weight `[rows, columns]` of a linear map, in the type it was stored in.
///
/// Rows are output channels. Values narrower than fp32 are widened, and those that another program
/// has quantized are decoded, a few rows at a time: a model takes the memory of its file.
public struct Weight: Sendable {
    /// The stored values.
    enum Storage: Sendable {
        case float32(ByteView)
        case bfloat16(ByteView)
        case float16(ByteView)
        /// w = q · scale of its row.
        case int8(ByteView, scale: FloatBuffer)
        /// As another program has quantized it.
        case encoded(EncodedRows)
    }

    let storage: Storage
    /// Output channels.
    public let rows: Int
    /// Input channels.
    public let columns: Int

    /// Whether some of the columns can be packed without reading the others.
    func packsColumns(for product: PanelProduct) -> Bool {
        guard case .bfloat16 = storage else { return false }
        return product.packsBFloat16
    }

    /// Packs the rows `range` for `product`, those columns of them.
    ///
    /// - Parameters:
    ///   - part: all columns unless `packsColumns`.
    ///   - scratch: room for `PanelProduct.packedRows` rows.
    func pack(
        _ range: Range<Int>, columns part: Range<Int>, for product: PanelProduct,
        into panel: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>
    ) {
        if case .bfloat16(let bytes) = storage,
            product.pack(
                bfloat16: bytes.address + (range.lowerBound * columns + part.lowerBound) * 2,
                rows: range.count, columns: part.count, stride: columns, into: panel)
        {
            return
        }
        precondition(part == 0..<columns)
        let block = PanelProduct.packedRows
        let blockFloats = product.floats(rows: block, columns: columns)
        for (index, first) in stride(from: range.lowerBound, to: range.upperBound, by: block)
            .enumerated()
        {
            let rows = first..<min(first + block, range.upperBound)
            product.pack(
                widened(rows, scratch: scratch), rows: rows.count, columns: columns,
                stride: columns, into: panel + index * blockFloats)
        }
    }

    /// Writes a row as fp32 to `target`; no other is read.
    func copyRow(_ row: Int, to target: UnsafeMutablePointer<Float>) {
        let values = widened(row..<row + 1, scratch: target)
        if values != UnsafePointer(target) { target.update(from: values, count: columns) }
    }

    /// Gives back the memory of a mapped file's pages, see `ByteView.releasePages`.
    func releasePages() { stored(0..<rows).releasePages() }

    /// The stored bytes of the rows `range`.
    func stored(_ range: Range<Int>) -> ByteView {
        let bytes =
            switch storage {
            case .float32(let bytes), .bfloat16(let bytes), .float16(let bytes),
                .int8(let bytes, _):
                bytes
            case .encoded(let rows): rows.stored
            }
        let rowBytes = bytes.count / rows
        return bytes.slice(range.lowerBound * rowBytes, range.count * rowBytes)
    }

    /// The rows `range` as fp32, `[range.count, columns]`: in place where stored so, else widened
    /// into `scratch`.
    func widened(
        _ range: Range<Int>, scratch: UnsafeMutablePointer<Float>
    ) -> UnsafePointer<Float> {
        let (start, count) = (range.lowerBound * columns, range.count * columns)
        let kernels = Kernels.best
        switch storage {
        case .float32(let bytes):
            let source = bytes.address + start * 4
            if Int(bitPattern: source) % MemoryLayout<Float>.alignment == 0 {
                return source.assumingMemoryBound(to: Float.self)
            }
            UnsafeMutableRawPointer(scratch).copyMemory(from: source, byteCount: count * 4)
        case .bfloat16(let bytes): kernels.widen_bf16(bytes.address + start * 2, scratch, count)
        case .float16(let bytes): kernels.widen_f16(bytes.address + start * 2, scratch, count)
        case .int8(let bytes, let scale):
            let source = (bytes.address + start).assumingMemoryBound(to: Int8.self)
            for row in 0..<range.count {
                kernels.widen_i8(
                    source + row * columns, scale.pointer[range.lowerBound + row],
                    scratch + row * columns, columns)
            }
        case .encoded(let rows): rows.decode(range, scratch)
        }
        return UnsafePointer(scratch)
    }
}
