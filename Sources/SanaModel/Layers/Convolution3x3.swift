import CSanaKernels

/// `nn.Conv2d` with a 3×3 kernel and padding 1 on channels-last images, with what is done to the
/// size of the image before or after it.
struct Convolution3x3 {
    enum Sampling {
        case none
        /// A stride of 2.
        case halved
        /// The image is interpolated to twice its size, each pixel four times, before.
        case interpolated
        /// Pixels are shuffled to twice the size after: four channels are one of four pixels.
        case shuffled
    }

    let path: String
    let sampling: Sampling
    /// `[out, in · 9]`, of a shuffled one four channels for each of `outChannels`.
    let weight: Weight
    let bias: FloatBuffer?
    let inChannels: Int
    let outChannels: Int

    init(
        _ scope: WeightScope, in inChannels: Int, out outChannels: Int, sampling: Sampling = .none,
        bias hasBias: Bool = true
    ) throws {
        path = scope.path
        (self.sampling, self.inChannels, self.outChannels) = (sampling, inChannels, outChannels)
        let rows = sampling == .shuffled ? 4 * outChannels : outChannels
        weight = try scope.weight(shape: [rows, inChannels, 3, 3])
        guard hasBias else {
            bias = nil
            return
        }
        let values = try scope.parameter("bias", shape: [rows], role: .bias)
        // By output pixel, as the weights are packed.
        bias = sampling == .shuffled ? values.transposed(columns: 4) : values
    }

    /// Height or width of what comes out for one of `size`.
    func outputSize(_ size: Int) -> Int {
        switch sampling {
        case .none: size
        case .halved: (size + 1) / 2
        case .interpolated, .shuffled: 2 * size
        }
    }

    /// Rows of output for each row, or columns for each column, that a phase's product makes.
    var scale: Int { sampling == .interpolated || sampling == .shuffled ? 2 : 1 }

    /// Pixels from one product's window to the next one's.
    var stride: Int { sampling == .halved ? 2 : 1 }

    /// Operations as the module is defined, whatever is saved on the way.
    func work(pixels: Int, from input: Int) -> ModuleGraph.Work {
        let places = sampling == .shuffled ? pixels / 4 : pixels
        let each = 2 * places * inChannels * weight.rows
        // Four of nine are left by squares of 2×2 pixels, and where interpolated pixels are equal.
        let isShort = sampling == .none || sampling == .interpolated
        return ModuleGraph.Work(
            operations: 9 * each, floats: input * inChannels + pixels * outChannels,
            leastOperations: (isShort ? 4 : 9) * each)
    }

    /// The products that make the output's pixels: one for all, or one for each pixel of a 2×2
    /// square.
    var phases: [ConvolutionPhase] {
        let square = [(0, 0), (0, 1), (1, 0), (1, 1)]
        switch sampling {
        case .none, .halved: return [ConvolutionPhase(row: 0, column: 0)]
        case .shuffled: return square.map { ConvolutionPhase(row: $0, column: $1) }
        case .interpolated:
            return square.map { row, column in
                ConvolutionPhase(
                    row: row, column: column, rowTaps: ConvolutionPhase.merged[row],
                    columnTaps: ConvolutionPhase.merged[column])
            }
        }
    }

    /// Makes the activation.
    ///
    /// - Parameters:
    ///   - x: `[batch · height · width, in]`.
    ///   - y: the same of the output.
    func callAsFunction(_ x: Matrix, into y: Matrix, _ grid: TokenGrid, _ context: ForwardContext) {
        context.module(path, "Conv2d") {
            context.convolve(x, self, into: y, grid)
            // What diffusers has before it shuffles pixels does not come to be.
            if sampling == .shuffled { return [] }
            let layout = Activation.Layout.image(
                batch: grid.batch, height: outputSize(grid.height), width: outputSize(grid.width))
            return [Activation(y, layout)]
        }
    }
}

/// One of the products that a convolution is made of.
struct ConvolutionPhase {
    /// A row or column of the window, from the product's own one, and the kernel's taps that are
    /// added up for it.
    typealias Taps = (offset: Int, kernel: ClosedRange<Int>)

    /// Taps of a 3×3 kernel on an image.
    static let plain: [Taps] = [(-1, 0...0), (0, 1...1), (1, 2...2)]
    /// Taps on an image that is interpolated to twice its size: for even and odd rows or columns.
    static let merged: [[Taps]] = [
        [(-1, 0...0), (0, 1...2)], [(0, 0...1), (1, 2...2)],
    ]

    /// Place of its pixels in the square that they fill.
    let row: Int
    let column: Int
    var rowTaps = plain
    var columnTaps = plain

    var firstColumn: Int { columnTaps[0].offset }
}

/// How weights of a convolution are packed as panels for products: with runs of pixels, one for
/// each phase and row of the window, or with squares, one for each of sixteen inputs.
struct ConvolutionLayout {
    let convolution: Convolution3x3
    let phases: [ConvolutionPhase]
    let product: PanelProduct
    /// Whether it is made by squares of 2×2 pixels.
    let isSquare: Bool
    /// Floats of memory that it takes.
    let floats: Int
    /// Columns of each panel, and floats before it.
    fileprivate let panels: [(columns: Int, start: Int)]

    /// Channels from which on fewer multiplications are worth the sums around them.
    private static let fewestSquareChannels = 32

    /// - Parameter product: of floats. Windows of an odd number of channels do not begin with a
    ///   pair of values, so their products stay in fp32.
    init(_ convolution: Convolution3x3, _ product: PanelProduct) {
        self.convolution = convolution
        self.product = convolution.inChannels % 2 == 0 ? product : .fp32
        let channels = convolution.inChannels
        phases = convolution.phases
        isSquare =
            convolution.sampling == .none
            && min(channels, convolution.outChannels) >= Self.fewestSquareChannels
        let columns =
            isSquare
            ? [Int](repeating: channels, count: 16)
            : phases.flatMap { phase in phase.rowTaps.map { _ in phase.columnTaps.count * channels }
            }
        var (panels, total) = ([(columns: Int, start: Int)](), 0)
        for columns in columns {
            panels.append((columns, total))
            total += self.product.floats(rows: convolution.outChannels, columns: columns)
        }
        (self.panels, floats) = (panels, total)
    }
}

/// Packed weights of a convolution.
struct PackedConvolution {
    let layout: ConvolutionLayout
    private let memory: UnsafeMutablePointer<Float>

    /// Writes the panels to `memory`, which has room for `layout.floats` and must outlive it.
    init(
        _ layout: ConvolutionLayout, in memory: UnsafeMutablePointer<Float>,
        _ context: ForwardContext
    ) {
        (self.layout, self.memory) = (layout, memory)
        pack(context)
    }

    /// The panel of a phase's row of taps, from the output channel `row` on.
    func panel(_ phase: Int, _ tap: Int, from row: Int) -> UnsafePointer<Float> {
        panel(layout.phases[..<phase].reduce(tap) { $0 + $1.rowTaps.count }, from: row)
    }

    /// The panel of one of the sixteen inputs of squares, from the output channel `row` on, which
    /// is a multiple of `PanelProduct.packedRows`.
    func panel(_ index: Int, from row: Int) -> UnsafePointer<Float> {
        let panel = layout.panels[index]
        return UnsafePointer(
            memory + panel.start + layout.product.floats(rows: row, columns: panel.columns))
    }

    private func pack(_ context: ForwardContext) {
        let (convolution, phases, isSquare) = (layout.convolution, layout.phases, layout.isSquare)
        let (channels, rows) = (convolution.inChannels, PanelProduct.packedRows)
        let blocks = (convolution.outChannels + rows - 1) / rows
        // What is stored of a row, its taps, and for each panel the rows of a block.
        let stored = 2 * 9 * channels
        let scratch = context.scratch(floatsPerWorker: stored + 16 * rows * channels)
        context.workers.run((isSquare ? 1 : phases.count) * blocks) { task, worker in
            let (phase, first) = (task / blocks, task % blocks * rows)
            let count = min(rows, convolution.outChannels - first)
            let block = scratch[worker] + stored
            for row in 0..<count {
                let taps = taps(of: first + row, phase, scratch[worker])
                if isSquare {
                    Kernels.best.winograd_weights(
                        taps, channels, block + row * channels, rows * channels)
                } else {
                    arrange(taps, phase, into: block, row: row)
                }
            }
            let width = (isSquare ? 1 : phases[phase].columnTaps.count) * channels
            for index in 0..<(isSquare ? 16 : phases[phase].rowTaps.count) {
                let panel =
                    isSquare ? panel(index, from: first) : panel(phase, index, from: first)
                layout.product.pack(
                    block + index * rows * width, rows: count, columns: width, stride: width,
                    into: UnsafeMutablePointer(mutating: panel))
            }
        }
    }

    /// The weights of an output channel as `[9, channels]`.
    private func taps(
        of channel: Int, _ phase: Int, _ scratch: UnsafeMutablePointer<Float>
    ) -> UnsafeMutablePointer<Float> {
        let convolution = layout.convolution
        let channels = convolution.inChannels
        let index = convolution.sampling == .shuffled ? 4 * channel + phase : channel
        let stored = convolution.weight.widened(index..<index + 1, scratch: scratch)
        let taps = scratch + 9 * channels
        Kernels.best.transpose(stored, channels, 9, 9, taps, channels)
        return taps
    }

    /// Writes them to row `row` of the blocks of rows of taps, by columns, those of one pixel added
    /// up.
    private func arrange(
        _ taps: UnsafePointer<Float>, _ phase: Int, into block: UnsafeMutablePointer<Float>,
        row: Int
    ) {
        let (channels, shape) = (layout.convolution.inChannels, layout.phases[phase])
        let width = shape.columnTaps.count * channels
        for (y, rowTap) in shape.rowTaps.enumerated() {
            for (x, columnTap) in shape.columnTaps.enumerated() {
                let target = block + (y * PanelProduct.packedRows + row) * width + x * channels
                target.update(repeating: 0, count: channels)
                for kernelRow in rowTap.kernel {
                    for kernelColumn in columnTap.kernel {
                        Kernels.best.add(
                            target, taps + (3 * kernelRow + kernelColumn) * channels, channels)
                    }
                }
            }
        }
    }
}
