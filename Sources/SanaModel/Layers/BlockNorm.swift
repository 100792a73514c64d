import CSanaKernels

/// diffusers' `RMSNorm` with a bias, over the channels of each pixel.
struct PixelRMSNorm {
    let path: String
    private let weight: FloatBuffer
    private let bias: FloatBuffer
    private let eps: Float = 1e-5

    init(_ scope: WeightScope, dim: Int) throws {
        path = scope.path
        weight = try scope.parameter("weight", shape: [dim], role: .norm, part: .norms)
        bias = try scope.parameter("bias", shape: [dim], role: .norm, part: .norms)
    }

    /// Writes the norms of `count` pixels, plus `residual` where there is one, to `y`.
    func apply(
        _ x: UnsafePointer<Float>, residual: UnsafePointer<Float>? = nil,
        into y: UnsafeMutablePointer<Float>, count: Int
    ) {
        for start in stride(from: 0, to: count * weight.count, by: weight.count) {
            Kernels.best.rms_norm_add(
                x + start, weight.pointer, bias.pointer, residual.map { $0 + start }, y + start,
                weight.count, eps)
        }
    }
}

/// `nn.BatchNorm2d` at inference: running statistics and affine parameters are one factor and one
/// summand, as in torch.
struct BatchNorm2d {
    let path: String
    private let scale: FloatBuffer
    private let shift: FloatBuffer

    init(_ scope: WeightScope, dim: Int) throws {
        path = scope.path
        let weight = try scope.parameter("weight", shape: [dim], role: .norm, part: .norms)
        let bias = try scope.parameter("bias", shape: [dim], role: .norm, part: .norms)
        let mean = try scope.parameter("running_mean", shape: [dim], role: .norm, part: .norms)
        let variance = try scope.parameter("running_var", shape: [dim], role: .norm, part: .norms)
        scope.counter("num_batches_tracked")
        // Placeholders are empty.
        let count = [weight, bias, mean, variance].map(\.count).min() ?? 0
        (scale, shift) = (FloatBuffer(count: count), FloatBuffer(count: count))
        for channel in 0..<count {
            let factor =
                weight.pointer[channel] / (variance.pointer[channel] + 1e-5).squareRoot()
            scale.pointer[channel] = factor
            shift.pointer[channel] =
                bias.pointer[channel] - mean.pointer[channel] * factor
        }
    }

    func apply(_ pixels: UnsafeMutablePointer<Float>, count: Int) {
        for pixel in 0..<count {
            Kernels.best.affine(
                pixels + pixel * scale.count, scale.pointer, shift.pointer, scale.count)
        }
    }
}

/// The norm at the end of a branch of a DC-AE block.
enum BlockNorm {
    case rms(PixelRMSNorm)
    case batch(BatchNorm2d)

    init(_ scope: WeightScope, dim: Int, _ type: AutoencoderDCConfig.NormType) throws {
        self =
            switch type {
            case .rms: .rms(try PixelRMSNorm(scope, dim: dim))
            case .batch: .batch(try BatchNorm2d(scope, dim: dim))
            }
    }

    /// Writes the norms of `count` pixels of a branch, which it may change, plus `residual` to `y`,
    /// which may be either of them.
    func apply(
        _ branch: UnsafeMutablePointer<Float>, residual: UnsafePointer<Float>,
        into y: UnsafeMutablePointer<Float>, count: Int, channels: Int
    ) {
        switch self {
        case .rms(let norm): norm.apply(branch, residual: residual, into: y, count: count)
        case .batch(let norm):
            norm.apply(branch, count: count)
            Kernels.best.add(branch, residual, count * channels)
            if y != branch { y.update(from: branch, count: count * channels) }
        }
    }

    /// Normalizes all pixels of a batch in place.
    func callAsFunction(_ x: Matrix, _ grid: TokenGrid, _ context: ForwardContext) {
        switch self {
        case .rms(let norm):
            context.module(norm.path, "RMSNorm") {
                context.forEachRun(x, grid) { _ in
                    { norm.apply($0, into: $0, count: $2.count) }
                }
                return [Activation(x, grid.pixelLayout)]
            }
        case .batch(let norm):
            context.module(norm.path, "BatchNorm2d") {
                context.forEachRun(x, grid) { _ in
                    { pixels, _, columns in norm.apply(pixels, count: columns.count) }
                }
                return [Activation(x, grid.imageLayout)]
            }
        }
    }
}
