/// Output channels that one task computes: small enough to share among threads and for a panel to
/// stay in the cache of a core, large enough to read activations seldom.
private let panelRows = 96
/// Tokens that one task computes at most: few enough for the cache that cores share to keep them
/// while panel after panel reads them, and for all workers to have tasks where panels are few.
private let (tokenBlock, fewPanelsTokenBlock) = (1024, 512)

/// Floats of packed weights that a core's cache keeps beside what they are multiplied with.
private let cachedFloats = 1 << 17

/// Columns whose products of two values up to 127 add up within int32.
private let largestExactSum = 1 << 17

/// What is done to a product while it is in the cache.
enum Epilogue {
    case none, relu, silu

    func apply(to y: UnsafeMutablePointer<Float>, rows: Int, columns: Int, stride: Int) {
        let kernel =
            switch self {
            case .none: nil as (@convention(c) (UnsafeMutablePointer<Float>?, Int) -> Void)?
            case .relu: Kernels.best.relu
            case .silu: Kernels.best.silu
            }
        guard let kernel else { return }
        for row in 0..<rows { kernel(y + row * stride, columns) }
    }
}

/// The tiles of a product `[tokens, channels]` that tasks compute, those of one block of tokens
/// next to each other. Their bounds depend on the shape alone.
private struct Tiles {
    private let tokens: Int
    private let channels: Int
    private let panels: Int
    private let tokensPerTile: Int
    let count: Int

    init(tokens: Int, channels: Int) {
        (self.tokens, self.channels) = (tokens, channels)
        // Where there are several, an even number, of which two workers have equally many.
        let fewest = (channels + panelRows - 1) / panelRows
        panels = fewest > 2 ? (fewest + 1) / 2 * 2 : fewest
        let most = panels >= 8 ? tokenBlock : fewPanelsTokenBlock
        let blocks = max(1, (tokens + most - 1) / most)
        tokensPerTile = max(1, (tokens + blocks - 1) / blocks)
        count = panels * ((tokens + tokensPerTile - 1) / tokensPerTile)
    }

    subscript(task: Int) -> (tokens: Range<Int>, channels: Range<Int>) {
        let (token, panel) = (task / panels * tokensPerTile, task % panels)
        return (
            token..<min(token + tokensPerTile, tokens),
            firstChannel(panel)..<firstChannel(panel + 1)
        )
    }

    /// Narrower panels lie evenly among the others, so that workers have equally much to do.
    private func firstChannel(_ panel: Int) -> Int {
        let blocks = (channels + PanelProduct.packedRows - 1) / PanelProduct.packedRows
        return min(blocks * panel / panels * PanelProduct.packedRows, channels)
    }

    /// The channels of the task that a worker most likely takes after `task`.
    func channels(after task: Int) -> Range<Int>? {
        task + 1 < count ? self[task + 1].channels : nil
    }
}

extension ForwardContext {
    /// y = epilogue(x · weightᵀ + bias) for `x` `[tokens, in]` and `y` `[tokens, out]`.
    ///
    /// Tasks are tiles of `y` whose bounds depend on the shapes alone; each widens its panel of the
    /// weight once.
    ///
    /// - Parameter column: the first channel of `y` that is written, where it has more than `out`.
    func multiply(
        _ x: Matrix, _ weight: Weight, bias: FloatBuffer?, then epilogue: Epilogue = .none,
        into y: Matrix, at column: Int = 0
    ) {
        precondition(
            x.columns == weight.columns && column + weight.rows <= y.columns && x.rows == y.rows)
        if records([x], into: y, .product(rows: x.rows, from: x.columns, to: weight.rows)) {
            return
        }
        let channels = column..<column + weight.rows
        if case .int8(let bytes, let scale) = weight.storage,
            compute.products(isInt8: true) == .int8, weight.columns <= largestExactSum
        {
            multiplyInt8(
                x, bytes, scale: scale, bias: bias, then: epilogue, into: y, channels: channels)
            return
        }
        let product = floatProduct
        let tokens =
            product.isRounded
            ? roundedTokens(x) : .init(start: x.pointer, stride: x.columns * 4)
        multiply(tokens, weight, product, bias: bias, then: epilogue, into: y, channels: channels)
    }

    /// The same of tokens as `product` reads them, into the channels `range` of `y`.
    private func multiply(
        _ x: PanelProduct.Tokens, _ weight: Weight, _ product: PanelProduct, bias: FloatBuffer?,
        then epilogue: Epilogue, into y: Matrix, channels range: Range<Int>
    ) {
        let tiles = Tiles(tokens: y.rows, channels: range.count)
        // A part of the columns at a time, in whole chains, which are added up in their order as
        // those of one product are.
        let chain = product.chainColumns(weight.columns)
        let wanted = cachedFloats / product.floats(rows: panelRows, columns: chain)
        let part =
            weight.packsColumns(for: product) ? max(1, wanted) * chain : weight.columns
        let packed = product.floats(rows: panelRows, columns: min(part, weight.columns))
        let scratch = scratch(
            floatsPerWorker: packed + PanelProduct.packedRows * weight.columns)
        workers.run(tiles.count) { task, worker in
            let (tokens, channels) = tiles[task]
            let (start, first) = (tokens.lowerBound, channels.lowerBound)
            let panel = scratch[worker]
            let target = y.row(start) + range.lowerBound + first
            let soon = tiles.channels(after: task).map(weight.stored)
            for column in stride(from: 0, to: weight.columns, by: part) {
                let columns = column..<min(column + part, weight.columns)
                weight.pack(
                    channels, columns: columns, for: product, into: panel, scratch: panel + packed)
                let tokens = (x: x.from(start, column: column, product), count: tokens.count)
                if column == 0 {
                    product.multiply(
                        tokens.x, tokens: tokens.count, columns: columns.count, panel: panel,
                        rows: channels.count, bias: bias.map { UnsafePointer($0.pointer + first) },
                        into: target, stride: y.columns,
                        soon: soon?.share(columns, of: weight.columns))
                } else {
                    product.multiplyAdd(
                        tokens.x, tokens: tokens.count, columns: columns.count, panel: panel,
                        rows: channels.count, into: target, stride: y.columns,
                        soon: soon?.share(columns, of: weight.columns))
                }
            }
            epilogue.apply(
                to: target, rows: tokens.count, columns: channels.count, stride: y.columns)
        }
    }
}

extension ByteView {
    /// The part of the bytes that a range is of so many.
    fileprivate func share(_ range: Range<Int>, of whole: Int) -> ByteView {
        let (start, end) = (
            count * range.lowerBound / whole, count * range.upperBound / whole
        )
        return slice(start, end - start)
    }
}

/// Tokens that are rounded before they are multiplied, once for all products that share them.
extension ForwardContext {
    private func rounded(
        _ x: Matrix, tokenBytes: Int,
        _ round: (_ rows: Range<Int>, _ target: UnsafeMutableRawPointer) -> Void
    ) -> PanelProduct.Tokens {
        let memory = matrix(.roundedTokens, rows: 1, columns: (x.rows * tokenBytes + 3) / 4)
        let start = UnsafeMutableRawPointer(memory.pointer)
        roundOnce(x) {
            workers.run((x.rows + 31) / 32) { task, _ in
                let rows = task * 32..<min((task + 1) * 32, x.rows)
                round(rows, start + rows.lowerBound * tokenBytes)
            }
        }
        return .init(start: start, stride: tokenBytes)
    }

    /// To bf16.
    private func roundedTokens(_ x: Matrix) -> PanelProduct.Tokens {
        rounded(x, tokenBytes: Kernels.best.rounded_bytes(x.columns)) { rows, target in
            Kernels.best.round_tokens(
                x.row(rows.lowerBound), x.columns, rows.count, x.columns, target)
        }
    }

    /// y = (q_x · q_wᵀ) · scale of the token · scale of the row + bias, with `x` rounded to int8
    /// per token.
    ///
    /// Integer sums are exact, so neither tiles nor instruction sets show in the result.
    ///
    /// - Parameters:
    ///   - bytes: int8 weights `[out, in]`.
    ///   - range: channels of `y` that are written, `out` of them.
    private func multiplyInt8(
        _ x: Matrix, _ bytes: ByteView, scale: FloatBuffer, bias: FloatBuffer?,
        then epilogue: Epilogue, into y: Matrix, channels range: Range<Int>
    ) {
        let kernels = Kernels.best
        let tokenScale = matrix(.tokenScales, rows: 1, columns: x.rows)
        let rounded = rounded(x, tokenBytes: kernels.token_bytes(x.columns)) { rows, target in
            for row in rows {
                tokenScale.pointer[row] = kernels.quantize_token(
                    x.row(row), x.columns,
                    target + (row - rows.lowerBound) * kernels.token_bytes(x.columns))
            }
        }
        let panelBytes = kernels.panel_bytes(panelRows, x.columns)
        let tiles = Tiles(tokens: x.rows, channels: range.count)
        let scratch = scratch(floatsPerWorker: (panelBytes + 3) / 4)
        workers.run(tiles.count) { task, worker in
            let (tokens, channels) = tiles[task]
            let (start, first) = (tokens.lowerBound, channels.lowerBound)
            let weights = (bytes.address + first * x.columns).assumingMemoryBound(to: Int8.self)
            let soon = tiles.channels(after: task).map {
                bytes.slice($0.lowerBound * x.columns, $0.count * x.columns)
            }
            let target = y.row(start) + range.lowerBound + first
            kernels.pack_i8(weights, channels.count, x.columns, scratch[worker])
            kernels.multiply_i8(
                rounded.from(start).start, tokens.count, x.columns,
                scratch[worker], channels.count,
                tokenScale.pointer + start, scale.pointer + first,
                bias.map { UnsafePointer($0.pointer + first) }, target, y.columns,
                soon?.address, soon?.count ?? 0)
            epilogue.apply(
                to: target, rows: tokens.count, columns: channels.count, stride: y.columns)
        }
    }
}

extension Scratch {
    fileprivate static let roundedTokens = Scratch()
    fileprivate static let tokenScales = Scratch()
}
