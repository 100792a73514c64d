/// `ff`: diffusers' `GLUMBConv` without norm and residual, on channels-last images `[B · h · w,
/// D]`.
struct GLUMBConv {
    let path: String
    let convInverted: Linear
    let convDepth: DepthwiseConv3x3
    let convPoint: Linear
    let hiddenDim: Int

    init(_ scope: WeightScope, dim: Int, hiddenDim: Int) throws {
        path = scope.path
        self.hiddenDim = hiddenDim
        convInverted = try Linear(
            convolution: scope["conv_inverted"].holding(.pointwiseConvolution, .convInverted),
            in: dim, out: 2 * hiddenDim)
        convDepth = try DepthwiseConv3x3(
            scope["conv_depth"].holding(.depthwiseConvolution, .convDepth), channels: 2 * hiddenDim)
        convPoint = try Linear(
            convolution: scope["conv_point"].holding(.pointwiseConvolution, .convPoint),
            in: hiddenDim, out: dim, bias: false)
    }

    func callAsFunction(
        _ x: Matrix, into y: Matrix, _ grid: TokenGrid, _ context: ForwardContext
    ) {
        context.module(path, "GLUMBConv") {
            branch(x, into: y, grid, context)
            return [Activation(y, grid.imageLayout)]
        }
    }

    /// The same as part of a module that goes on with `y`.
    func branch(_ x: Matrix, into y: Matrix, _ grid: TokenGrid, _ context: ForwardContext) {
        let inverted = context.matrix(.inverted, rows: x.rows, columns: 2 * hiddenDim)
        let gated: Matrix
        if context.fusesPasses {
            convInverted(x, then: .silu, into: inverted, grid.imageLayout, context)
            gated = context.matrix(.depth, rows: x.rows, columns: hiddenDim)
            convDepth.gated(inverted, into: gated, grid, context)
        } else {
            convInverted(x, into: inverted, grid.imageLayout, context)
            context.silu(inverted)
            let depth = context.matrix(.depth, rows: x.rows, columns: 2 * hiddenDim)
            convDepth(inverted, into: depth, grid, context)
            gated = context.matrix(.inverted, rows: x.rows, columns: hiddenDim)
            context.gatedSilu(depth, into: gated)
        }
        convPoint(gated, into: y, grid.imageLayout, context)
    }
}

extension TensorPart {
    static let convInverted = TensorPart("conv_inverted")
    static let convDepth = TensorPart("conv_depth")
    static let convPoint = TensorPart("conv_point")
}

/// `nn.Conv2d(C, C, 3, padding=1, groups=C)` on channels-last images.
struct DepthwiseConv3x3 {
    let path: String
    /// `[9, C]`: taps row-major, channels innermost.
    let weight: FloatBuffer
    let bias: FloatBuffer

    init(_ scope: WeightScope, channels: Int) throws {
        path = scope.path
        weight = try scope.parameter("weight", shape: [channels, 1, 3, 3]).transposed(columns: 9)
        bias = try scope.parameter("bias", shape: [channels], role: .bias)
    }

    func callAsFunction(
        _ x: Matrix, into y: Matrix, _ grid: TokenGrid, _ context: ForwardContext
    ) {
        context.module(path, "Conv2d") {
            context.depthwise3x3(
                x, height: grid.height, width: grid.width, weight: weight, bias: bias, into: y)
            return [Activation(y, grid.imageLayout)]
        }
    }
    /// The first half of the channels · SiLU of the second half; the activation itself does not
    /// come to be.
    func gated(
        _ x: Matrix, into y: Matrix, _ grid: TokenGrid, _ context: ForwardContext
    ) {
        context.module(path, "Conv2d") {
            context.gatedDepthwise3x3(
                x, height: grid.height, width: grid.width, weight: weight, bias: bias, into: y)
            return []
        }
    }
}

extension Scratch {
    fileprivate static let inverted = Scratch()
    fileprivate static let depth = Scratch()
}
