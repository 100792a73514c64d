/// diffusers' `DCUpBlock2d`: a convolution to twice the size, plus the channels of each pixel
/// spread over the four that it becomes.
struct DCUpBlock2d: RowModule {
    let path: String
    private let conv: Convolution3x3
    private let hasShortcut: Bool

    init(
        _ scope: WeightScope, in inChannels: Int, out outChannels: Int, interpolates: Bool,
        shortcut: Bool
    ) throws {
        path = scope.path
        hasShortcut = shortcut
        conv = try Convolution3x3(
            scope["conv"], in: inChannels, out: outChannels,
            sampling: interpolates ? .interpolated : .shuffled)
    }

    var outChannels: Int { conv.outChannels }
    var convolutions: [Convolution3x3] { [conv] }

    func outputSize(_ size: Int) -> Int { 2 * size }

    func callAsFunction(_ x: ImageBatch, _ context: ForwardContext) -> ImageBatch {
        var y = x
        context.module(path, "DCUpBlock2d") {
            if context.fusesPasses {
                y = joined(x, context)
                return []
            }
            y = output(of: x, context)
            conv(x.values, into: y.values, x.grid, context)
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
        plan.convolution(
            conv, of: x, with: hasShortcut ? [.coarser(x)] : [], into: target
        ) { _ in hasShortcut ? x.rows.map(shortcut) : nil }
    }

    /// Adds the channels of the coarser pixel, each as often as fills the square, in the order of
    /// diffusers' `pixel_shuffle`.
    private func shortcut(_ x: ImageRows) -> ForwardContext.PixelEpilogue {
        let repeats = 4 * outChannels / x.channels
        let squares = (0..<4).map { place in
            ChannelShortcut(channels: outChannels) { (4 * $0 + place) / repeats }
        }
        return { pixels, row, columns in
            let source = x[row / 2]
            for (index, column) in columns.enumerated() {
                squares[row % 2 * 2 + column % 2].add(
                    source + column / 2 * x.channels, to: pixels + index * outChannels)
            }
        }
    }
}
