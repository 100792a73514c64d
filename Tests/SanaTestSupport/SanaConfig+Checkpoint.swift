import SanaModel

extension Checkpoint {
    /// The configuration of a Sana transformer or ControlNet.
    public func sanaConfig() throws -> SanaConfig { try sana(config()) }
}

/// The configuration as that of a Sana transformer or ControlNet.
public func sana(_ config: any NetworkConfiguration) throws -> SanaConfig {
    guard let config = config as? SanaConfig else { throw NotSana(found: config.networkClass.name) }
    return config
}

private struct NotSana: Error { let found: String }

extension SanaConfig {
    /// The modules of a forward of these sizes.
    public func graph(
        batch: Int, height: Int, width: Int, captionTokens: Int
    ) throws -> ModuleGraph {
        try unbound().network.network.graph([
            "batch": batch, "height": height, "width": width, "caption_tokens": captionTokens,
        ])
    }
}
