/// diffusers' `EfficientViTBlock`: linear attention, then a gated feed-forward, each with a
/// residual of its own.
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
    var isInPlace: Bool { true }

    func callAsFunction(_ x: ImageBatch, _ context: ForwardContext) -> ImageBatch {
        var y = x
        context.module(path, "EfficientViTBlock") {
            y = convOut(attn(x, context), context)
            return context.fusesPasses ? [] : [y.activation]
        }
        return y
    }
}

/// `conv_out` of a block: diffusers' `GLUMBConv` with an RMS norm and a residual.
struct ResidualGLUMBConv {
    private let glumb: GLUMBConv
    private let norm: PixelRMSNorm

    init(_ scope: WeightScope, dim: Int) throws {
        glumb = try GLUMBConv(scope, dim: dim, hiddenDim: 4 * dim)
        norm = try PixelRMSNorm(scope["norm"], dim: dim)
    }

    /// - Returns: `x` itself, changed, where passes are joined.
    func callAsFunction(_ x: ImageBatch, _ context: ForwardContext) -> ImageBatch {
        var y = x
        context.module(glumb.path, "GLUMBConv") {
            if context.fusesPasses {
                for image in 0..<x.grid.batch { add(to: x.rows(image), context) }
                return []
            }
            y = x.successor(channels: x.values.columns, context)
            glumb.branch(x.values, into: y.values, x.grid, context)
            BlockNorm.rms(norm)(y.values, x.grid, context)
            context.add(x.values, to: y.values)
            return [y.activation]
        }
        return y
    }

    /// Row by row, in place.
    private func add(to x: ImageRows, _ context: ForwardContext) {
        let plan = RowPlan(context)
        let inverted = plan.product(
            of: plan.source(x), channels: 2 * glumb.hiddenDim, context
        ) { x, y in glumb.convInverted.apply(x, then: .silu, into: y, context) }
        let gated = plan.step(
            height: x.height, width: x.width, channels: glumb.hiddenDim, from: [.around(inverted)]
        ) { step, range in
            guard let from = inverted.rows, let to = step.rows else { return }
            context.gatedDepthwise3x3(
                from, weight: glumb.convDepth.weight, bias: glumb.convDepth.bias, into: to,
                rows: range)
        }
        let branch = plan.product(of: gated, channels: x.channels, context) { x, y in
            glumb.convPoint.apply(x, into: y, context)
        }
        plan.add(branch, to: x, .rms(norm), context)
        plan.run()
    }
}

extension RowPlan {
    /// A step that adds the norms of `branch` to `image` in place. Whatever else reads a row of the
    /// image must have done so by the time that its branch is made.
    func add(
        _ branch: RowStep, to image: ImageRows, _ norm: BlockNorm, _ context: ForwardContext
    ) {
        _ = step(
            height: image.height, width: image.width, channels: image.channels, into: image,
            from: [.same(branch)]
        ) { _, range in
            guard let from = branch.rows else { return }
            context.forEachRun(image, rows: range) { pixels, row, columns in
                norm.apply(
                    from[row] + columns.lowerBound * image.channels, residual: pixels,
                    into: pixels, count: columns.count, channels: image.channels)
            }
        }
    }

    /// A step that is a product with the rows of another.
    ///
    /// - Parameter body: multiplies adjacent rows.
    func product(
        of x: RowStep, channels: Int, into target: ImageRows? = nil, _ context: ForwardContext,
        _ body: @escaping (_ x: Matrix, _ y: Matrix) -> Void
    ) -> RowStep {
        step(
            height: x.height, width: x.width, channels: channels, into: target, from: [.same(x)]
        ) { step, range in
            guard let from = x.rows, let to = step.rows else { return }
            for output in to.runs(range) {
                for input in from.runs(output.rows) {
                    let first = input.rows.lowerBound - output.rows.lowerBound
                    body(
                        input.values, output.values.rows(first * to.width, input.values.rows))
                }
            }
        }
    }
}
