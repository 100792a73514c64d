extension NetworkClass {
    static let sanaTransformer2DModel = NetworkClass(
        SanaConfig.ModelClass.transformer.rawValue, noun: "transformer", isMain: true,
        marker: "patch_embed.proj.weight",
        configuration: { json, file throws(BadDataError) in
            try SanaConfig(values: json, file: file)
        },
        knowsKey: { SanaConfig.isKnown($0, of: .transformer) }, likeness: SanaConfig.likeness)
}

extension SanaConfig: NetworkConfiguration {
    public var networkClass: NetworkClass {
        isControlNet ? .sanaControlNetModel : .sanaTransformer2DModel
    }

    public var summary: String {
        "\(numLayers) layers, \(numAttentionHeads) × \(attentionHeadDim) heads, cross-attention "
            + "\(numCrossAttentionHeads) × \(crossAttentionHeadDim), captions \(captionChannels), "
            + "latent \(inChannels) × \(sampleSize)²"
    }

    public func bind(_ scope: WeightScope) throws -> [NetworkEntry] {
        [
            NetworkEntry(
                isControlNet
                    ? try SanaControlNetModel(self, scope)
                    : try SanaTransformer2DModel(self, scope))
        ]
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
            family: facts.family?.rawValue, repositories: released.map(\.repository),
            nearest: nearest.map { ($0.model.repository, $0.differences) })
    }
}

extension OriginalNaming {
    /// NVlabs' names.
    static let sana = OriginalNaming(
        matches: OriginalNames.areOriginal, renamed: OriginalNames.renamed,
        configuration: { inner, _, file in try OriginalConfig.infer(inner, file: file) })
}
