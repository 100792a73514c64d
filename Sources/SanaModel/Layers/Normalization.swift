/// `nn.LayerNorm` over channels, with or without affine parameters.
struct LayerNorm {
    let path: String
    private let eps: Float
    private let weight: FloatBuffer?
    private let bias: FloatBuffer?

    init(_ scope: WeightScope, dim: Int, eps: Float, elementwiseAffine: Bool = false) throws {
        path = scope.path
        self.eps = eps
        weight =
            elementwiseAffine
            ? try scope.parameter(
                "weight", shape: [dim], role: .norm, part: .tablesAndNorms) : nil
        bias =
            elementwiseAffine
            ? try scope.parameter(
                "bias", shape: [dim], role: .bias, part: .tablesAndNorms) : nil
    }

    func callAsFunction(_ x: Matrix, into y: Matrix, batch: Int, _ context: ForwardContext) {
        context.module(path, "LayerNorm") {
            context.layerNorm(x, eps: eps, weight: weight, bias: bias, into: y)
            return [Activation(y, .tokens(batch: batch))]
        }
    }
}

/// diffusers' `RMSNorm` over channels, in place.
struct RMSNorm {
    let path: String
    private let eps: Float
    private let weight: FloatBuffer

    init(_ scope: WeightScope, dim: Int, eps: Float = 1e-5) throws {
        path = scope.path
        self.eps = eps
        weight = try scope.parameter(
            "weight", shape: [dim], role: .norm, part: .tablesAndNorms)
    }

    func callAsFunction(_ x: Matrix, batch: Int, _ context: ForwardContext) {
        context.module(path, "RMSNorm") {
            context.rmsNorm(x, eps: eps, weight: weight)
            return [Activation(x, .tokens(batch: batch))]
        }
    }
}
