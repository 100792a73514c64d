import SanaModel

/// Inputs for a profile, where no golden gives them: their values do not bear on speed, only their
/// sizes.
enum SyntheticInputs {
    /// Normal latents and captions from a fixed seed, a mask of ones, timestep 500.
    ///
    /// - Throws: `UsageError` for sizes out of range.
    static func make(_ sizes: RunSizes, for config: SanaConfig) throws -> SanaInputs {
        do throws(InputError) {
            try SanaInputs.check(
                batch: sizes.batch, height: sizes.height, width: sizes.width,
                captionTokens: sizes.captionTokens, for: config)
        } catch { throw UsageError(error.description) }
        var generator = NormalGenerator(seed: 2410)
        func normal(_ shape: [Int]) -> DenseTensor {
            let tensor = DenseTensor(shape: shape)
            for index in 0..<tensor.count { tensor.values.pointer[index] = generator.next() }
            return tensor
        }
        func constant(_ value: Float, _ shape: [Int]) -> DenseTensor {
            let tensor = DenseTensor(shape: shape)
            for index in 0..<tensor.count { tensor.values.pointer[index] = value }
            return tensor
        }
        let batch = sizes.batch
        return SanaInputs(
            hiddenStates: normal([batch, config.inChannels, sizes.height, sizes.width]),
            encoderHiddenStates: normal([batch, sizes.captionTokens, config.captionChannels]),
            timestep: constant(Float(500 * config.timestepScale), [batch]),
            guidance: config.guidanceEmbeds
                ? constant(Float(4.5 * config.guidanceEmbedsScale), [batch]) : nil,
            encoderAttentionMask: constant(1, [batch, sizes.captionTokens]),
            controlnetCond: config.isControlNet
                ? normal([batch, config.inChannels, sizes.height, sizes.width]) : nil)
    }
}

/// Standard normal values by Box and Muller from SplitMix64.
struct NormalGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    private mutating func uniform() -> Double {
        state &+= 0x9E37_79B9_7F4A_7C15
        var bits = state
        bits = (bits ^ bits >> 30) &* 0xBF58_476D_1CE4_E5B9
        bits = (bits ^ bits >> 27) &* 0x94D0_49BB_1331_11EB
        bits ^= bits >> 31
        return (Double(bits >> 11) + 0.5) * 0x1p-53
    }

    mutating func next() -> Float {
        Float((-2 * log(uniform())).squareRoot() * cos(2 * .pi * uniform()))
    }
}

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif
