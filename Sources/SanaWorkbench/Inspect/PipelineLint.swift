import SanaModel

/// Components of a pipeline that load and do not fit each other.
package struct PipelineLint {
    package private(set) var problems: [Problem] = []
    private let configs: [String: JSONValue]

    /// - Parameters:
    ///   - pipeline: class that model_index.json is of.
    ///   - configs: `config.json` of components, by name, as far as they can be read.
    package init(_ pipeline: String, _ configs: [String: JSONValue], transformer: String?) {
        self.configs = configs
        guard pipeline.hasPrefix("Sana"), let transformer, let config = configs[transformer] else {
            return
        }
        checkSprint(pipeline, transformer, config)
        compare(
            "text_encoder", ["hidden_size"], transformer, config["caption_channels"]?.int,
            "caption_channels")
        compare(
            "vae", ["latent_channels", "z_dim"], transformer, config["in_channels"]?.int,
            "in_channels")
    }

    /// The pipeline for Sprint gives its transformer a guidance that others do not take.
    private mutating func checkSprint(
        _ pipeline: String, _ transformer: String, _ config: JSONValue
    ) {
        // diffusers takes an absent key for false.
        let hasGuidance = config["guidance_embeds"]?.bool ?? false
        let isSprint = pipeline.contains("Sprint")
        guard isSprint != hasGuidance, !pipeline.contains("Video") else { return }
        problems.append(
            Problem(
                .componentMismatch, transformer.printable,
                hasGuidance
                    ? "the transformer is of Sana Sprint (guidance_embeds), and "
                        + "\(pipeline.printable) runs the others"
                    : "\(pipeline.printable) needs guidance_embeds, which the transformer does not have",
                remedy: "name \(hasGuidance ? "SanaSprintPipeline" : "SanaPipeline") in "
                    + "model_index.json, or download the transformer that belongs to it"))
    }

    private mutating func compare(
        _ component: String, _ keys: [String], _ transformer: String, _ expected: Int?,
        _ expectedKey: String
    ) {
        guard let config = configs[component], let expected,
            let key = keys.first(where: { config[$0]?.int != nil }), let found = config[key]?.int,
            found != expected
        else { return }
        problems.append(
            Problem(
                .componentMismatch, component.printable,
                "\(key) is \(found), and \(expectedKey) of \(transformer.printable) is \(expected)")
        )
    }
}
