import CSanaKernels

/// Pixels that one task of a pass takes.
private let pixelsPerTask = 64

/// Passes over the pixels of images, each pixel on its own.
extension ForwardContext {
    /// Calls `body` for all pixels of the rows `rows`, a run at a time.
    func forEachRun(_ y: ImageRows, rows: Range<Int>, _ body: PixelEpilogue) {
        let segments = max(1, (y.width + pixelsPerTask - 1) / pixelsPerTask)
        workers.run(rows.count * segments) { task, _ in
            let (row, part) = (rows.lowerBound + task / segments, task % segments)
            let columns = y.width * part / segments..<y.width * (part + 1) / segments
            body(y[row] + columns.lowerBound * y.channels, row, columns)
        }
    }

    /// Lets the function that `body` gives for each image of a batch change the pixels of `y`.
    ///
    /// - Parameter reads: what it reads beside them.
    func forEachRun(
        _ y: Matrix, from reads: [Matrix] = [], _ grid: TokenGrid,
        _ body: (_ image: Int) -> PixelEpilogue
    ) {
        if records([y] + reads, into: y) { return }
        for image in 0..<grid.batch {
            forEachRun(
                ImageRows(y, image: image, height: grid.height, width: grid.width),
                rows: 0..<grid.height, body(image))
        }
    }

    /// Writes rows of a picture `[channels, height, width]` as pixels.
    func readPlanes(
        _ planes: UnsafePointer<Float>, into y: ImageRows, rows: Range<Int>
    ) {
        workers.run(rows.count) { task, _ in
            let row = rows.lowerBound + task
            Kernels.best.transpose(
                planes + row * y.width, y.channels, y.width, y.height * y.width, y[row], y.channels)
        }
    }

    /// Writes rows of pixels to a picture `[channels, height, width]`.
    func writePlanes(
        _ x: ImageRows, rows: Range<Int>, into planes: UnsafeMutablePointer<Float>
    ) {
        workers.run(rows.count) { task, _ in
            let row = rows.lowerBound + task
            Kernels.best.transpose(
                x[row], x.width, x.channels, x.channels, planes + row * x.width, x.height * x.width)
        }
    }

    /// Pictures `[batch, channels, height, width]` as pixels.
    func readPlanes(_ tensor: DenseTensor, into y: Matrix, _ grid: TokenGrid) {
        if records([], into: y) { return }
        for image in 0..<grid.batch {
            let rows = ImageRows(y, image: image, height: grid.height, width: grid.width)
            readPlanes(
                tensor.values.pointer + image * rows.values.count, into: rows, rows: 0..<grid.height
            )
        }
    }

    /// Pixels as pictures `[batch, channels, height, width]`.
    func writePlanes(_ x: Matrix, into tensor: DenseTensor, _ grid: TokenGrid) {
        if records([x], into: Matrix(tensor.values, rows: 1, columns: tensor.count)) { return }
        for image in 0..<grid.batch {
            let rows = ImageRows(x, image: image, height: grid.height, width: grid.width)
            writePlanes(
                rows, rows: 0..<grid.height,
                into: tensor.values.pointer + image * rows.values.count)
        }
    }
}

/// Channels of one image that are added to those of another, or means of some.
struct ChannelShortcut {
    /// Where they are, `group` for each channel, from a pixel of the other image.
    private let index: [Int32]
    private let group: Int

    /// - Parameters:
    ///   - channels: of the image that is added to.
    ///   - group: how many are averaged.
    ///   - place: of the `n`-th of all.
    init(channels: Int, group: Int = 1, _ place: (_ n: Int) -> Int) {
        self.group = group
        index = (0..<channels * group).map { Int32(place($0)) }
    }

    /// Adds to the channels of `count` pixels those of the other image around `source`, whose
    /// pixels lie `step` apart.
    func add(
        _ source: UnsafePointer<Float>, step: Int = 0, to pixels: UnsafeMutablePointer<Float>,
        count: Int = 1
    ) {
        let channels = index.count / group
        index.withUnsafeBufferPointer { index in
            for pixel in 0..<count {
                Kernels.best.add_gathered(
                    pixels + pixel * channels, source + pixel * step, index.baseAddress, group,
                    channels)
            }
        }
    }
}
