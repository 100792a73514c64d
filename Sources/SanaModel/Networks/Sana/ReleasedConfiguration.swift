/// A Sana transformer or ControlNet as it was released for diffusers, as plain data.
public struct ReleasedConfiguration: Sendable {
    /// Models of one architecture, whatever they were trained for.
    public enum Family: String, Sendable, CaseIterable {
        case sana06 = "Sana 0.6B"
        case sana16 = "Sana 1.6B"
        case sana15x16 = "SANA-1.5 1.6B"
        case sana15x48 = "SANA-1.5 4.8B"
        case sprint06 = "SANA-Sprint 0.6B"
        case sprint16 = "SANA-Sprint 1.6B"
        case controlNet06 = "Sana ControlNet 0.6B"
        case controlNet16 = "Sana ControlNet 1.6B"

        public var isControlNet: Bool { self == .controlNet06 || self == .controlNet16 }
    }

    /// Where a configuration's values are from.
    public enum Source: String, Sendable {
        /// `transformer/config.json` of the repository itself.
        case repository = "config.json of the repository"
        /// The same file in a copy of the repository, or of a model trained from it.
        case copy = "config.json of a copy of the repository"
        /// diffusers' scripts/convert_sana_to_diffusers.py or convert_sana_controlnet_to_diffusers.py.
        case converter = "diffusers' converter"
    }

    /// Name on the hub.
    public let repository: String
    public let family: Family
    public let source: Source
    /// As diffusers' class takes it.
    public let config: SanaConfig

    /// Number of parameters, counted by diffusers 0.42.1 on torch's meta device.
    public var parameterCount: Int {
        switch family {
        case .sana06: 591_747_872
        case .sana16: 1_604_462_752
        case .sana15x16: 1_604_641_952
        case .sana15x48: 4_721_825_952
        case .sprint06: 593_501_216
        case .sprint16: 1_610_237_472
        case .controlNet06: 168_765_696
        case .controlNet16: 631_576_960
        }
    }

    /// `config.json` with every key of the class.
    public var json: JSONValue { config.json }

    /// Every key of the class whose value in `config` is not the released one, in alphabetical
    /// order.
    ///
    /// - Parameter json: what `config` was read from, for keys that it does not keep.
    public func differences(from config: SanaConfig, json: JSONValue) -> [ConfigurationDifference] {
        var list: [ConfigurationDifference] = []
        for member in self.json.members ?? [] {
            var value = config.json[member.key] ?? .null
            if member.key == SanaConfig.dropoutKey, let own = json[member.key] {
                // 0 and 0.0 are the same.
                value = own.double == member.value.double ? member.value : own
            }
            guard value != member.value else { continue }
            list.append(
                ConfigurationDifference(
                    key: member.key, value: value.text(), released: member.value.text()))
        }
        return list
    }

    /// - Parameters:
    ///   - name: without the organisation.
    ///   - pixels: side of the images it was trained for; the latent's is a 32nd.
    ///   - interpolationScale: of the position embedding that 2K and 4K models have.
    private init(
        _ name: String, _ family: Family, pixels: Int, interpolationScale: Double? = nil,
        _ source: Source, organisation: String = "Efficient-Large-Model"
    ) {
        repository = organisation + "/" + name
        (self.family, self.source) = (family, source)
        var config = family.config
        config.sampleSize = pixels / 32
        config.interpolationScale = interpolationScale
        self.config = config
    }

    /// Everything that was released for diffusers.
    ///
    /// Sources: the model zoo of NVlabs/Sana for the list; the hub's pages of the files for those
    /// marked `repository` and `copy` (deAPI-ai/sana16b1024, deAPI-ai/sanasprint06b1024,
    /// frutiemax/twistedreality-sana-600m-512px, ishan24/Sana_600M_1024px_ControlNetPlus_diffusers);
    /// diffusers' converters, of which the released files were made, for the rest.
    public static let all: [ReleasedConfiguration] = [
        .init("Sana_600M_512px_diffusers", .sana06, pixels: 512, .copy),
        .init("Sana_600M_1024px_diffusers", .sana06, pixels: 1024, .converter),
        .init("Sana_1600M_512px_diffusers", .sana16, pixels: 512, .converter),
        .init("Sana_1600M_512px_MultiLing_diffusers", .sana16, pixels: 512, .converter),
        .init("Sana_1600M_1024px_diffusers", .sana16, pixels: 1024, .copy),
        .init("Sana_1600M_1024px_BF16_diffusers", .sana16, pixels: 1024, .converter),
        .init("Sana_1600M_1024px_MultiLing_diffusers", .sana16, pixels: 1024, .converter),
        .init(
            "Sana_1600M_2Kpx_BF16_diffusers", .sana16, pixels: 2048, interpolationScale: 1,
            .converter),
        .init(
            "Sana_1600M_4Kpx_BF16_diffusers", .sana16, pixels: 4096, interpolationScale: 2,
            .converter),
        .init("SANA1.5_1.6B_1024px_diffusers", .sana15x16, pixels: 1024, .repository),
        .init("SANA1.5_4.8B_1024px_diffusers", .sana15x48, pixels: 1024, .converter),
        .init("Sana_Sprint_0.6B_1024px_diffusers", .sprint06, pixels: 1024, .copy),
        .init("Sana_Sprint_1.6B_1024px_diffusers", .sprint16, pixels: 1024, .converter),
        .init(
            "Sana_600M_1024px_ControlNetPlus_diffusers", .controlNet06, pixels: 1024, .repository,
            organisation: "ishan24"),
        .init(
            "Sana_1600M_1024px_BF16_ControlNet_HED", .controlNet16, pixels: 1024, .converter),
    ]
}

extension ReleasedConfiguration.Family {
    /// What all its models share.
    fileprivate var config: SanaConfig {
        // diffusers' defaults are those of the 1.6B model.
        var config = SanaConfig()
        switch self {
        case .sana06, .sprint06, .controlNet06:
            (config.numAttentionHeads, config.attentionHeadDim) = (36, 32)
            (config.numCrossAttentionHeads, config.crossAttentionHeadDim) = (16, 72)
            (config.crossAttentionDim, config.numLayers) = (1152, 28)
        case .sana15x48: config.numLayers = 60
        case .sana16, .sana15x16, .sprint16, .controlNet16: break
        }
        if isControlNet { (config.modelClass, config.numLayers) = (.controlNet, 7) }
        config.qkNorm = [.sana15x16, .sana15x48, .sprint06, .sprint16].contains(self)
        config.guidanceEmbeds = self == .sprint06 || self == .sprint16
        if config.guidanceEmbeds { config.timestepScale = 1000 }
        return config
    }
}
