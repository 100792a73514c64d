import CSanaKernels

/// Output channels whose products are in memory at a time.
private let panelRows = 96
/// Squares that one task makes: so many that weights are read seldom, so few that a core's cache
/// keeps much of their inputs.
private let taskSquares = 112

/// Convolutions by squares of 2×2 pixels: Winograd's F(2×2, 3×3), which makes them of sixteen
/// products in place of 36 and rounds half as much again.
///
/// Squares lie on a grid that begins with the image, whichever rows are made together.
extension ForwardContext {
    /// Makes the rows `rows` of the output, which begin with a square.
    func convolveSquares(
        _ x: ImageRows, _ packed: PackedConvolution, into y: ImageRows, rows: Range<Int>,
        then epilogue: PixelEpilogue?
    ) {
        let (channels, product) = (packed.layout.convolution.inChannels, packed.layout.product)
        let width = (y.width + 1) / 2
        let segments = (width + taskSquares - 1) / taskSquares
        let linesPerTask = max(1, taskSquares / width)
        let squares = (width + segments - 1) / segments * linesPerTask
        let inputs = 16 * squares * channels
        let rounded = product.tokenFloats(16 * squares, columns: channels)
        let scratch = scratch(
            floatsPerWorker: inputs + 16 * squares * panelRows + channels + rounded)
        let lines = rows.lowerBound / 2..<(rows.upperBound + 1) / 2
        workers.run((lines.count + linesPerTask - 1) / linesPerTask * segments) { task, worker in
            let first = lines.lowerBound + task / segments * linesPerTask
            let part = task % segments
            let block = SquareBlock(
                lines: first..<min(first + linesPerTask, lines.upperBound),
                columns: width * part / segments..<width * (part + 1) / segments)
            let products = scratch[worker] + inputs
            let zeros = products + 16 * squares * panelRows
            zeros.update(repeating: 0, count: channels)
            block.transform(x, zeros: zeros, into: scratch[worker])
            let tokens = product.tokens(
                scratch[worker], stride: channels, count: 16 * block.count, columns: channels,
                in: zeros + channels)
            for first in stride(from: 0, to: y.channels, by: panelRows) {
                let count = min(panelRows, y.channels - first)
                for position in 0..<16 {
                    product.multiply(
                        tokens.from(position * block.count), tokens: block.count, columns: channels,
                        panel: packed.panel(position, from: first), rows: count,
                        into: products + position * block.count * count, stride: count)
                }
                block.finish(
                    products, channels: first..<first + count, bias: packed.layout.convolution.bias,
                    into: y, rows: rows)
            }
            guard let epilogue else { return }
            let columns =
                2 * block.columns.lowerBound..<min(2 * block.columns.upperBound, y.width)
            for row in block.rows.clamped(to: rows) {
                epilogue(y[row] + columns.lowerBound * y.channels, row, columns)
            }
        }
    }
}

/// Squares that one task computes.
private struct SquareBlock {
    /// Lines of squares, two rows of pixels each.
    let lines: Range<Int>
    let columns: Range<Int>

    var count: Int { lines.count * columns.count }
    /// Rows of pixels.
    var rows: Range<Int> { 2 * lines.lowerBound..<2 * lines.upperBound }

    /// Writes sixteen matrices of inputs.
    func transform(
        _ x: ImageRows, zeros: UnsafePointer<Float>, into inputs: UnsafeMutablePointer<Float>
    ) {
        for (index, line) in lines.enumerated() {
            let rows = (2 * line - 1...2 * line + 2).map { x.row(at: $0) }
            Kernels.best.winograd_input(
                rows, x.width, x.channels, columns.lowerBound, columns.count, zeros,
                inputs + index * columns.count * x.channels, count * x.channels)
        }
    }

    /// Writes some channels of the output from sixteen matrices of their products.
    func finish(
        _ products: UnsafePointer<Float>, channels: Range<Int>, bias: FloatBuffer?,
        into y: ImageRows, rows: Range<Int>
    ) {
        let first = 2 * columns.lowerBound
        let offset = first * y.channels + channels.lowerBound
        for (index, line) in lines.enumerated() {
            let targets = [2 * line, 2 * line + 1].map { row in
                rows.contains(row) ? y[row] + offset : nil
            }
            Kernels.best.winograd_output(
                products + index * columns.count * channels.count, count * channels.count,
                columns.count, channels.count, bias.map { $0.pointer + channels.lowerBound },
                targets, min(2 * columns.count, y.width - first), y.channels)
        }
    }
}
