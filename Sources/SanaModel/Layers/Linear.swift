/// `nn.Linear`, and `nn.Conv2d` with a 1×1 kernel: y = x · weightᵀ + bias on tokens `[N, in]` →
/// `[N, out]`.
struct Linear {
    let path: String
    /// Class in torch.
    let kind: String
    let weight: Weight
    let bias: FloatBuffer?

    init(_ scope: WeightScope, in columns: Int, out rows: Int, bias hasBias: Bool = true) throws {
        try self.init(scope, shape: [rows, columns], bias: hasBias)
    }

    /// A convolution of `kernel` × `kernel` whose stride is its kernel, on patches flattened to
    /// `[N, in · kernel²]`.
    init(
        convolution scope: WeightScope, in columns: Int, out rows: Int, kernel: Int = 1,
        bias hasBias: Bool = true
    ) throws {
        try self.init(scope, shape: [rows, columns, kernel, kernel], bias: hasBias)
    }

    private init(_ scope: WeightScope, shape: [Int], bias hasBias: Bool) throws {
        path = scope.path
        kind = shape.count > 2 ? "Conv2d" : "Linear"
        weight = try scope.weight(shape: shape)
        bias = hasBias ? try scope.parameter("bias", shape: [shape[0]], role: .bias) : nil
    }

    func callAsFunction(
        _ x: Matrix, then epilogue: Epilogue = .none, into y: Matrix, _ layout: Activation.Layout,
        _ context: ForwardContext
    ) {
        context.module(path, kind) {
            apply(x, then: epilogue, into: y, context)
            return [Activation(y, layout)]
        }
    }

    /// The same without a probe's notice.
    func apply(
        _ x: Matrix, then epilogue: Epilogue = .none, into y: Matrix, _ context: ForwardContext
    ) {
        context.multiply(x, weight, bias: bias, then: epilogue, into: y)
    }
}
