import COpenBLAS

/// Output channels that one task computes: small enough to share among threads, large enough for
/// BLAS.
private let panelRows = 192
/// Tokens that one task computes when there are few panels.
private let tokenBlock = 512

extension ForwardContext {
    /// y = x · weightᵀ + bias for `x` `[tokens, in]` and `y` `[tokens, out]`.
    ///
    /// Tasks are tiles of `y` whose bounds depend on the shapes alone; each widens its panel of the
    /// weight once.
    func multiply(_ x: Matrix, _ weight: Weight, bias: FloatBuffer?, into y: Matrix) {
        precondition(
            x.columns == weight.columns && y.columns == weight.rows && x.rows == y.rows)
        let panels = (weight.rows + panelRows - 1) / panelRows
        let rowsPerTask = panels >= 8 ? max(x.rows, 1) : tokenBlock
        let blocks = (x.rows + rowsPerTask - 1) / rowsPerTask
        let scratch = scratch(floatsPerWorker: panelRows * weight.columns)
        workers.run(panels * blocks) { task, worker in
            let first = task / blocks * panelRows
            let channels = first..<min(first + panelRows, weight.rows)
            let start = task % blocks * rowsPerTask
            let tokens = min(rowsPerTask, x.rows - start)
            let panel = weight.panel(channels, scratch: scratch[worker])
            let output = y.row(start) + first
            if let bias {
                for token in 0..<tokens {
                    (output + token * y.columns).update(
                        from: bias.pointer + first, count: channels.count)
                }
            }
            cblas_sgemm(
                CblasRowMajor, CblasNoTrans, CblasTrans, Int32(tokens), Int32(channels.count),
                Int32(x.columns), 1, x.row(start), Int32(x.columns), panel, Int32(weight.columns),
                bias == nil ? 0 : 1, output, Int32(y.columns))
        }
    }
}
