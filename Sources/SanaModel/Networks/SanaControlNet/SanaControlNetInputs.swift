/// The inputs of a ControlNet's forward: a transformer's, and what it reads in addition.
public struct SanaControlNetInputs: Sendable {
    /// Names of those that only it has.
    enum Name {
        static let condition = "controlnet_cond"
        static let scale = "conditioning_scale"
    }

    /// Without residuals, which it makes.
    public var common: SanaInputs
    /// Latent `[B, C, H, W]` of the condition.
    public var condition: DenseTensor
    /// Factor of the outputs.
    public var scale: Float

    public init(_ common: SanaInputs, condition: DenseTensor, scale: Float = 1) {
        (self.common, self.condition, self.scale) = (common, condition, scale)
    }

    /// - Throws: `InputError` for a required input that is absent.
    public init(_ tensors: NamedTensors) throws(InputError) {
        let scale = tensors[Name.scale]
        if let scale, scale.shape != [1] { throw InputError(Name.scale, scale.shape, "[1]") }
        let common = try SanaInputs(tensors)
        guard let condition = tensors[Name.condition] else {
            throw InputError(
                Name.condition, nil, "\(common.hiddenStates.shape), as the latent")
        }
        self.init(common, condition: condition, scale: scale?.values.pointer[0] ?? 1)
    }

    /// Checks every shape against the model's configuration.
    func checkedSizes(for config: SanaConfig) throws(InputError) -> SanaInputs.Sizes {
        let sizes = try common.checkedSizes(for: config)
        let latent = common.hiddenStates.shape
        guard condition.shape == latent else {
            throw InputError(Name.condition, condition.shape, "\(latent), as the latent")
        }
        if let sample = common.controlnetBlockSamples.first {
            throw InputError(
                SanaInputs.Name.controlnetBlockSample(0), sample.shape,
                "none, as a ControlNet makes them")
        }
        return sizes
    }
}
