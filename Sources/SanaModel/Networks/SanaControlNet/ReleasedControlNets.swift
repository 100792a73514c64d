extension ReleasedConfiguration {
    /// Every ControlNet.
    ///
    /// Sources: as of the transformers, ishan24/Sana_600M_1024px_ControlNetPlus_diffusers itself,
    /// and diffusers' `convert_sana_controlnet_to_diffusers.py`.
    static let controlNets: [ReleasedConfiguration] = [
        .init(
            "Sana_600M_1024px_ControlNetPlus_diffusers", .controlNet06, pixels: 1024, .repository,
            organisation: "ishan24"),
        .init(
            "Sana_1600M_1024px_BF16_ControlNet_HED", .controlNet16, pixels: 1024, .converter),
    ]
}

extension ReleasedConfiguration.Family {
    static let controlNet06 = Self(
        name: "Sana ControlNet 0.6B", parameterCount: 168_765_696,
        config: SanaConfig.width1152.changed(SanaConfig.makeControlNet))
    static let controlNet16 = Self(
        name: "Sana ControlNet 1.6B", parameterCount: 631_576_960,
        config: SanaConfig().changed(SanaConfig.makeControlNet))
}

extension SanaConfig {
    fileprivate static func makeControlNet(_ config: inout SanaConfig) {
        (config.modelClass, config.numLayers) = (.controlNet, 7)
    }
}
