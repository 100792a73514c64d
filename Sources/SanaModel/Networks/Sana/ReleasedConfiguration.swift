/// A network of Sana's as it was released for diffusers, as plain data.
public struct ReleasedConfiguration: Sendable {
    /// Models of one architecture, whatever they were trained for.
    public struct Family: Sendable, Equatable {
        public let name: String
        /// Number of parameters, counted by diffusers 0.42.1 on torch's meta device.
        public let parameterCount: Int
        /// What all its models share.
        let config: SanaConfig
    }

    /// Where a configuration's values are from.
    public enum Source: String, Sendable {
        /// `transformer/config.json` of the repository itself.
        case repository = "config.json of the repository"
        /// The same file in a copy of the repository, or of a model trained from it.
        case copy = "config.json of a copy of the repository"
        /// The script of diffusers that converts it, `scripts/convert_sana_….py`.
        case converter = "diffusers' converter"
    }

    /// Name on the hub.
    public let repository: String
    public let family: Family
    public let source: Source
    /// As diffusers' class takes it.
    public let config: SanaConfig

    /// See `Family.parameterCount`.
    public var parameterCount: Int { family.parameterCount }

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
    init(
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
    public static let all = SanaClass.all.flatMap { $0.released() }

    /// Every transformer.
    ///
    /// Sources: the model zoo of NVlabs/Sana for the list; the hub's pages of the files for those
    /// marked `repository` and `copy` (deAPI-ai/sana16b1024, deAPI-ai/sanasprint06b1024,
    /// frutiemax/twistedreality-sana-600m-512px); diffusers' converters, of which the released
    /// files were made, for the rest.
    static let transformers: [ReleasedConfiguration] = [
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
    ]
}

extension ReleasedConfiguration.Family {
    static let sana06 = Self(
        name: "Sana 0.6B", parameterCount: 591_747_872, config: .width1152)
    // diffusers' defaults are those of the 1.6B model.
    static let sana16 = Self(
        name: "Sana 1.6B", parameterCount: 1_604_462_752, config: SanaConfig())
    static let sana15x16 = Self(
        name: "SANA-1.5 1.6B", parameterCount: 1_604_641_952,
        config: SanaConfig().changed { $0.qkNorm = true })
    static let sana15x48 = Self(
        name: "SANA-1.5 4.8B", parameterCount: 4_721_825_952,
        config: SanaConfig().changed { ($0.qkNorm, $0.numLayers) = (true, 60) })
    static let sprint06 = Self(
        name: "SANA-Sprint 0.6B", parameterCount: 593_501_216,
        config: SanaConfig.width1152.changed(SanaConfig.makeSprint))
    static let sprint16 = Self(
        name: "SANA-Sprint 1.6B", parameterCount: 1_610_237_472,
        config: SanaConfig().changed(SanaConfig.makeSprint))
}

extension SanaConfig {
    /// The 0.6B models'.
    static let width1152 = SanaConfig().changed { config in
        (config.numAttentionHeads, config.attentionHeadDim) = (36, 32)
        (config.numCrossAttentionHeads, config.crossAttentionHeadDim) = (16, 72)
        (config.crossAttentionDim, config.numLayers) = (1152, 28)
    }

    fileprivate static func makeSprint(_ config: inout SanaConfig) {
        (config.qkNorm, config.guidanceEmbeds, config.timestepScale) = (true, true, 1000)
    }

    func changed(_ change: (inout SanaConfig) -> Void) -> SanaConfig {
        var config = self
        change(&config)
        return config
    }
}
