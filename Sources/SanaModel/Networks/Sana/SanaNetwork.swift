extension SanaClass {
    public static let transformer = SanaClass(
        name: "SanaTransformer2DModel", noun: "transformer", marker: "patch_embed.proj.weight",
        standardLayers: 20, fewestLayers: 0,
        original: OriginalBlocks(prefix: "blocks.", names: OriginalNames.blockNames),
        released: { ReleasedConfiguration.transformers },
        network: { try SanaTransformer2DModel($0, $1) })
}

extension SanaConfig: NetworkConfiguration {
    public var networkClass: NetworkClass { modelClass.networkClass }

    public var summary: String {
        "\(numLayers) layers, \(numAttentionHeads) × \(attentionHeadDim) heads, cross-attention "
            + "\(numCrossAttentionHeads) × \(crossAttentionHeadDim), captions \(captionChannels), "
            + "latent \(inChannels) × \(sampleSize)²"
    }

    public func bind(_ scope: WeightScope) throws -> [NetworkEntry] {
        [NetworkEntry(try modelClass.network(self, scope))]
    }

    public func disagreements(
        with source: any TensorSource, json: JSONValue?
    ) -> [ConfigurationDisagreement] {
        ShapeFacts(source).disagreements(with: self, json: json)
    }

    /// See `NetworkClass.likeness`.
    @Sendable static func likeness(
        _ source: any TensorSource, _ config: (any NetworkConfiguration)?, _ json: JSONValue
    ) -> ReleaseLikeness {
        let facts = ShapeFacts(source)
        let config = config as? SanaConfig
        let released = config.map { facts.released(like: $0, json: json) } ?? facts.released
        let nearest = config.flatMap { facts.nearest(to: $0, json: json) }
        return ReleaseLikeness(
            family: facts.family?.name, repositories: released.map(\.repository),
            nearest: nearest.map { ($0.model.repository, $0.differences) })
    }
}

extension OriginalNaming {
    /// NVlabs' names.
    static let sana = OriginalNaming(
        matches: OriginalNames.areOriginal, renamed: OriginalNames.renamed,
        configuration: { inner, _, file in try OriginalConfig.infer(inner, file: file) })
}
