import CSanaKernels
import Libc

/// Rows of a matrix that one task of an element-wise pass takes.
private let rowsPerTask = 32
/// Channels of an image that one task convolves: three lines of them stay in the cache of a core.
private let depthwiseChannels = 96
/// Elements that one task takes where rows do not matter.
private let elementsPerTask = 1 << 15

/// The passes between matrix products, shared among the workers. All of them act on whole rows
/// (tokens).
extension ForwardContext {
    /// Calls `body` for every row.
    func forEachRow(_ rows: Int, _ body: (Int) -> Void) {
        workers.run((rows + rowsPerTask - 1) / rowsPerTask) { task, _ in
            for row in task * rowsPerTask..<min((task + 1) * rowsPerTask, rows) { body(row) }
        }
    }

    /// Calls `body` with the start and the length of pieces of `x`, which it changes.
    private func update(_ x: Matrix, _ body: (UnsafeMutablePointer<Float>, Int) -> Void) {
        if records([x], into: x) { return }
        workers.run((x.count + elementsPerTask - 1) / elementsPerTask) { task, _ in
            let start = task * elementsPerTask
            body(x.pointer + start, min(elementsPerTask, x.count - start))
        }
    }

    /// y = (x − mean) / √(variance + eps), then · weight + bias where given.
    func layerNorm(
        _ x: Matrix, eps: Float, weight: FloatBuffer?, bias: FloatBuffer?, into y: Matrix
    ) {
        if records([x], into: y) { return }
        forEachRow(x.rows) { row in
            Kernels.best.layer_norm(x.row(row), y.row(row), x.columns, eps)
            if let weight, let bias {
                Kernels.best.affine(y.row(row), weight.pointer, bias.pointer, x.columns)
            }
        }
    }

    /// x = x / √(mean(x²) + eps) · weight
    func rmsNorm(_ x: Matrix, eps: Float, weight: FloatBuffer) {
        rmsNorm(x, eps: eps, weight: weight, into: x)
    }

    /// y = x / √(mean(x²) + eps) · weight
    func rmsNorm(_ x: Matrix, eps: Float, weight: FloatBuffer, into y: Matrix) {
        if records([x], into: y) { return }
        forEachRow(x.rows) { row in
            Kernels.best.rms_norm(x.row(row), weight.pointer, y.row(row), x.columns, eps)
        }
    }

    /// x = x · (1 + scale) + shift, with one row of `shift` and `scale` for each image of the
    /// batch.
    func modulate(_ x: Matrix, shift: Matrix, scale: Matrix) {
        if records([x, shift, scale], into: x) { return }
        let tokens = x.rows / shift.rows
        forEachRow(x.rows) { row in
            Kernels.best.modulate(
                x.row(row), shift.row(row / tokens), scale.row(row / tokens), x.columns)
        }
    }

    /// A table `[parts, D]` plus an embedding, as `parts` matrices `[B, D]`.
    ///
    /// - Parameter embedding: `[B, parts · D]`, or `[B, D]` that is added to every part.
    func modulation(
        _ scratch: Scratch, table: FloatBuffer, embedding: Matrix, parts: Int
    ) -> [Matrix] {
        let (batch, dim) = (embedding.rows, table.count / parts)
        let all = matrix(scratch, rows: parts * batch, columns: dim)
        let step = embedding.columns == dim ? 0 : dim
        fill(all, from: [embedding]) {
            for part in 0..<parts {
                for image in 0..<batch {
                    let row = all.row(part * batch + image)
                    row.update(from: table.pointer + part * dim, count: dim)
                    Kernels.best.add(row, embedding.row(image) + part * step, dim)
                }
            }
        }
        return (0..<parts).map { all.rows($0 * batch, batch) }
    }

    /// y = y + x, rows of `x` repeated where it has fewer.
    func add(_ x: Matrix, to y: Matrix) {
        if records([y, x], into: y) { return }
        forEachRow(y.rows) { row in
            Kernels.best.add(y.row(row), x.row(row % x.rows), y.columns)
        }
    }

    /// y = y + gate · x, with one row of `gate` for each image of the batch.
    func addGated(_ x: Matrix, gate: Matrix, to y: Matrix) {
        if records([y, gate, x], into: y) { return }
        let tokens = y.rows / gate.rows
        forEachRow(y.rows) { row in
            Kernels.best.add_gated(y.row(row), gate.row(row / tokens), x.row(row), y.columns)
        }
    }

    /// x = max(x, 0)
    func relu(_ x: Matrix) { update(x) { Kernels.best.relu($0, $1) } }

    /// x = x / (1 + exp(−x))
    func silu(_ x: Matrix) { update(x) { Kernels.best.silu($0, $1) } }

    /// x = GELU(x) in the tanh approximation.
    func geluTanh(_ x: Matrix) { update(x) { Kernels.best.gelu_tanh($0, $1) } }

    /// x = clamp(x, −limit, limit)
    func clip(_ x: Matrix, limit: Float) { update(x) { Kernels.best.clip($0, limit, $1) } }

    /// Copies `x` to `y` of the same shape.
    func copy(_ x: Matrix, to y: Matrix) {
        if records([x], into: y) { return }
        y.pointer.update(from: x.pointer, count: x.count)
    }

    /// x = factor · x
    func scale(_ x: Matrix, by factor: Float) {
        if records([x], into: x) { return }
        for index in 0..<x.count { x.pointer[index] *= factor }
    }

    /// Cosines, then sines of value · frequency, one row for each value.
    func sinusoids(of values: DenseTensor, frequencies: [Float], into y: Matrix) {
        if records([values.row], into: y) { return }
        for row in 0..<y.rows {
            for (index, frequency) in frequencies.enumerated() {
                let angle = values.values.pointer[row] * frequency
                y.row(row)[index] = Float(cos(Double(angle)))
                y.row(row)[frequencies.count + index] = Float(sin(Double(angle)))
            }
        }
    }

    /// y = 3×3 depthwise convolution of `x` `[batch · height · width, channels]`, padding 1, plus
    /// bias.
    ///
    /// - Parameter weight: `[9, channels]`, taps row-major.
    func depthwise3x3(
        _ x: Matrix, height: Int, width: Int, weight: FloatBuffer, bias: FloatBuffer,
        into y: Matrix
    ) {
        if records([x], into: y, .depthwise(x)) { return }
        let parts = (x.columns + depthwiseChannels - 1) / depthwiseChannels
        let convolve = depthwise(x, height: height, width: width, weight: weight, bias: bias)
        workers.run(x.rows / width / height * parts) { task, _ in
            let first = task % parts * depthwiseChannels
            let channels = first..<min(first + depthwiseChannels, x.columns)
            for line in task / parts * height..<(task / parts + 1) * height {
                convolve(line, channels, y.row(line * width) + first, y.columns)
            }
        }
    }

    /// y = first half of the channels of that convolution · SiLU(second half).
    func gatedDepthwise3x3(
        _ x: Matrix, height: Int, width: Int, weight: FloatBuffer, bias: FloatBuffer,
        into y: Matrix
    ) {
        if records([x], into: y, .depthwise(x)) { return }
        let parts = (y.columns + depthwiseChannels - 1) / depthwiseChannels
        let convolve = depthwise(x, height: height, width: width, weight: weight, bias: bias)
        let scratch = scratch(floatsPerWorker: 2 * width * depthwiseChannels)
        workers.run(x.rows / width / height * parts) { task, worker in
            let first = task % parts * depthwiseChannels
            let values = first..<min(first + depthwiseChannels, y.columns)
            let gates = values.lowerBound + y.columns..<values.upperBound + y.columns
            let (value, gate) = (scratch[worker], scratch[worker] + width * values.count)
            for line in task / parts * height..<(task / parts + 1) * height {
                convolve(line, values, value, values.count)
                convolve(line, gates, gate, values.count)
                for token in 0..<width {
                    let row = token * values.count
                    Kernels.best.gated_silu(
                        value + row, gate + row, y.row(line * width + token) + first, values.count)
                }
            }
        }
    }

    /// The same for the rows `rows` of one image.
    func gatedDepthwise3x3(
        _ x: ImageRows, weight: FloatBuffer, bias: FloatBuffer, into y: ImageRows,
        rows: Range<Int>
    ) {
        let parts = (y.channels + depthwiseChannels - 1) / depthwiseChannels
        let zeros = matrix(.zeros, rows: 1, columns: depthwiseChannels)
        let scratch = scratch(floatsPerWorker: 2 * y.width * depthwiseChannels)
        workers.run(parts) { task, worker in
            let first = task * depthwiseChannels
            let count = min(depthwiseChannels, y.channels - first)
            let (value, gate) = (scratch[worker], scratch[worker] + y.width * count)
            for line in rows {
                for (channel, target) in [(first, value), (first + y.channels, gate)] {
                    Kernels.best.depthwise3x3_row(
                        x.row(at: line - 1).map { $0 + channel }, x[line] + channel,
                        x.row(at: line + 1).map { $0 + channel }, y.width, x.channels, count,
                        weight.pointer + channel, bias.pointer + channel, zeros.pointer, target,
                        count)
                }
                for pixel in 0..<y.width {
                    Kernels.best.gated_silu(
                        value + pixel * count, gate + pixel * count,
                        y[line] + pixel * y.channels + first, count)
                }
            }
        }
    }

    /// Writes one line of the convolution for some channels to rows that lie a stride apart.
    private func depthwise(
        _ x: Matrix, height: Int, width: Int, weight: FloatBuffer, bias: FloatBuffer
    ) -> (_ line: Int, _ channels: Range<Int>, _ y: UnsafeMutablePointer<Float>, _ stride: Int) ->
        Void
    {
        // Nothing writes this buffer, so it stays as it was allocated.
        let zeros = matrix(.zeros, rows: 1, columns: depthwiseChannels)
        let step = width * x.columns
        return { line, channels, y, stride in
            let first = channels.lowerBound
            let here = x.row(line * width) + first
            Kernels.best.depthwise3x3_row(
                line % height > 0 ? UnsafePointer(here - step) : nil, here,
                line % height < height - 1 ? UnsafePointer(here + step) : nil, width, x.columns,
                channels.count, weight.pointer + first, bias.pointer + first, zeros.pointer, y,
                stride)
        }
    }

    /// y = first half of the channels of `x` · SiLU(second half).
    func gatedSilu(_ x: Matrix, into y: Matrix) {
        if records([x], into: y) { return }
        forEachRow(x.rows) { row in
            Kernels.best.gated_silu(x.row(row), x.row(row) + y.columns, y.row(row), y.columns)
        }
    }
}

extension Scratch {
    fileprivate static let zeros = Scratch()
}
