/// A network of Sana's with weights: a transformer or a ControlNet, as its configuration says.
public enum SanaNetwork: Sendable {
    case transformer(SanaTransformer2DModel)
    case controlNet(SanaControlNetModel)

    /// Binds every tensor of `source`, which must hold just those that `config` calls for.
    ///
    /// - Parameter label: the file or folder, for messages.
    /// - Throws: `BindingError`, or what the source throws while reading values.
    public init(_ config: SanaConfig, source: any TensorSource, label: String) throws {
        try self.init(config, WeightScope(source, label: label))
    }

    /// Checks names, types and shapes of `source` against `config` without reading values.
    ///
    /// - Throws: `BindingError`.
    public static func check(
        _ config: SanaConfig, source: any TensorSource, label: String
    ) throws {
        _ = try SanaNetwork(config, WeightScope(source, label: label, readsValues: false))
    }

    private init(_ config: SanaConfig, _ scope: WeightScope) throws {
        self =
            switch config.modelClass {
            case .transformer: .transformer(try SanaTransformer2DModel(config, scope))
            case .controlNet: .controlNet(try SanaControlNetModel(config, scope))
            }
    }

    public var config: SanaConfig {
        switch self {
        case .transformer(let model): model.config
        case .controlNet(let model): model.config
        }
    }

    /// One forward.
    ///
    /// - Returns: as many as `SanaConfig.outputs` names, shapes as in diffusers.
    /// - Throws: `InputError` when the inputs do not fit the model.
    public func forward(_ inputs: SanaInputs, _ context: ForwardContext) throws(InputError)
        -> [DenseTensor]
    {
        switch self {
        case .transformer(let model): [try model.forward(inputs, context)]
        case .controlNet(let model): try model.forward(inputs, context)
        }
    }
}

extension SanaNetwork {
    /// The network itself, whatever its class.
    public var network: any Network {
        switch self {
        case .transformer(let model): model
        case .controlNet(let model): model
        }
    }
}

extension SanaNetwork {
    /// A network of a configuration without weights, for what shapes alone tell, and the tensors
    /// that it calls for.
    ///
    /// - Throws: nothing that a configuration can cause, as nothing is read.
    public static func unbound(
        _ config: SanaConfig
    ) throws -> (network: SanaNetwork, tensors: ExpectedTensors) {
        let scope = WeightScope(unbound: "")
        return (try SanaNetwork(config, scope), scope.expected)
    }
}

extension SanaConfig {
    /// The tensors that a network of this configuration calls for.
    public var expectedTensors: ExpectedTensors {
        (try? SanaNetwork.unbound(self).tensors) ?? .none
    }
}

extension SanaConfig {
    /// The modules of a forward of these sizes.
    ///
    /// - Parameters:
    ///   - height: rows of the latent.
    ///   - width: columns of the latent.
    /// - Throws: `InputError` when the sizes do not fit the network or this machine.
    public func graph(
        batch: Int, height: Int, width: Int, captionTokens: Int
    ) throws -> ModuleGraph {
        try SanaNetwork.unbound(self).network.network.graph([
            "batch": batch, "height": height, "width": width, "caption_tokens": captionTokens,
        ])
    }
}

extension SanaConfig {
    /// The modules of the smallest forward: what they read and hold does not depend on sizes.
    public var structure: ModuleGraph {
        let graph = try? graph(batch: 1, height: patchSize, width: patchSize, captionTokens: 1)
        return graph ?? ModuleGraph(modules: [], completed: [], results: [])
    }
}

extension SanaNetwork {
    /// Names of what a forward returns, in order.
    public var outputs: [String] { network.outputs }
}
