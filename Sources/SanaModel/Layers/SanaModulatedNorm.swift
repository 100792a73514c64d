/// diffusers' `SanaModulatedNorm`: LayerNorm, then shift and scale from a table `[2, D]` plus the
/// embedded timestep `[B, D]`.
struct SanaModulatedNorm {
    let path: String
    private let norm: LayerNorm

    init(_ scope: WeightScope, dim: Int) throws {
        path = scope.path
        norm = try LayerNorm(scope["norm"], dim: dim, eps: 1e-6)
    }

    func callAsFunction(
        _ x: Matrix, into y: Matrix, embedded: Matrix, table: FloatBuffer, batch: Int,
        _ context: ForwardContext
    ) {
        context.module(path, "SanaModulatedNorm") {
            let modulation = context.modulation(
                .modulation, table: table, embedding: embedded, parts: 2)
            norm(x, into: y, batch: batch, context)
            context.modulate(y, shift: modulation[0], scale: modulation[1])
            return [Activation(y, .tokens(batch: batch))]
        }
    }
}

extension Scratch {
    fileprivate static let modulation = Scratch()
}
