/// diffusers' `EfficientViTBlock`: linear attention, then a gated feed-forward, each with a residual of
/// its own.
struct EfficientViTBlock: ImageModule {
    private let path: String
    private let attn: SanaMultiscaleLinearAttention
    private let convOut: ResidualGLUMBConv

    init(_ scope: WeightScope, _ stage: AutoencoderDCConfig.Stage, headDim: Int) throws {
        path = scope.path
        attn = try SanaMultiscaleLinearAttention(
            scope["attn"].holding(.attention, .attention), stage, headDim: headDim)
        convOut = try ResidualGLUMBConv(scope["conv_out"], dim: stage.width)
    }

    var outChannels: Int { attn.outChannels }

    func callAsFunction(_ x: ImageBatch, _ context: ForwardContext) -> ImageBatch {
        var y = x
        context.module(path, "EfficientViTBlock") {
            y = convOut(attn(x, context), context)
            return context.joinsPasses ? [] : [y.activation]
        }
        return y
    }
}

/// `conv_out` of a block: diffusers' `GLUMBConv` with an RMS norm and a residual.
struct ResidualGLUMBConv: RowModule {
    private let glumb: GLUMBConv
    private let norm: PixelRMSNorm
    let outChannels: Int

    init(_ scope: WeightScope, dim: Int) throws {
        glumb = try GLUMBConv(scope, dim: dim, hiddenDim: 4 * dim)
        norm = try PixelRMSNorm(scope["norm"], dim: dim)
        outChannels = dim
    }

    var path: String { glumb.path }
    var convolutions: [Convolution3x3] { [] }

    func callAsFunction(_ x: ImageBatch, _ context: ForwardContext) -> ImageBatch {
        var y = x
        context.module(glumb.path, "GLUMBConv") {
            if context.joinsPasses {
                y = joined(x, context)
                return []
            }
            y = output(of: x, context)
            glumb.branch(x.values, into: y.values, x.grid, context)
            BlockNorm.rms(norm)(y.values, x.grid, context)
            context.add(x.values, to: y.values)
            return [y.activation]
        }
        return y
    }

    func rows(
        from x: RowStep, in plan: RowPlan, into target: ImageRows?, _ context: ForwardContext
    ) -> RowStep {
        let inverted = plan.product(
            of: x, channels: 2 * glumb.hiddenDim, context
        ) { x, y in glumb.convInverted.apply(x, then: .silu, into: y, context) }
        let gated = plan.step(
            height: x.height, width: x.width, channels: glumb.hiddenDim, from: [.around(inverted)]
        ) { step, range in
            guard let from = inverted.rows, let to = step.rows else { return }
            context.gatedDepthwise3x3(
                from, weight: glumb.convDepth.weight, bias: glumb.convDepth.bias, into: to,
                rows: range)
        }
        return plan.product(
            of: gated, channels: outChannels, with: [.same(x)], into: target, context
        ) { x, y in
            glumb.convPoint.apply(x, into: y, context)
        } then: { pixels, row, columns in
            guard let residual = x.rows else { return }
            norm.apply(
                pixels, residual: residual[row] + columns.lowerBound * outChannels, into: pixels,
                count: columns.count)
        }
    }
}

extension RowPlan {
    /// A step that is a product with the rows of another.
    ///
    /// - Parameters:
    ///   - others: what the epilogue reads.
    ///   - body: multiplies rows that lie next to each other.
    ///   - epilogue: what is done to its pixels.
    func product(
        of x: RowStep, channels: Int, with others: [RowStep.Input] = [],
        into target: ImageRows? = nil, _ context: ForwardContext,
        _ body: @escaping (_ x: Matrix, _ y: Matrix) -> Void,
        then epilogue: ForwardContext.PixelEpilogue? = nil
    ) -> RowStep {
        step(
            height: x.height, width: x.width, channels: channels, into: target,
            from: [.same(x)] + others
        ) { step, range in
            guard let from = x.rows, let to = step.rows else { return }
            for output in to.runs(range) {
                for input in from.runs(output.rows) {
                    let first = input.rows.lowerBound - output.rows.lowerBound
                    body(
                        input.values, output.values.rows(first * to.width, input.values.rows))
                }
            }
            if let epilogue { context.forEachRun(to, rows: range, epilogue) }
        }
    }
}
