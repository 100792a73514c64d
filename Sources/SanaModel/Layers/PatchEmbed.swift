import Libc

/// diffusers' `PatchEmbed`: latent `[B, C, H, W]` → tokens `[B · h · w, D]`, h = ⌊H/p⌋, w = ⌊W/p⌋.
struct PatchEmbed {
    let path: String
    let proj: Linear
    private let patchSize: Int
    private let positions: SinCosPositions?

    init(_ scope: WeightScope, _ config: SanaConfig) throws {
        path = scope.path
        patchSize = config.patchSize
        proj = try Linear(
            convolution: scope["proj"], in: config.inChannels, out: config.innerDim,
            kernel: config.patchSize)
        positions = config.interpolationScale.map {
            SinCosPositions(
                dim: config.innerDim, baseSize: config.sampleSize / config.patchSize,
                interpolationScale: $0)
        }
    }

    func callAsFunction(
        _ latent: DenseTensor, into tokens: Matrix, _ grid: TokenGrid, _ context: ForwardContext
    ) {
        self([(latent, tokens)], grid, context)
    }

    /// Embeds latents of one shape, one after the other, as one module with an output for each.
    func callAsFunction(
        _ latents: [(latent: DenseTensor, tokens: Matrix)], _ grid: TokenGrid,
        _ context: ForwardContext
    ) {
        context.module(path, "PatchEmbed") {
            let patches = latents.enumerated().map { index, item in
                let patches = context.matrix(
                    .patches[index], rows: item.tokens.rows,
                    columns: item.latent.shape[1] * patchSize * patchSize)
                context.gatherPatches(item.latent, patchSize: patchSize, grid, into: patches)
                return patches
            }
            context.module(proj.path, proj.kind) {
                zip(patches, latents).map { patches, item in
                    proj.apply(patches, into: item.tokens, context)
                    return Activation(item.tokens, grid.imageLayout)
                }
            }
            for (_, tokens) in latents { positions?.add(to: tokens, grid, context) }
            return latents.map { Activation($0.tokens, grid.tokenLayout) }
        }
    }
}

/// Batch and token grid of a forward.
struct TokenGrid {
    let batch: Int
    /// Rows of tokens of an image.
    let height: Int
    /// Tokens in a row.
    let width: Int

    var tokens: Int { batch * height * width }
    var tokenLayout: Activation.Layout { .tokens(batch: batch) }
    var imageLayout: Activation.Layout { .image(batch: batch, height: height, width: width) }
    var pixelLayout: Activation.Layout { .pixels(batch: batch, height: height, width: width) }
}

/// diffusers' `get_2d_sincos_pos_embed`: the first half of the channels encodes the column, the
/// second the row.
struct SinCosPositions {
    let dim: Int
    /// Side of the token grid that the model was configured for.
    let baseSize: Int
    let interpolationScale: Double

    /// Values for positions `0..<count` along one axis, `[count, dim / 2]`: sines, then cosines.
    ///
    /// Positions are scaled in fp32 and angles computed in fp64, as in diffusers.
    func axis(count: Int, into table: Matrix) {
        let frequencies = dim / 4
        let step = Float(Double(count) / Double(baseSize))
        for index in 0..<count {
            let position = Double(Float(index) / step / Float(interpolationScale))
            let row = table.row(index)
            for k in 0..<frequencies {
                let angle = position / pow(10000, Double(k) / Double(frequencies))
                row[k] = Float(sin(angle))
                row[frequencies + k] = Float(cos(angle))
            }
        }
    }

    func add(to tokens: Matrix, _ grid: TokenGrid, _ context: ForwardContext) {
        let columns = context.matrix(.columnPositions, rows: grid.width, columns: dim / 2)
        let rows = context.matrix(.rowPositions, rows: grid.height, columns: dim / 2)
        context.fill(columns) { axis(count: grid.width, into: columns) }
        context.fill(rows) { axis(count: grid.height, into: rows) }
        context.addPositions(columns: columns, rows: rows, to: tokens)
    }
}

extension Scratch {
    fileprivate static let patches = Scratch()
    fileprivate static let columnPositions = Scratch()
    fileprivate static let rowPositions = Scratch()
}
