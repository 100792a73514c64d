import COpenBLAS
import CSanaKernels

/// Products of fp32 rows with a panel of weights: by our own kernels where they run on vectors, else
/// by OpenBLAS.
///
/// With our own kernels a result depends on its row and its weights alone.
enum PanelProduct {
    /// Rows at which a panel may be packed in several calls.
    static let packedRows = 32

    private static let usesKernels = Kernels.best.multiplies_f32 != 0

    /// Floats of a packed panel.
    static func floats(rows: Int, columns: Int) -> Int {
        usesKernels ? Kernels.best.panel_floats(rows, columns) : rows * columns
    }

    /// Packs weights `[rows, columns]`, rows `stride` apart.
    static func pack(
        _ weights: UnsafePointer<Float>, rows: Int, columns: Int, stride: Int,
        into panel: UnsafeMutablePointer<Float>
    ) {
        if usesKernels {
            Kernels.best.pack_f32(weights, rows, columns, stride, panel)
            return
        }
        for row in 0..<rows {
            (panel + row * columns).update(from: weights + row * stride, count: columns)
        }
    }

    /// Packs bf16 weights `[rows, columns]`, row after row, without widening them first; `false` where
    /// that is not to be had.
    static func pack(
        bfloat16 weights: UnsafeRawPointer, rows: Int, columns: Int,
        into panel: UnsafeMutablePointer<Float>
    ) -> Bool {
        guard usesKernels else { return false }
        Kernels.best.pack_bf16(weights, rows, columns, columns, panel)
        return true
    }

    /// Packs weights that lie transposed, `[columns, rows]`, columns `stride` apart.
    static func packColumns(
        _ weights: UnsafePointer<Float>, rows: Int, columns: Int, stride: Int,
        into panel: UnsafeMutablePointer<Float>
    ) {
        if usesKernels {
            Kernels.best.pack_columns_f32(weights, rows, columns, stride, panel)
            return
        }
        for column in 0..<columns {
            for row in 0..<rows {
                panel[row * columns + column] = weights[column * stride + row]
            }
        }
    }

    /// y = x · panelᵀ + bias for `x` `[tokens, columns]` and `y` `[tokens, rows]`, their rows
    /// `stride` apart.
    ///
    /// - Parameter soon: what is read next, fetched into the cache meanwhile.
    static func multiply(
        _ x: UnsafePointer<Float>, stride: Int, tokens: Int, columns: Int,
        panel: UnsafePointer<Float>, rows: Int, bias: UnsafePointer<Float>? = nil,
        into y: UnsafeMutablePointer<Float>, stride outputStride: Int, soon: ByteView? = nil
    ) {
        if usesKernels {
            Kernels.best.multiply_f32(
                x, stride, tokens, columns, panel, rows, bias, y, outputStride,
                soon?.address, soon?.count ?? 0)
            return
        }
        if let bias {
            for token in 0..<tokens {
                (y + token * outputStride).update(from: bias, count: rows)
            }
        }
        blas_sgemm(
            1, Int32(tokens), Int32(rows), Int32(columns), 1, x, Int32(stride), panel,
            Int32(columns), bias == nil ? 0 : 1, y, Int32(outputStride))
    }

    /// y = y + x · panelᵀ, as `multiply`.
    static func multiplyAdd(
        _ x: UnsafePointer<Float>, stride: Int, tokens: Int, columns: Int,
        panel: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>,
        stride outputStride: Int
    ) {
        if usesKernels {
            Kernels.best.multiply_add_f32(
                x, stride, tokens, columns, panel, rows, y, outputStride)
            return
        }
        blas_sgemm(
            1, Int32(tokens), Int32(rows), Int32(columns), 1, x, Int32(stride), panel,
            Int32(columns), 1, y, Int32(outputStride))
    }
}
