import CSanaKernels

/// The first or last convolution of the encoder or decoder, with the shortcut that its parent adds
/// to it.
struct EndConvolution: RowModule {
    private let conv: Convolution3x3
    private let shortcut: ChannelShortcut?

    /// - Parameter shortcut: whether the channels are repeated, or averaged where there are fewer
    ///   after.
    init(_ scope: WeightScope, in inChannels: Int, out outChannels: Int, shortcut: Bool = false)
        throws
    {
        conv = try Convolution3x3(scope, in: inChannels, out: outChannels)
        if !shortcut {
            self.shortcut = nil
        } else if outChannels > inChannels {
            let repeats = outChannels / inChannels
            self.shortcut = ChannelShortcut(channels: outChannels) { $0 / repeats }
        } else {
            let group = inChannels / outChannels
            self.shortcut = ChannelShortcut(channels: outChannels, group: group) { $0 }
        }
    }

    var path: String { conv.path }
    var outChannels: Int { conv.outChannels }
    var convolutions: [Convolution3x3] { [conv] }

    func callAsFunction(_ x: ImageBatch, _ context: ForwardContext) -> ImageBatch {
        if context.fusesPasses {
            var y = x
            context.module(conv.path, "Conv2d") {
                y = joined(x, context)
                return []
            }
            return y
        }
        let y = output(of: x, context)
        conv(x.values, into: y.values, x.grid, context)
        if let shortcut {
            context.forEachRun(y.values, from: [x.values], y.grid) {
                Self.epilogue(shortcut, x.rows($0))
            }
        }
        return y
    }

    func rows(
        from x: RowStep, in plan: RowPlan, into target: ImageRows?, _ context: ForwardContext
    ) -> RowStep {
        plan.convolution(conv, of: x, with: shortcut == nil ? [] : [.same(x)], into: target) { _ in
            guard let shortcut else { return nil }
            return x.rows.map { Self.epilogue(shortcut, $0) }
        }
    }

    private static func epilogue(
        _ shortcut: ChannelShortcut, _ x: ImageRows
    ) -> ForwardContext.PixelEpilogue {
        { pixels, row, columns in
            shortcut.add(
                x[row] + columns.lowerBound * x.channels, step: x.channels, to: pixels,
                count: columns.count)
        }
    }
}

/// The decoder's `norm_out`, and the activation that follows it.
struct DecoderNorm: RowModule {
    private let norm: PixelRMSNorm
    private let activation: AutoencoderDCConfig.ActivationFunction
    let outChannels: Int

    init(
        _ scope: WeightScope, dim: Int, _ activation: AutoencoderDCConfig.ActivationFunction
    ) throws {
        norm = try PixelRMSNorm(scope, dim: dim)
        (self.activation, outChannels) = (activation, dim)
    }

    var path: String { norm.path }
    var convolutions: [Convolution3x3] { [] }

    func callAsFunction(_ x: ImageBatch, _ context: ForwardContext) -> ImageBatch {
        var y = x
        context.module(norm.path, "RMSNorm") {
            if context.fusesPasses {
                y = joined(x, context)
                return []
            }
            y = output(of: x, context)
            context.forEachRun(y.values, from: [x.values], y.grid) { image in
                let x = x.rows(image)
                return { pixels, row, columns in
                    norm.apply(
                        x[row] + columns.lowerBound * outChannels, into: pixels,
                        count: columns.count)
                }
            }
            return [Activation(y.values, y.grid.pixelLayout)]
        }
        if !context.fusesPasses {
            context.forEachRun(y.values, y.grid) { _ in
                { pixels, _, columns in
                    activation.apply(pixels, count: columns.count * outChannels)
                }
            }
        }
        return y
    }

    func rows(
        from x: RowStep, in plan: RowPlan, into target: ImageRows?, _ context: ForwardContext
    ) -> RowStep {
        plan.step(
            height: x.height, width: x.width, channels: outChannels, into: target, from: [.same(x)]
        ) { step, range in
            guard let from = x.rows, let to = step.rows else { return }
            context.forEachRun(to, rows: range) { pixels, row, columns in
                norm.apply(
                    from[row] + columns.lowerBound * outChannels, into: pixels,
                    count: columns.count)
                activation.apply(pixels, count: columns.count * outChannels)
            }
        }
    }
}
