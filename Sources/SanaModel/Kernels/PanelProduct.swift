import COpenBLAS
import CSanaKernels

/// Products of rows of activations with a panel of weights, of fp32 values or of values rounded to
/// bf16: by our own kernels where they run on vectors, else, in fp32, by OpenBLAS.
///
/// With our own kernels a result depends on its row and its weights alone.
struct PanelProduct: Sendable {
    /// Whether both factors are rounded to bf16; sums are fp32 either way.
    let isRounded: Bool

    static let fp32 = PanelProduct(isRounded: false)
    static let bf16 = PanelProduct(isRounded: true)

    /// Rows at which a panel may be packed in several calls.
    static let packedRows = 32

    /// Rows of activations as a product reads them, `stride` bytes apart.
    struct Tokens {
        let start: UnsafeRawPointer
        let stride: Int

        /// The rows from `index` on.
        func from(_ index: Int) -> Tokens { Tokens(start: start + index * stride, stride: stride) }

        /// The rows from `index` on, from the column `column` on, which is even.
        func from(_ index: Int, column: Int, _ product: PanelProduct) -> Tokens {
            let skipped = product.isRounded ? Kernels.best.rounded_bytes(column) : column * 4
            return Tokens(start: start + index * stride + skipped, stride: stride)
        }
    }

    /// Columns, an even number, whose products are added up in one chain, where so many are added
    /// up.
    func chainColumns(_ columns: Int) -> Int {
        isRounded ? Kernels.best.chain_rounded(columns) : Kernels.best.chain_f32(columns)
    }

    /// Whether weights that are bf16 are packed as they are.
    var packsBFloat16: Bool { !usesBLAS }

    private var usesBLAS: Bool { !isRounded && Kernels.best.multiplies_f32 == 0 }

    /// Floats of a packed panel.
    func floats(rows: Int, columns: Int) -> Int {
        if isRounded { return (Kernels.best.rounded_panel_bytes(rows, columns) + 3) / 4 }
        return usesBLAS ? rows * columns : Kernels.best.panel_floats(rows, columns)
    }

    /// Floats of memory that `tokens` needs for so many rows.
    func tokenFloats(_ count: Int, columns: Int) -> Int {
        isRounded ? (count * Kernels.best.rounded_bytes(columns) + 3) / 4 : 0
    }

    /// Packs weights `[rows, columns]`, rows `stride` apart.
    func pack(
        _ weights: UnsafePointer<Float>, rows: Int, columns: Int, stride: Int,
        into panel: UnsafeMutablePointer<Float>
    ) {
        if isRounded {
            Kernels.best.pack_rounded_f32(weights, rows, columns, stride, panel)
        } else if usesBLAS {
            for row in 0..<rows {
                (panel + row * columns).update(from: weights + row * stride, count: columns)
            }
        } else {
            Kernels.best.pack_f32(weights, rows, columns, stride, panel)
        }
    }

    /// Packs bf16 weights `[rows, columns]`, rows `stride` apart, without widening them first;
    /// `false` where that is not to be had.
    func pack(
        bfloat16 weights: UnsafeRawPointer, rows: Int, columns: Int, stride: Int,
        into panel: UnsafeMutablePointer<Float>
    ) -> Bool {
        if usesBLAS { return false }
        if isRounded {
            Kernels.best.pack_rounded_bf16(weights, rows, columns, stride, panel)
        } else {
            Kernels.best.pack_bf16(weights, rows, columns, stride, panel)
        }
        return true
    }

    /// Packs weights that lie transposed, `[columns, rows]`, columns `stride` apart.
    func packColumns(
        _ weights: UnsafePointer<Float>, rows: Int, columns: Int, stride: Int,
        into panel: UnsafeMutablePointer<Float>
    ) {
        if isRounded {
            Kernels.best.pack_rounded_columns(weights, rows, columns, stride, panel)
        } else if usesBLAS {
            for column in 0..<columns {
                for row in 0..<rows {
                    panel[row * columns + column] = weights[column * stride + row]
                }
            }
        } else {
            Kernels.best.pack_columns_f32(weights, rows, columns, stride, panel)
        }
    }

    /// The rows of `x`, `stride` floats apart, as products read them: in place, or rounded into
    /// `memory`, which has room for `tokenFloats`.
    func tokens(
        _ x: UnsafePointer<Float>, stride: Int, count: Int, columns: Int,
        in memory: UnsafeMutablePointer<Float>
    ) -> Tokens {
        guard isRounded else { return Tokens(start: x, stride: stride * 4) }
        Kernels.best.round_tokens(x, stride, count, columns, memory)
        return Tokens(start: memory, stride: Kernels.best.rounded_bytes(columns))
    }

    /// Windows of `floats` neighbours, `stride` floats apart and overlapping, as products read
    /// them. A stride in bf16 is a whole number of pairs.
    ///
    /// - Parameter memory: room for `tokenFloats` of one row of so many columns.
    func window(
        _ x: UnsafePointer<Float>, floats: Int, stride: Int,
        in memory: UnsafeMutablePointer<Float>
    ) -> Tokens {
        let row = tokens(x, stride: floats, count: 1, columns: floats, in: memory)
        return Tokens(
            start: row.start,
            stride: isRounded ? Kernels.best.rounded_bytes(stride) : stride * 4)
    }

    /// y = x · panelᵀ + bias for `x` `[tokens, columns]` and `y` `[tokens, rows]`, whose rows lie
    /// `stride` floats apart.
    ///
    /// - Parameter soon: what is read next, fetched into the cache meanwhile.
    func multiply(
        _ x: Tokens, tokens: Int, columns: Int, panel: UnsafePointer<Float>, rows: Int,
        bias: UnsafePointer<Float>? = nil, into y: UnsafeMutablePointer<Float>, stride: Int,
        soon: ByteView? = nil
    ) {
        let (next, bytes) = (soon?.address, soon?.count ?? 0)
        if isRounded {
            Kernels.best.multiply_rounded(
                x.start, x.stride, tokens, columns, panel, rows, bias, y, stride, next, bytes)
        } else if usesBLAS {
            if let bias {
                for token in 0..<tokens { (y + token * stride).update(from: bias, count: rows) }
            }
            sgemm(x, tokens, columns, panel, rows, adding: bias != nil, y, stride)
        } else {
            Kernels.best.multiply_f32(
                x.start.assumingMemoryBound(to: Float.self), x.stride / 4, tokens, columns, panel,
                rows, bias, y, stride, next, bytes)
        }
    }

    /// y = y + x · panelᵀ, as `multiply`.
    func multiplyAdd(
        _ x: Tokens, tokens: Int, columns: Int, panel: UnsafePointer<Float>, rows: Int,
        into y: UnsafeMutablePointer<Float>, stride: Int, soon: ByteView? = nil
    ) {
        let (next, bytes) = (soon?.address, soon?.count ?? 0)
        if isRounded {
            Kernels.best.multiply_add_rounded(
                x.start, x.stride, tokens, columns, panel, rows, y, stride, next, bytes)
        } else if usesBLAS {
            sgemm(x, tokens, columns, panel, rows, adding: true, y, stride)
        } else {
            Kernels.best.multiply_add_f32(
                x.start.assumingMemoryBound(to: Float.self), x.stride / 4, tokens, columns, panel,
                rows, y, stride, next, bytes)
        }
    }

    private func sgemm(
        _ x: Tokens, _ tokens: Int, _ columns: Int, _ panel: UnsafePointer<Float>, _ rows: Int,
        adding: Bool, _ y: UnsafeMutablePointer<Float>, _ stride: Int
    ) {
        blas_sgemm(
            1, Int32(tokens), Int32(rows), Int32(columns), 1,
            x.start.assumingMemoryBound(to: Float.self), Int32(x.stride / 4), panel,
            Int32(columns), adding ? 1 : 0, y, Int32(stride))
    }
}

/// Products of fp32 rows that lie `stride` floats apart.
extension PanelProduct {
    /// As the other `multiply`, in fp32.
    static func multiply(
        _ x: UnsafePointer<Float>, stride: Int, tokens: Int, columns: Int,
        panel: UnsafePointer<Float>, rows: Int, bias: UnsafePointer<Float>? = nil,
        into y: UnsafeMutablePointer<Float>, stride outputStride: Int
    ) {
        fp32.multiply(
            Tokens(start: x, stride: stride * 4), tokens: tokens, columns: columns, panel: panel,
            rows: rows, bias: bias, into: y, stride: outputStride)
    }

    /// As the other `multiplyAdd`, in fp32.
    static func multiplyAdd(
        _ x: UnsafePointer<Float>, stride: Int, tokens: Int, columns: Int,
        panel: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>,
        stride outputStride: Int
    ) {
        fp32.multiplyAdd(
            Tokens(start: x, stride: stride * 4), tokens: tokens, columns: columns, panel: panel,
            rows: rows, into: y, stride: outputStride)
    }
}
