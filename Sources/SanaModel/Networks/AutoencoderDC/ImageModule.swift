import CSanaKernels

/// Images of a batch, whole in memory.
struct ImageBatch {
    /// `[batch · height · width, channels]`
    let values: Matrix
    let grid: TokenGrid
    /// Which of the two buffers that modules write in turn it is.
    let slot: Int

    var activation: Activation { Activation(values, grid.imageLayout) }

    func rows(_ image: Int) -> ImageRows {
        ImageRows(values, image: image, height: grid.height, width: grid.width)
    }

    /// As large images in the other buffer.
    func successor(channels: Int, _ context: ForwardContext) -> ImageBatch {
        context.images(slot: 1 - slot, grid, channels: channels)
    }
}

extension ForwardContext {
    /// A batch of images in one of the two buffers that modules write in turn.
    func images(slot: Int, _ grid: TokenGrid, channels: Int) -> ImageBatch {
        ImageBatch(
            values: matrix(.images[slot], rows: grid.tokens, columns: channels), grid: grid,
            slot: slot)
    }
}

/// A module from images to images. It makes one new activation, in the other buffer or in place.
protocol ImageModule: Sendable {
    var outChannels: Int { get }

    /// Whether it changes its input where passes are joined.
    var isInPlace: Bool { get }

    /// Height or width of its output for an input of `size`.
    func outputSize(_ size: Int) -> Int

    /// Whether it takes images of that height or width.
    func takes(_ size: Int) -> Bool

    func callAsFunction(_ x: ImageBatch, _ context: ForwardContext) -> ImageBatch
}

extension ImageModule {
    func outputSize(_ size: Int) -> Int { size }
    func takes(_ size: Int) -> Bool { true }
    var isInPlace: Bool { false }

    /// Where its output goes, unless it is made in place.
    func output(of x: ImageBatch, _ context: ForwardContext) -> ImageBatch {
        let grid = TokenGrid(
            batch: x.grid.batch, height: outputSize(x.grid.height),
            width: outputSize(x.grid.width))
        return context.images(slot: 1 - x.slot, grid, channels: outChannels)
    }
}

/// A module whose every output row is made from a few rows of its input.
protocol RowModule: ImageModule {
    /// Its place in the network.
    var path: String { get }

    /// Convolutions whose packed weights a plan keeps.
    var convolutions: [Convolution3x3] { get }

    /// Appends its steps to a plan.
    ///
    /// - Parameter target: the whole output, where it is kept.
    func rows(from x: RowStep, in plan: RowPlan, into target: ImageRows?, _ context: ForwardContext)
        -> RowStep
}

extension RowModule {
    /// Floats of its packed weights.
    var packedFloats: Int {
        convolutions.reduce(0) { $0 + ConvolutionLayout($1, .fp32).floats }
    }

    /// Makes the output row by row, so that nothing on the way is ever whole.
    func joined(_ x: ImageBatch, _ context: ForwardContext) -> ImageBatch {
        let y = output(of: x, context)
        for image in 0..<x.grid.batch {
            let plan = RowPlan(context)
            let source = plan.source(x.rows(image))
            _ = rows(from: source, in: plan, into: y.rows(image), context)
            plan.run()
        }
        return y
    }
}

extension AutoencoderDCConfig.ActivationFunction {
    /// Class in torch.
    var kind: String {
        switch self {
        case .silu, .swish: "SiLU"
        case .mish: "Mish"
        case .gelu: "GELU"
        case .relu: "ReLU"
        case .identity: "Identity"
        }
    }

    /// Changes `count` values.
    func apply(_ x: UnsafeMutablePointer<Float>, count: Int) {
        switch self {
        case .silu, .swish: Kernels.best.silu(x, count)
        case .mish: Kernels.best.mish(x, count)
        case .gelu: Kernels.best.gelu(x, count)
        case .relu: Kernels.best.relu(x, count)
        case .identity: break
        }
    }
}

extension Scratch {
    fileprivate static let images = Scratch()
}
