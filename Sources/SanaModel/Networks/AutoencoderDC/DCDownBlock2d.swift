import CSanaKernels

/// diffusers' `DCDownBlock2d`: a convolution to half the size, plus means of the pixels and
/// channels that become one.
struct DCDownBlock2d: RowModule {
    let path: String
    private let conv: Convolution3x3
    private let inChannels: Int
    let outChannels: Int
    /// Whether pixels are unshuffled after the convolution, which then has a stride of 1.
    private let unshuffles: Bool
    private let hasShortcut: Bool

    init(
        _ scope: WeightScope, in inChannels: Int, out outChannels: Int, unshuffles: Bool,
        shortcut: Bool
    ) throws {
        path = scope.path
        (self.inChannels, self.outChannels) = (inChannels, outChannels)
        (self.unshuffles, hasShortcut) = (unshuffles, shortcut)
        conv = try Convolution3x3(
            scope["conv"], in: inChannels, out: unshuffles ? outChannels / 4 : outChannels,
            sampling: unshuffles ? .none : .halved)
    }

    var convolutions: [Convolution3x3] { [conv] }

    func outputSize(_ size: Int) -> Int { unshuffles ? size / 2 : conv.outputSize(size) }

    func takes(_ size: Int) -> Bool { size % 2 == 0 || !unshuffles && !hasShortcut }

    func callAsFunction(_ x: ImageBatch, _ context: ForwardContext) -> ImageBatch {
        var y = x
        context.module(path, "DCDownBlock2d") {
            if context.fusesPasses {
                y = joined(x, context)
                return []
            }
            y = output(of: x, context)
            if unshuffles {
                let fine = context.matrix(
                    .hidden, rows: x.values.rows, columns: conv.outChannels)
                conv(x.values, into: fine, x.grid, context)
                context.forEachRun(y.values, from: [fine], y.grid) { image in
                    unshuffle(
                        ImageRows(fine, image: image, height: x.grid.height, width: x.grid.width))
                }
            } else {
                conv(x.values, into: y.values, x.grid, context)
            }
            if hasShortcut {
                context.forEachRun(y.values, from: [x.values], y.grid) { shortcut(x.rows($0)) }
            }
            return [y.activation]
        }
        return y
    }

    func rows(
        from x: RowStep, in plan: RowPlan, into target: ImageRows?, _ context: ForwardContext
    ) -> RowStep {
        guard unshuffles else {
            let others: [RowStep.Input] = hasShortcut ? [.finer(x)] : []
            return plan.convolution(conv, of: x, with: others, into: target) { _ in
                hasShortcut ? x.rows.map(shortcut) : nil
            }
        }
        let fine = plan.convolution(conv, of: x) { _ in nil }
        return plan.step(
            height: x.height / 2, width: x.width / 2, channels: outChannels, into: target,
            from: [.finer(fine)] + (hasShortcut ? [.finer(x)] : [])
        ) { step, range in
            guard let from = fine.rows, let to = step.rows else { return }
            context.forEachRun(to, rows: range, unshuffle(from))
            if hasShortcut, let x = x.rows {
                context.forEachRun(to, rows: range, shortcut(x))
            }
        }
    }

    /// Writes the four pixels that become one.
    private func unshuffle(_ x: ImageRows) -> ForwardContext.PixelEpilogue {
        let gather = squares(of: x, group: 1)
        return { pixels, row, columns in
            pixels.update(repeating: 0, count: columns.count * outChannels)
            gather.add(
                x[2 * row] + 2 * columns.lowerBound * x.channels, step: 2 * x.channels, to: pixels,
                count: columns.count)
        }
    }

    /// Adds means of consecutive channels of the four pixels that become one.
    private func shortcut(_ x: ImageRows) -> ForwardContext.PixelEpilogue {
        let means = squares(of: x, group: 4 * inChannels / outChannels)
        return { pixels, row, columns in
            means.add(
                x[2 * row] + 2 * columns.lowerBound * x.channels, step: 2 * x.channels, to: pixels,
                count: columns.count)
        }
    }

    /// Channels of 2×2 pixels as diffusers' `pixel_unshuffle` orders them.
    private func squares(of x: ImageRows, group: Int) -> ChannelShortcut {
        ChannelShortcut(channels: outChannels, group: group) { n in
            (n % 4 / 2 * x.width + n % 2) * x.channels + n / 4
        }
    }
}
