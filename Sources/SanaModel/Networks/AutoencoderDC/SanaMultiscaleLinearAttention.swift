/// diffusers' `SanaMultiscaleLinearAttention`: linear attention over the queries, keys and values
/// of each pixel, and over sums of those around it at several scales.
///
/// Heads take consecutive channels of the three projections side by side, so that a head's query,
/// key and value need not be from `to_q`, `to_k` and `to_v`.
struct SanaMultiscaleLinearAttention: Sendable {
    private let path: String
    private let dim: Int
    private let innerDim: Int
    private let toQ: Linear
    private let toK: Linear
    private let toV: Linear
    private let toQKVMultiscale: [SanaMultiscaleAttentionProjection]
    private let toOut: Linear
    private let normOut: BlockNorm
    let outChannels: Int

    init(_ scope: WeightScope, _ stage: AutoencoderDCConfig.Stage, headDim: Int) throws {
        path = scope.path
        dim = headDim
        outChannels = stage.width
        let heads = stage.width / headDim
        let innerDim = heads * headDim
        self.innerDim = innerDim
        toQ = try Linear(scope["to_q"], in: stage.width, out: innerDim, bias: false)
        toK = try Linear(scope["to_k"], in: stage.width, out: innerDim, bias: false)
        toV = try Linear(scope["to_v"], in: stage.width, out: innerDim, bias: false)
        let scales = scope["to_qkv_multiscale"]
        toQKVMultiscale = try stage.multiscales.enumerated().map { index, kernel in
            try SanaMultiscaleAttentionProjection(
                scales[index], channels: 3 * innerDim, kernel: kernel, groupDim: headDim)
        }
        toOut = try Linear(
            scope["to_out"], in: innerDim * (1 + stage.multiscales.count), out: stage.width,
            bias: false)
        normOut = try BlockNorm(scope["norm_out"], dim: stage.width, stage.norm)
    }

    private var attendedChannels: Int { innerDim * (1 + toQKVMultiscale.count) }

    /// - Returns: `x` itself, changed, where passes are joined.
    func callAsFunction(_ x: ImageBatch, _ context: ForwardContext) -> ImageBatch {
        var y = x
        context.module(path, "SanaMultiscaleLinearAttention") {
            if context.fusesPasses {
                for image in 0..<x.grid.batch { attend(in: x.rows(image), context) }
                return []
            }
            y = x.successor(channels: outChannels, context)
            whole(x, into: y, context)
            return [y.activation]
        }
        return y
    }

    /// Whether so many pixels attend to each other's sums, and not to each other.
    private func isLinear(_ grid: TokenGrid) -> Bool { grid.height * grid.width > dim }

    private func sums(_ context: ForwardContext) -> Matrix {
        context.matrix(
            .sums, rows: attendedChannels / dim * (dim + 1), columns: dim)
    }
}

// MARK: Whole activations

extension SanaMultiscaleLinearAttention {
    private func whole(_ x: ImageBatch, into y: ImageBatch, _ context: ForwardContext) {
        let grid = x.grid
        let parts = [Scratch.query, .key, .value].map {
            context.matrix($0, rows: x.values.rows, columns: innerDim)
        }
        for (linear, part) in zip([toQ, toK, toV], parts) {
            linear(x.values, into: part, grid.pixelLayout, context)
        }
        let qkv = context.matrix(.qkv, rows: x.values.rows, columns: 3 * innerDim)
        context.forEachRun(qkv, from: parts, grid) { image in
            { pixels, row, columns in
                for (index, column) in columns.enumerated() {
                    let pixel = (image * grid.height + row) * grid.width + column
                    for (place, part) in parts.enumerated() {
                        (pixels + (3 * index + place) * innerDim).update(
                            from: part.row(pixel), count: innerDim)
                    }
                }
            }
        }
        let scales =
            [qkv]
            + toQKVMultiscale.enumerated().map { index, projection in
                let scale = context.matrix(
                    .multiscale[index], rows: qkv.rows, columns: qkv.columns)
                projection(qkv, into: scale, grid, context)
                return scale
            }
        let attended = context.matrix(.attended, rows: qkv.rows, columns: attendedChannels)
        attend(scales, into: attended, grid, context)
        toOut(attended, into: y.values, grid.pixelLayout, context)
        normOut(y.values, grid, context)
        context.add(x.values, to: y.values)
    }

    private func attend(
        _ scales: [Matrix], into attended: Matrix, _ grid: TokenGrid, _ context: ForwardContext
    ) {
        let pixels = grid.height * grid.width
        let perPixel = isLinear(grid) ? 2 * (dim + 1) : 2 * pixels
        let work = ModuleGraph.Work(
            operations: 2 * attended.count * perPixel, floats: 4 * attended.count)
        if context.records(scales, into: attended, work) { return }
        for image in 0..<grid.batch {
            let images = scales.map {
                ImageRows($0, image: image, height: grid.height, width: grid.width)
            }
            let y = ImageRows(attended, image: image, height: grid.height, width: grid.width)
            if isLinear(grid) {
                let sums = clearedSums(context)
                context.attentionSums(images, rows: 0..<grid.height, dim: dim, into: sums)
                context.linearAttention(
                    images, rows: 0..<grid.height, dim: dim, sums: sums, into: y)
            } else {
                context.quadraticAttention(images, dim: dim, into: y)
            }
        }
    }

    private func clearedSums(_ context: ForwardContext) -> Matrix {
        let sums = sums(context)
        sums.pointer.update(repeating: 0, count: sums.count)
        return sums
    }
}

// MARK: Row by row

extension SanaMultiscaleLinearAttention {
    /// Adds the branch to an image in place. Goes over the image twice, as every pixel needs sums
    /// over all: the projections of large images are made again rather than kept.
    private func attend(in x: ImageRows, _ context: ForwardContext) {
        let linear = x.height * x.width > dim
        let sums = clearedSums(context)
        var kept: ImageRows?
        if linear {
            let (pixels, channels) = (x.height * x.width, 3 * innerDim)
            if pixels * channels <= context.mostKeptFloats {
                kept = ImageRows(
                    Matrix(rows: pixels, columns: channels), height: x.height, width: x.width)
            }
            let plan = RowPlan(context)
            let qkv = queriesKeysAndValues(of: plan.source(x), in: plan, into: kept, context)
            let scales = atEachScale(qkv, in: plan, context)
            _ = plan.step(
                height: x.height, width: x.width, channels: 0,
                from: scales.map { RowStep.Input.same($0) }
            ) { _, range in
                context.attentionSums(scales.compactMap(\.rows), rows: range, dim: dim, into: sums)
            }
            plan.run()
        }
        let plan = RowPlan(context)
        let qkv =
            kept.map(plan.source)
            ?? queriesKeysAndValues(of: plan.source(x), in: plan, into: nil, context)
        let scales = atEachScale(qkv, in: plan, context)
        let attended = plan.step(
            height: x.height, width: x.width, channels: attendedChannels,
            unit: linear ? 1 : x.height, from: scales.map { linear ? .same($0) : .all($0) }
        ) { step, range in
            guard let to = step.rows else { return }
            let images = scales.compactMap(\.rows)
            if linear {
                context.linearAttention(images, rows: range, dim: dim, sums: sums, into: to)
            } else {
                context.quadraticAttention(images, dim: dim, into: to)
            }
        }
        let branch = plan.product(of: attended, channels: outChannels, context) {
            toOut.apply($0, into: $1, context)
        }
        plan.add(branch, to: x, normOut, context)
        plan.run()
    }

    private func queriesKeysAndValues(
        of x: RowStep, in plan: RowPlan, into target: ImageRows?, _ context: ForwardContext
    ) -> RowStep {
        plan.product(of: x, channels: 3 * innerDim, into: target, context) { x, y in
            context.sharing(x) {
                for (index, linear) in [toQ, toK, toV].enumerated() {
                    context.multiply(
                        x, linear.weight, bias: nil, into: y, at: index * innerDim)
                }
            }
        }
    }

    private func atEachScale(
        _ qkv: RowStep, in plan: RowPlan, _ context: ForwardContext
    ) -> [RowStep] {
        [qkv] + toQKVMultiscale.map { $0.rows(from: qkv, in: plan, context) }
    }
}

/// diffusers' `SanaMultiscaleAttentionProjection`: a depthwise convolution of queries, keys and
/// values, then a 1×1 convolution in groups as wide as a head.
struct SanaMultiscaleAttentionProjection {
    private let path: String
    private let projInPath: String
    private let projOutPath: String
    private let kernel: Int
    private let groupDim: Int
    /// `[kernel², channels]`
    private let projIn: FloatBuffer
    /// Panels of the groups.
    private let projOut: FloatBuffer

    init(_ scope: WeightScope, channels: Int, kernel: Int, groupDim: Int) throws {
        path = scope.path
        (self.kernel, self.groupDim) = (kernel, groupDim)
        let input = scope["proj_in"].holding(.depthwiseConvolution, .attention)
        let output = scope["proj_out"].holding(.groupedConvolution, .attention)
        (projInPath, projOutPath) = (input.path, output.path)
        projIn = try input.parameter("weight", shape: [channels, 1, kernel, kernel])
            .transposed(columns: kernel * kernel)
        let weight = try output.parameter("weight", shape: [channels, groupDim, 1, 1])
        let floats = PanelProduct.fp32.floats(rows: groupDim, columns: groupDim)
        // A placeholder is empty.
        let groups = weight.count / (groupDim * groupDim)
        projOut = FloatBuffer(count: groups * floats)
        for group in 0..<groups {
            PanelProduct.fp32.pack(
                weight.pointer + group * groupDim * groupDim, rows: groupDim, columns: groupDim,
                stride: groupDim, into: projOut.pointer + group * floats)
        }
    }

    func callAsFunction(_ x: Matrix, into y: Matrix, _ grid: TokenGrid, _ context: ForwardContext) {
        func forEachImage(_ from: Matrix, _ to: Matrix, _ body: (ImageRows, ImageRows) -> Void) {
            for image in 0..<grid.batch {
                body(
                    ImageRows(from, image: image, height: grid.height, width: grid.width),
                    ImageRows(to, image: image, height: grid.height, width: grid.width))
            }
        }
        func work(_ taps: Int) -> ModuleGraph.Work {
            ModuleGraph.Work(operations: 2 * taps * x.count, floats: 2 * x.count)
        }
        context.module(path, "SanaMultiscaleAttentionProjection") {
            let around = context.matrix(.around, rows: x.rows, columns: x.columns)
            context.module(projInPath, "Conv2d") {
                if !context.records([x], into: around, work(kernel * kernel)) {
                    forEachImage(x, around) {
                        context.depthwise(
                            $0, kernel: kernel, weight: projIn, into: $1, rows: 0..<grid.height)
                    }
                }
                return [Activation(around, grid.imageLayout)]
            }
            context.module(projOutPath, "Conv2d") {
                if !context.records([around], into: y, work(groupDim)) {
                    forEachImage(around, y) {
                        context.multiplyGroups(
                            $0, panels: projOut, dim: groupDim, into: $1, rows: 0..<grid.height)
                    }
                }
                return [Activation(y, grid.imageLayout)]
            }
            return [Activation(y, grid.imageLayout)]
        }
    }

    /// Appends its steps to a plan.
    func rows(from x: RowStep, in plan: RowPlan, _ context: ForwardContext) -> RowStep {
        let around = plan.step(
            height: x.height, width: x.width, channels: x.channels, from: [.around(x, kernel / 2)]
        ) { step, range in
            guard let from = x.rows, let to = step.rows else { return }
            context.depthwise(from, kernel: kernel, weight: projIn, into: to, rows: range)
        }
        return plan.step(
            height: x.height, width: x.width, channels: x.channels, from: [.same(around)]
        ) { step, range in
            guard let from = around.rows, let to = step.rows else { return }
            context.multiplyGroups(from, panels: projOut, dim: groupDim, into: to, rows: range)
        }
    }
}

extension Scratch {
    fileprivate static let sums = Scratch()
    fileprivate static let qkv = Scratch()
    fileprivate static let multiscale = Scratch()
    fileprivate static let around = Scratch()
}
