import CSanaKernels

/// Linear attention as DC-AE has it: queries, keys and values of a head lie next to each other in
/// the channels, and heads of several scales in images of their own.
///
/// Sums over pixels go row by row, so they do not depend on how many rows are there at a time.
extension ForwardContext {
    /// Sums over rows for each head: values, and a one, times keys, `[heads · (dim + 1), dim]`.
    func attentionSums(_ scales: [ImageRows], rows: Range<Int>, dim: Int, into sums: Matrix) {
        let (heads, width) = (scales[0].channels / (3 * dim), scales[0].width)
        let length = width + 16
        let head = HeadRow(width: width, dim: dim)
        let panel = PanelProduct.fp32.floats(rows: dim, columns: width)
        let scratch = scratch(floatsPerWorker: head.floats + (dim + 1) * length + panel)
        workers.run(scales.count * heads) { task, worker in
            let values = scratch[worker] + head.floats
            let keyPanel = values + (dim + 1) * length
            for row in rows {
                let pixels = head.copy(
                    scales[task / heads][row], head: task % heads,
                    stride: scales[0].channels, into: scratch[worker])
                Kernels.best.transpose(
                    pixels + 2 * dim, width, dim, 3 * dim, values, length)
                (values + dim * length).update(repeating: 1, count: width)
                PanelProduct.fp32.packColumns(
                    pixels + dim, rows: dim, columns: width, stride: 3 * dim, into: keyPanel)
                PanelProduct.multiplyAdd(
                    values, stride: length, tokens: dim + 1, columns: width, panel: keyPanel,
                    rows: dim, into: sums.row(task * (dim + 1)), stride: dim)
            }
        }
    }

    /// What linear attention gives the rows `rows`, heads side by side.
    func linearAttention(
        _ scales: [ImageRows], rows: Range<Int>, dim: Int, sums: Matrix, into y: ImageRows
    ) {
        let (heads, width) = (scales[0].channels / (3 * dim), scales[0].width)
        let head = HeadRow(width: width, dim: dim)
        let panel = PanelProduct.fp32.floats(rows: dim + 1, columns: dim)
        let scratch = scratch(floatsPerWorker: head.floats + panel + width * (dim + 1))
        workers.run(scales.count * heads) { task, worker in
            let sumPanel = scratch[worker] + head.floats
            let products = sumPanel + panel
            PanelProduct.fp32.pack(
                sums.row(task * (dim + 1)), rows: dim + 1, columns: dim, stride: dim,
                into: sumPanel)
            for row in rows {
                let pixels = head.copy(
                    scales[task / heads][row], head: task % heads,
                    stride: scales[0].channels, into: scratch[worker])
                PanelProduct.multiply(
                    pixels, stride: 3 * dim, tokens: width, columns: dim, panel: sumPanel,
                    rows: dim + 1, into: products, stride: dim + 1)
                for pixel in 0..<width {
                    let product = products + pixel * (dim + 1)
                    let target = y[row] + pixel * y.channels + task * dim
                    target.update(from: product, count: dim)
                    Kernels.best.divide(target, product[dim] + 1e-15, dim)
                }
            }
        }
    }

    /// What quadratic attention gives a whole image, which has no more pixels than a head channels.
    func quadraticAttention(_ scales: [ImageRows], dim: Int, into y: ImageRows) {
        let heads = scales[0].channels / (3 * dim)
        let (width, pixels) = (y.width, y.width * y.height)
        let head = HeadRow(width: width, dim: dim)
        let keyFloats = PanelProduct.fp32.floats(rows: pixels, columns: dim)
        let valueFloats = PanelProduct.fp32.floats(rows: dim, columns: pixels)
        let scratch = scratch(
            floatsPerWorker: pixels * 3 * dim + keyFloats + valueFloats + pixels * pixels)
        workers.run(scales.count * heads) { task, worker in
            let copy = scratch[worker]
            for row in 0..<y.height {
                _ = head.copy(
                    scales[task / heads][row], head: task % heads, stride: scales[0].channels,
                    into: copy + row * head.floats)
            }
            let keyPanel = copy + pixels * 3 * dim
            let valuePanel = keyPanel + keyFloats
            let scores = valuePanel + valueFloats
            PanelProduct.fp32.pack(
                copy + dim, rows: pixels, columns: dim, stride: 3 * dim, into: keyPanel)
            PanelProduct.fp32.packColumns(
                copy + 2 * dim, rows: dim, columns: pixels, stride: 3 * dim, into: valuePanel)
            PanelProduct.multiply(
                copy, stride: 3 * dim, tokens: pixels, columns: dim, panel: keyPanel, rows: pixels,
                into: scores, stride: pixels)
            for query in 0..<pixels {
                let row = scores + query * pixels
                let total = (0..<pixels).reduce(Float(0)) { $0 + row[$1] }
                Kernels.best.divide(row, total + 1e-15, pixels)
            }
            // One row of the image is not far from the next one: all are in memory.
            for row in 0..<y.height {
                PanelProduct.multiply(
                    scores + row * width * pixels, stride: pixels, tokens: width, columns: pixels,
                    panel: valuePanel, rows: dim, into: y[row] + task * dim, stride: y.channels)
            }
        }
    }

    /// y = depthwise convolution of the rows `rows` of `x` with an odd kernel, without bias.
    ///
    /// - Parameter weight: `[kernel², channels]`.
    func depthwise(
        _ x: ImageRows, kernel: Int, weight: FloatBuffer, into y: ImageRows, rows: Range<Int>
    ) {
        workers.run(rows.count) { task, _ in
            let row = rows.lowerBound + task
            let lines = (0..<kernel).map { x.row(at: row + $0 - kernel / 2) }
            Kernels.best.depthwise_row(lines, kernel, x.width, x.channels, weight.pointer, y[row])
        }
    }

    /// y = products of groups of `dim` channels of the rows `rows` of `x`, each with its own
    /// weights.
    ///
    /// - Parameter panels: weights of the groups, packed one after the other.
    func multiplyGroups(
        _ x: ImageRows, panels: FloatBuffer, dim: Int, into y: ImageRows, rows: Range<Int>
    ) {
        let (groups, floats) = (x.channels / dim, PanelProduct.fp32.floats(rows: dim, columns: dim))
        workers.run(rows.count) { task, _ in
            let row = rows.lowerBound + task
            for group in 0..<groups {
                PanelProduct.multiply(
                    x[row] + group * dim, stride: x.channels, tokens: x.width, columns: dim,
                    panel: panels.pointer + group * floats, rows: dim, into: y[row] + group * dim,
                    stride: y.channels)
            }
        }
    }
}

/// Queries, keys and values of one head for a row of pixels, side by side, the first two through
/// ReLU.
private struct HeadRow {
    let width: Int
    let dim: Int
    /// What values are kept above: zero for queries and keys, nothing for values.
    private let least: [Float]

    init(width: Int, dim: Int) {
        (self.width, self.dim) = (width, dim)
        least =
            [Float](repeating: 0, count: 2 * dim) + [Float](repeating: -.infinity, count: dim)
    }

    /// Floats of such a row.
    var floats: Int { width * 3 * dim }

    /// Copies those of head `head` from a row of pixels of `stride` channels.
    func copy(
        _ row: UnsafePointer<Float>, head: Int, stride: Int,
        into target: UnsafeMutablePointer<Float>
    ) -> UnsafeMutablePointer<Float> {
        for pixel in 0..<width {
            Kernels.best.at_least(
                row + pixel * stride + head * 3 * dim, least, target + pixel * 3 * dim, 3 * dim)
        }
        return target
    }
}
