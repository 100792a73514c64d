/// An image that is made row by row from others, and kept only as long as they are read.
final class RowStep {
    /// What it reads.
    struct Input {
        let step: RowStep
        /// Rows read for a range of its own; they are cut to the image.
        let rows: (Range<Int>) -> Range<Int>

        /// Rows read for `range`, within the image.
        fileprivate func needed(for range: Range<Int>) -> Range<Int> {
            rows(range).clamped(to: 0..<step.height)
        }
    }

    let height: Int
    let width: Int
    let channels: Int
    fileprivate let inputs: [Input]
    /// Rows that are made together; the last of them may be fewer.
    fileprivate let unit: Int
    fileprivate let make: (RowStep, Range<Int>) -> Void
    /// Paths of the modules that it is part of, the outermost first.
    fileprivate let owners: [String]
    /// Rows made so far.
    fileprivate var made = 0
    /// Rows that must be in memory at a time.
    fileprivate var capacity = 0
    /// Where its rows are; a step without channels has none.
    fileprivate(set) var rows: ImageRows?
    /// Weights of its convolution, which all stripes read.
    fileprivate(set) var packed: PackedConvolution?

    fileprivate init(
        height: Int, width: Int, channels: Int, unit: Int, inputs: [Input],
        owners: [String] = [], make: @escaping (RowStep, Range<Int>) -> Void
    ) {
        (self.height, self.width, self.channels) = (height, width, channels)
        (self.unit, self.inputs, self.owners, self.make) = (unit, inputs, owners, make)
    }
}

/// Images that are made from each other a few rows at a time, so that no more of them is in memory
/// than is still read.
///
/// Which rows are made together does not show in them: every pixel is computed from its neighbours
/// in one way, whatever the stripe.
final class RowPlan {
    let context: ForwardContext
    private var steps: [RowStep] = []
    private var layouts: [(layout: ConvolutionLayout, step: RowStep)] = []
    /// Paths of the modules that steps are added for, the outermost first; the probe hears of their
    /// pieces.
    var owners: [String] = []

    init(_ context: ForwardContext) { self.context = context }

    /// An image that is there already.
    func source(_ rows: ImageRows) -> RowStep {
        let step = RowStep(
            height: rows.height, width: rows.width, channels: rows.channels, unit: 1, inputs: []
        ) { _, _ in }
        (step.rows, step.made) = (rows, rows.height)
        return step
    }

    /// An image that `make` writes.
    ///
    /// - Parameters:
    ///   - target: the whole image, where it is kept.
    ///   - make: writes a range of rows, whose inputs are there.
    func step(
        height: Int, width: Int, channels: Int, unit: Int = 1, into target: ImageRows? = nil,
        from inputs: [RowStep.Input], make: @escaping (RowStep, Range<Int>) -> Void
    ) -> RowStep {
        let step = RowStep(
            height: height, width: width, channels: channels, unit: unit, inputs: inputs,
            owners: owners, make: make)
        step.rows = target
        steps.append(step)
        return step
    }

    /// Has the weights of a step packed once for all stripes.
    func pack(_ layout: ConvolutionLayout, for step: RowStep) { layouts.append((layout, step)) }

    /// Makes all rows of the last step, some at a time.
    ///
    /// - Parameter pixels: made together of the coarsest image, at least.
    func run(pixels: Int = 2048) {
        guard let last = steps.last, let coarsest = steps.min(by: { $0.width < $1.width }) else {
            return
        }
        let lines = (pixels + coarsest.width - 1) / coarsest.width
        let stripe = min(lines * max(1, last.height / coarsest.height), last.height)
        rehearse(last, stripe)
        let rings = steps.filter { $0.rows == nil && $0.channels > 0 }
        let sizes = rings.map { ($0.capacity * $0.width * $0.channels + 15) / 16 * 16 }
        let total = sizes.reduce(0, +) + layouts.reduce(0) { $0 + $1.layout.floats }
        let memory = context.matrix(.plan, rows: 1, columns: total).buffer
        var offset = 0
        for (layout, step) in layouts {
            telling(step.owners) {
                step.packed = PackedConvolution(layout, in: memory.pointer + offset, context)
            }
            offset += layout.floats
        }
        for (step, size) in zip(rings, sizes) {
            let values = Matrix(
                memory, offset: offset, rows: step.capacity * step.width, columns: step.channels)
            step.rows = ImageRows(values, height: step.height, width: step.width)
            offset += size
        }
        for end in Self.ends(last, stripe) {
            advance(last, to: end) { step, range in
                telling(step.owners) { step.make(step, range) }
            }
        }
        // Steps refer to each other from the closures that make them.
        (steps, layouts) = ([], [])
    }

    /// Runs a piece of modules under the probe.
    private func telling(_ owners: [String], _ piece: () -> Void) {
        for path in owners { context.probe?.resume(path) }
        piece()
        for path in owners.reversed() { context.probe?.pause(path) }
    }

    /// Goes through all ranges without making any row, to learn how many of each must be kept.
    private func rehearse(_ last: RowStep, _ stripe: Int) {
        for end in Self.ends(last, stripe) {
            advance(last, to: end) { step, range in
                step.capacity = max(step.capacity, range.count)
                for input in step.inputs {
                    let kept = input.step.made - input.needed(for: range).lowerBound
                    input.step.capacity = max(input.step.capacity, kept)
                }
            }
        }
        for step in steps {
            step.made = 0
            // Pairs of rows that start at an even one stay next to each other.
            step.capacity = min((step.capacity + 1) / 2 * 2, step.height)
        }
    }

    private static func ends(_ step: RowStep, _ stripe: Int) -> [Int] {
        stride(from: stripe, to: step.height + stripe, by: stripe).map { min($0, step.height) }
    }

    private func advance(_ step: RowStep, to end: Int, _ visit: (RowStep, Range<Int>) -> Void) {
        let end = min((end + step.unit - 1) / step.unit * step.unit, step.height)
        guard step.made < end else { return }
        let range = step.made..<end
        for input in step.inputs {
            advance(input.step, to: input.needed(for: range).upperBound, visit)
        }
        visit(step, range)
        step.made = end
    }
}

extension RowStep.Input {
    /// The same rows.
    static func same(_ step: RowStep) -> RowStep.Input { .init(step: step) { $0 } }

    /// `reach` more at both ends.
    static func around(_ step: RowStep, _ reach: Int = 1) -> RowStep.Input {
        .init(step: step) { $0.lowerBound - reach..<$0.upperBound + reach }
    }

    /// Every row, whichever are made.
    static func all(_ step: RowStep) -> RowStep.Input {
        .init(step: step) { [height = step.height] _ in 0..<height }
    }

    /// Two rows for each, and `reach` more above.
    static func finer(_ step: RowStep, _ reach: Int = 0) -> RowStep.Input {
        .init(step: step) { 2 * $0.lowerBound - reach..<2 * $0.upperBound }
    }

    /// A row for each two, and `reach` more at both ends.
    static func coarser(_ step: RowStep, _ reach: Int = 0) -> RowStep.Input {
        .init(step: step) { $0.lowerBound / 2 - reach..<$0.upperBound / 2 + reach }
    }
}

extension Scratch {
    fileprivate static let plan = Scratch()
}
