/// An `AutoencoderDC` as it was released, as plain data.
///
/// Sources: `config.json` of the repositories named here or of copies of them, and for the factors
/// of the ones trained on ImageNet diffusers' scripts/convert_dcae_to_diffusers.py.
public struct ReleasedAutoencoder: Sendable {
    /// Name on the hub, without its owner.
    public let name: String
    public let config: AutoencoderDCConfig
    /// Number of parameters, counted by diffusers 0.42.1 on torch's meta device.
    public let parameterCount: Int

    /// Every released autoencoder.
    public static let all: [ReleasedAutoencoder] = {
        [
            .init(name: "dc-ae-f32c32-sana-1.0", config: sana, parameterCount: 312_250_275),
            .init(name: "dc-ae-f32c32-sana-1.1", config: sana, parameterCount: 312_250_275),
            .init(name: "dc-ae-lite-f32c32-sana-1.1", config: lite, parameterCount: 421_181_228),
            .init(
                name: "dc-ae-f32c32-in-1.0", config: imageNet(coarse: [], 32, 0.3189),
                parameterCount: 323_356_460),
            .init(
                name: "dc-ae-f32c32-mix-1.0", config: imageNet(coarse: [], 32, 0.4552),
                parameterCount: 323_356_460),
            .init(
                name: "dc-ae-f64c128-in-1.0", config: imageNet(coarse: [2048], 128, 0.2889),
                parameterCount: 676_896_140),
            .init(
                name: "dc-ae-f64c128-mix-1.0", config: imageNet(coarse: [2048], 128, 0.4538),
                parameterCount: 676_896_140),
            .init(
                name: "dc-ae-f128c512-in-1.0", config: imageNet(coarse: [2048, 2048], 512, 0.4883),
                parameterCount: 1_120_682_252),
            .init(
                name: "dc-ae-f128c512-mix-1.0",
                config: imageNet(coarse: [2048, 2048], 512, 0.3620),
                parameterCount: 1_120_682_252),
            .init(name: "dc-ae-f32c128-1.1", config: generative, parameterCount: 523_609_740),
        ]
    }()

    /// Those whose tensors have the names and shapes of `source`.
    public static func matching(_ source: any TensorSource) -> [ReleasedAutoencoder] {
        all.filter { released in
            let scope = WeightScope(source, label: released.name, readsValues: false)
            return (try? AutoencoderDC(released.config, scope)) != nil
        }
    }

    private static let widths = [128, 256, 512, 512, 1024, 1024]

    private static func stages(
        _ widths: [Int], _ layers: [Int], resBlocks: Int, multiscales: [Int] = []
    ) -> [AutoencoderDCConfig.Stage] {
        widths.indices.map { index in
            .init(
                blockType: index < resBlocks ? .resBlock : .efficientViT, width: widths[index],
                layers: layers[index], multiscales: index < 3 ? [] : multiscales, norm: .rms,
                activation: .silu)
        }
    }

    private static let sana: AutoencoderDCConfig = {
        var config = AutoencoderDCConfig()
        config.encoder = stages(widths, [2, 2, 2, 3, 3, 3], resBlocks: 3, multiscales: [5])
        config.decoder = stages(widths, [3, 3, 3, 3, 3, 3], resBlocks: 3, multiscales: [5])
        (config.unshuffles, config.interpolates) = (false, true)
        config.scalingFactor = 0.41407
        return config
    }()

    /// Sana's encoder, and a decoder without attention that ends at half the size.
    private static var lite: AutoencoderDCConfig {
        var config = sana
        config.decoder = stages(widths, [0, 3, 5, 4, 4, 4], resBlocks: 6, multiscales: [5])
        config.interpolates = false
        config.decoderConvActivation = .silu
        return config
    }

    /// - Parameter coarse: widths of the stages after the six that all have.
    private static func imageNet(
        coarse: [Int], _ latentChannels: Int, _ scalingFactor: Double
    ) -> AutoencoderDCConfig {
        var config = AutoencoderDCConfig()
        let twos = coarse.map { _ in 2 }
        config.latentChannels = latentChannels
        config.encoder = stages(widths + coarse, [0, 4, 8, 2, 2, 2] + twos, resBlocks: 3)
        config.decoder = stages(widths + coarse, [0, 5, 10, 2, 2, 2] + twos, resBlocks: 3)
        for index in 0..<3 {
            config.decoder[index].norm = .batch
            config.decoder[index].activation = .relu
        }
        config.scalingFactor = scalingFactor
        return config
    }

    /// DC-Gen's, of residual blocks alone.
    private static var generative: AutoencoderDCConfig {
        var config = AutoencoderDCConfig()
        config.latentChannels = 128
        config.encoder = stages(widths, [0, 5, 10, 4, 4, 4], resBlocks: 6)
        config.decoder = config.encoder
        (config.encoderOutShortcut, config.decoderInShortcut) = (false, false)
        config.decoderConvActivation = .silu
        return config
    }
}
