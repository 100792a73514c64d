/// The modules of an encoder or decoder, in the order in which they run.
struct ModuleChain: Sendable {
    /// Modules in one `nn.Sequential`.
    struct Stage: Sendable {
        let path: String
        let modules: [any ImageModule]
    }

    let first: any ImageModule
    let stages: [Stage]
    let last: [any ImageModule]
    /// Whether the largest images come first, as in an encoder.
    let beginsFine: Bool

    private var modules: [any ImageModule] { [first] + stages.flatMap(\.modules) + last }

    /// Height or width of what comes out for one of `size`; `nil` where a module does not take it.
    func outputSize(_ size: Int) -> Int? {
        var size = size
        for module in modules {
            guard module.takes(size), size < 1 << 32 else { return nil }
            size = module.outputSize(size)
        }
        return size
    }

    /// One forward.
    ///
    /// - Parameter input: `[batch, channels, height, width]`, of a height and width that fit.
    func callAsFunction(_ input: DenseTensor, _ context: ForwardContext) -> DenseTensor {
        let (batch, height, width) = (input.shape[0], input.shape[2], input.shape[3])
        let channels = modules.last?.outChannels ?? 0
        let output = context.tensor(shape: [
            batch, channels, outputSize(height) ?? 0, outputSize(width) ?? 0,
        ])
        if context.fusesPasses {
            joined(input, into: output, context)
        } else {
            whole(input, into: output, context)
        }
        return output
    }

    /// Module by module.
    private func whole(_ input: DenseTensor, into output: DenseTensor, _ context: ForwardContext) {
        var x = first(read(input, context), context)
        for stage in stages {
            context.module(stage.path, "Sequential") {
                for module in stage.modules { x = module(x, context) }
                return [x.activation]
            }
        }
        for module in last { x = module(x, context) }
        context.writePlanes(x.values, into: output, x.grid)
    }

    private func read(_ input: DenseTensor, _ context: ForwardContext) -> ImageBatch {
        let grid = TokenGrid(batch: input.shape[0], height: input.shape[2], width: input.shape[3])
        let x = context.images(slot: 0, grid, channels: input.shape[1])
        context.readPlanes(input, into: x.values, grid)
        return x
    }
}

// MARK: Largest images row by row

extension ModuleChain {
    /// Floats of packed weights that a run of modules may keep.
    private static let mostPackedFloats = 96 << 20
    /// Pixels of its coarsest image that such a run makes at a time.
    private static let pixelsTogether = 256

    /// Modules that are joined together or not at all: one, or those of a stage.
    private var parts: [Stage] {
        func alone(_ module: any ImageModule) -> Stage { Stage(path: "", modules: [module]) }
        return [alone(first)] + stages + last.map(alone)
    }

    /// How many parts at the end with the largest images are made row by row, one from another.
    private var fineCount: Int {
        let ordered = beginsFine ? parts : parts.reversed()
        var (count, floats) = (0, 0)
        for part in ordered {
            let modules = part.modules.compactMap { $0 as? any RowModule }
            floats += modules.reduce(0) { $0 + $1.packedFloats }
            guard modules.count == part.modules.count, floats <= Self.mostPackedFloats else {
                break
            }
            count += 1
        }
        return count
    }

    private func joined(_ input: DenseTensor, into output: DenseTensor, _ context: ForwardContext) {
        let (parts, fine) = (parts, fineCount)
        let split = beginsFine ? fine : parts.count - fine
        let head = beginsFine ? parts[..<split] : []
        let middle = beginsFine ? parts[split...] : parts[..<split]
        let tail = beginsFine ? [] : parts[split...]
        if middle.isEmpty {
            stream(beginsFine ? head : tail, from: .planes(input), to: .planes(output), context)
            return
        }
        var x: ImageBatch
        if head.isEmpty {
            x = read(input, context)
        } else {
            let modules = head.flatMap(\.modules)
            let grid = TokenGrid(
                batch: input.shape[0], height: modules.reduce(input.shape[2]) { $1.outputSize($0) },
                width: modules.reduce(input.shape[3]) { $1.outputSize($0) })
            x = context.images(slot: 0, grid, channels: modules.last?.outChannels ?? 0)
            stream(head, from: .planes(input), to: .images(x), context)
        }
        for part in middle {
            guard !part.path.isEmpty else {
                for module in part.modules { x = module(x, context) }
                continue
            }
            context.module(part.path, "Sequential") {
                for module in part.modules { x = module(x, context) }
                return []
            }
        }
        if tail.isEmpty {
            context.writePlanes(x.values, into: output, x.grid)
        } else {
            stream(tail, from: .images(x), to: .planes(output), context)
        }
    }

    /// Where a run of modules has its images from, or puts them.
    private enum End {
        case planes(DenseTensor)
        case images(ImageBatch)
    }

    /// Runs modules row by row, for each image of the batch.
    private func stream(
        _ parts: ArraySlice<Stage>, from input: End, to output: End, _ context: ForwardContext
    ) {
        let batch: Int =
            switch input {
            case .planes(let tensor): tensor.shape[0]
            case .images(let images): images.grid.batch
            }
        let modules = parts.flatMap { part in
            part.modules.compactMap { $0 as? any RowModule }.map { module in
                (module, [part.path, module.path].filter { !$0.isEmpty })
            }
        }
        for image in 0..<batch {
            let plan = RowPlan(context)
            var x = source(input, image, plan, context)
            for (index, (module, owners)) in modules.enumerated() {
                var target: ImageRows?
                if index == modules.count - 1, case .images(let images) = output {
                    target = images.rows(image)
                }
                plan.owners = owners
                x = module.rows(from: x, in: plan, into: target, context)
            }
            plan.owners = []
            if case .planes(let tensor) = output { write(x, image, of: tensor, plan, context) }
            plan.run(pixels: Self.pixelsTogether)
        }
        for part in parts {
            for case let module as any RowModule in part.modules {
                context.probe?.finish(module.path)
            }
            if !part.path.isEmpty { context.probe?.finish(part.path) }
        }
    }

    /// Adds the step that writes an image of a tensor.
    private func write(
        _ x: RowStep, _ image: Int, of tensor: DenseTensor, _ plan: RowPlan,
        _ context: ForwardContext
    ) {
        let planes = tensor.values.pointer + image * (tensor.count / tensor.shape[0])
        _ = plan.step(height: x.height, width: x.width, channels: 0, from: [.same(x)]) { _, range in
            guard let rows = x.rows else { return }
            context.writePlanes(rows, rows: range, into: planes)
        }
    }

    private func source(
        _ input: End, _ image: Int, _ plan: RowPlan, _ context: ForwardContext
    ) -> RowStep {
        switch input {
        case .images(let images): return plan.source(images.rows(image))
        case .planes(let tensor):
            let (channels, height, width) = (tensor.shape[1], tensor.shape[2], tensor.shape[3])
            return plan.step(height: height, width: width, channels: channels, from: []) {
                step, range in
                guard let rows = step.rows else { return }
                context.readPlanes(
                    tensor.values.pointer + image * channels * height * width, into: rows,
                    rows: range)
            }
        }
    }

    /// Floats of a forward on so large images, not counting weights: those that are whole, in the
    /// two buffers that modules write in turn, what attention keeps, and some rows of all others.
    func floats(batch: Int, channels: Int, height: Int, width: Int) -> Double {
        let fine = (beginsFine ? parts.prefix(fineCount) : parts.suffix(fineCount))
            .reduce(0) { $0 + $1.modules.count }
        var (height, width, rows) = (height, width, 0.0)
        let input = Double(batch) * Double(channels) * Double(height) * Double(width)
        var (slots, slot, total) = ([beginsFine && fine > 0 ? 0 : input, 0], 0, input)
        for (index, module) in modules.enumerated() {
            (height, width) = (module.outputSize(height), module.outputSize(width))
            let row = Double(width) * Double(module.outChannels)
            // Shortcuts find channels of two rows by 32-bit numbers.
            if 2 * row >= 0x1p31 { return .infinity }
            let output = row * Double(height) * Double(batch)
            if beginsFine ? index < fine : index >= modules.count - fine {
                rows += 32 * row
                if index == fine - 1, beginsFine { slots[slot] = output }
            } else {
                if !module.isInPlace { slot = 1 - slot }
                slots[slot] = max(slots[slot], output)
            }
            if index == modules.count - 1 { total += output }
        }
        let whole = slots.max() ?? 0
        let kept = min(3 * whole, Double(ForwardContext.mostKeptFloats))
        return total + slots.reduce(0, +) + kept + rows
    }
}
