import CSanaKernels

/// diffusers' `ResBlock`: x + norm(conv2(act(conv1(x)))).
struct ResBlock: RowModule {
    let path: String
    private let activationPath: String
    private let conv1: Convolution3x3
    private let conv2: Convolution3x3
    private let norm: BlockNorm
    private let activation: AutoencoderDCConfig.ActivationFunction

    init(_ scope: WeightScope, _ stage: AutoencoderDCConfig.Stage) throws {
        path = scope.path
        activationPath = scope["nonlinearity"].path
        activation = stage.activation
        conv1 = try Convolution3x3(scope["conv1"], in: stage.width, out: stage.width)
        conv2 = try Convolution3x3(
            scope["conv2"], in: stage.width, out: stage.width, bias: false)
        norm = try BlockNorm(scope["norm"], dim: stage.width, stage.norm)
    }

    var outChannels: Int { conv2.outChannels }
    var convolutions: [Convolution3x3] { [conv1, conv2] }

    func callAsFunction(_ x: ImageBatch, _ context: ForwardContext) -> ImageBatch {
        var y = x
        context.module(path, "ResBlock") {
            if context.fusesPasses {
                y = joined(x, context)
                return []
            }
            y = output(of: x, context)
            let hidden = context.matrix(.hidden, rows: x.values.rows, columns: outChannels)
            conv1(x.values, into: hidden, x.grid, context)
            context.module(activationPath, activation.kind) {
                context.forEachRun(hidden, x.grid) { _ in activate }
                return [Activation(hidden, x.grid.imageLayout)]
            }
            conv2(hidden, into: y.values, x.grid, context)
            norm(y.values, x.grid, context)
            context.add(x.values, to: y.values)
            return [y.activation]
        }
        return y
    }

    func rows(
        from x: RowStep, in plan: RowPlan, into target: ImageRows?, _ context: ForwardContext
    ) -> RowStep {
        let hidden = plan.convolution(conv1, of: x) { _ in activate }
        return plan.convolution(conv2, of: hidden, with: [.same(x)], into: target) { _ in
            guard let residual = x.rows else { return nil }
            return { pixels, row, columns in
                norm.apply(
                    pixels, residual: residual[row] + columns.lowerBound * outChannels,
                    into: pixels, count: columns.count, channels: outChannels)
            }
        }
    }

    private func activate(
        _ pixels: UnsafeMutablePointer<Float>, _ row: Int, _ columns: Range<Int>
    ) {
        activation.apply(pixels, count: columns.count * outChannels)
    }
}

extension RowPlan {
    /// A step that convolves the rows of another.
    ///
    /// - Parameters:
    ///   - others: what the epilogue reads.
    ///   - epilogue: what is done to its pixels, once the rows of all steps have their places.
    func convolution(
        _ convolution: Convolution3x3, of x: RowStep, with others: [RowStep.Input] = [],
        into target: ImageRows? = nil,
        then epilogue: @escaping (RowStep) -> ForwardContext.PixelEpilogue?
    ) -> RowStep {
        let layout = ConvolutionLayout(convolution, context.floatProduct)
        let input: RowStep.Input =
            switch convolution.sampling {
            case .none: .around(x)
            case .halved: .finer(x, 1)
            case .interpolated, .shuffled: .coarser(x, 1)
            }
        let result = step(
            height: convolution.outputSize(x.height), width: convolution.outputSize(x.width),
            channels: convolution.outChannels, unit: layout.isSquare ? 2 : convolution.scale,
            into: target, from: [input] + others
        ) { [context] step, range in
            guard let from = x.rows, let to = step.rows, let packed = step.packed else { return }
            context.convolve(from, packed, into: to, rows: range, then: epilogue(step))
        }
        pack(layout, for: result)
        return result
    }
}
