import CSanaKernels

/// Output channels whose panel stays in the cache of a core while pixels pass by.
private let panelRows = 96
/// Pixels that one task makes of a phase: part of a row, or as many narrow rows.
private let taskPixels = 64

/// Convolutions as products with runs of pixels: the taps of a row of the kernel lie next to each
/// other in a channels-last image, so nothing is gathered but at the edges.
extension ForwardContext {
    /// What is done to pixels of a row once all their channels are there.
    typealias PixelEpilogue = (
        _ pixels: UnsafeMutablePointer<Float>, _ row: Int, _ columns: Range<Int>
    ) -> Void

    /// y = convolution of `x`, images of a batch.
    func convolve(_ x: Matrix, _ convolution: Convolution3x3, into y: Matrix, _ grid: TokenGrid) {
        if records([x], into: y, convolution.work(pixels: y.rows, from: x.rows)) { return }
        let panels = ConvolutionLayout(convolution, floatProduct)
        let packed = PackedConvolution(
            panels, in: matrix(.packedPanels, rows: 1, columns: panels.floats).pointer, self)
        let (height, width) = (
            convolution.outputSize(grid.height), convolution.outputSize(grid.width)
        )
        for image in 0..<grid.batch {
            convolve(
                ImageRows(x, image: image, height: grid.height, width: grid.width), packed,
                into: ImageRows(y, image: image, height: height, width: width), rows: 0..<height)
        }
    }

    /// Makes the rows `rows` of the output, of which those that are made together are all there.
    func convolve(
        _ x: ImageRows, _ packed: PackedConvolution, into y: ImageRows, rows: Range<Int>,
        then epilogue: PixelEpilogue? = nil
    ) {
        if packed.layout.isSquare {
            convolveSquares(x, packed, into: y, rows: rows, then: epilogue)
            return
        }
        let scale = packed.layout.convolution.scale
        let (lines, width) = (rows.count / scale, y.width / scale)
        let segments = (width + taskPixels - 1) / taskPixels
        let linesPerTask = max(1, taskPixels / max(width, 1))
        let edges = ConvolutionEdges(packed.layout.convolution)
        let edgeFloats = edges.floats * linesPerTask
        let rounded = packed.layout.product.tokenFloats(
            linesPerTask, columns: edges.windowFloats(pixels: min(taskPixels, width)))
        let scratch = scratch(floatsPerWorker: edgeFloats + rounded)
        workers.run((lines + linesPerTask - 1) / linesPerTask * segments) { task, worker in
            let part = task % segments
            let pixels = width * part / segments..<width * (part + 1) / segments
            let first = task / segments * linesPerTask
            let lines = first..<min(first + linesPerTask, lines)
            for (index, phase) in packed.layout.phases.enumerated() {
                let windows = lines.flatMap { line in
                    let line = line + rows.lowerBound / scale
                    let row = y[line * scale + phase.row]
                    return edges.windows(
                        of: x, line: line, pixels: pixels, phase,
                        scratch[worker] + (line - first - rows.lowerBound / scale) * edges.floats,
                        output: row + phase.column * y.channels, stride: scale * y.channels)
                }
                multiply(
                    windows, packed, index, stride: scale * y.channels,
                    scratch[worker] + edgeFloats)
            }
            guard let epilogue else { return }
            for line in lines.lowerBound * scale..<lines.upperBound * scale {
                let row = rows.lowerBound + line
                let columns = pixels.lowerBound * scale..<pixels.upperBound * scale
                epilogue(y[row] + columns.lowerBound * y.channels, row, columns)
            }
        }
    }

    /// The products of one phase with windows of pixels.
    ///
    /// - Parameter memory: room for the windows' pixels as products read them.
    private func multiply(
        _ windows: [ConvolutionEdges.Window], _ packed: PackedConvolution, _ phase: Int,
        stride: Int, _ memory: UnsafeMutablePointer<Float>
    ) {
        let (convolution, product) = (packed.layout.convolution, packed.layout.product)
        let columns = packed.layout.phases[phase].columnTaps.count * convolution.inChannels
        var used = 0
        let tokens = windows.map { window in
            let floats = (window.pixels - 1) * window.stride + columns
            defer { used += product.tokenFloats(1, columns: floats) }
            return product.window(
                window.values, floats: floats, stride: window.stride, in: memory + used)
        }
        let bias = convolution.bias.map { bias in
            bias.pointer + (convolution.sampling == .shuffled ? phase * convolution.outChannels : 0)
        }
        for first in Swift.stride(from: 0, to: convolution.outChannels, by: panelRows) {
            let rows = min(panelRows, convolution.outChannels - first)
            for (window, tokens) in zip(windows, tokens) {
                let target = window.output + first
                let panel = packed.panel(phase, window.tap, from: first)
                if window.isFirst {
                    product.multiply(
                        tokens, tokens: window.pixels, columns: columns, panel: panel, rows: rows,
                        bias: bias.map { UnsafePointer($0 + first) }, into: target, stride: stride)
                } else {
                    product.multiplyAdd(
                        tokens, tokens: window.pixels, columns: columns, panel: panel, rows: rows,
                        into: target, stride: stride)
                }
            }
        }
    }
}

/// Where the windows of a row's pixels lie in memory: in the image, or beside its edges in copies
/// with zeros around.
struct ConvolutionEdges {
    /// Pixels of a segment whose windows lie a stride apart.
    struct Window {
        let values: UnsafePointer<Float>
        let stride: Int
        let pixels: Int
        /// The first one of the output.
        let output: UnsafeMutablePointer<Float>
        /// The row of taps that meets them.
        let tap: Int
        /// Whether no other window of these pixels comes before.
        let isFirst: Bool
    }

    private let channels: Int
    private let stride: Int
    /// Pixels that are multiplied together, so that those at an edge are not alone.
    private let group = max(Kernels.best.tile_tokens, 1)
    /// Pixels of the image that such a group's windows span at most.
    private let span: Int
    /// Room for both edges of three rows.
    var floats: Int { 6 * span * channels }

    /// Floats of the windows of so many pixels of a row: three rows of taps, each in up to three
    /// parts that overlap.
    func windowFloats(pixels: Int) -> Int { 3 * (pixels * stride + 3 * 3) * channels }

    init(_ convolution: Convolution3x3) {
        (channels, stride) = (convolution.inChannels, convolution.stride)
        span = (group - 1) * stride + 3
    }

    /// The windows of `pixels` of a phase's row `line`, row of taps by row of taps.
    ///
    /// - Parameters:
    ///   - scratch: room for `floats`.
    ///   - output: the phase's pixels of that row, `outputStride` apart.
    func windows(
        of x: ImageRows, line: Int, pixels: Range<Int>, _ phase: ConvolutionPhase,
        _ scratch: UnsafeMutablePointer<Float>, output: UnsafeMutablePointer<Float>,
        stride outputStride: Int
    ) -> [Window] {
        let (first, taps) = (phase.firstColumn, phase.columnTaps.count)
        // Pixels whose windows lie inside the image.
        let begin = max(pixels.lowerBound, (max(0, -first) + stride - 1) / stride)
        let lastInside = x.width - taps - first
        let end = lastInside < 0 ? 0 : min(pixels.upperBound, lastInside / stride + 1)
        var left = pixels.lowerBound
        var right = pixels.upperBound
        if begin > left { left = min(left + group, right) }
        if end < right { right = max(right - group, left) }
        var windows: [Window] = []
        var isFirst = true
        for (index, tap) in phase.rowTaps.enumerated() {
            guard let row = x.row(at: line * stride + tap.offset) else { continue }
            let parts = [
                (pixels.lowerBound..<left, true), (left..<right, false),
                (right..<pixels.upperBound, true),
            ]
            for (part, (range, isEdge)) in parts.enumerated() where !range.isEmpty {
                var values = row + (range.lowerBound * stride + first) * channels
                if isEdge {
                    let copy = scratch + (2 * index + part / 2) * span * channels
                    let start = range.lowerBound * stride + first
                    pad(
                        row, width: x.width, from: start,
                        count: (range.count - 1) * stride + taps, copy)
                    values = UnsafePointer(copy)
                }
                windows.append(
                    Window(
                        values: values, stride: stride * channels, pixels: range.count,
                        output: output + range.lowerBound * outputStride, tap: index,
                        isFirst: isFirst))
            }
            isFirst = false
        }
        return windows
    }

    /// Copies pixels from `start` on, zeros for those outside the row.
    private func pad(
        _ row: UnsafePointer<Float>, width: Int, from start: Int, count: Int,
        _ copy: UnsafeMutablePointer<Float>
    ) {
        let inside = (start..<start + count).clamped(to: 0..<width)
        copy.update(repeating: 0, count: (inside.lowerBound - start) * channels)
        (copy + (inside.lowerBound - start) * channels).update(
            from: row + inside.lowerBound * channels, count: inside.count * channels)
        (copy + (inside.upperBound - start) * channels).update(
            repeating: 0, count: (start + count - inside.upperBound) * channels)
    }
}

extension Scratch {
    fileprivate static let packedPanels = Scratch()
}
