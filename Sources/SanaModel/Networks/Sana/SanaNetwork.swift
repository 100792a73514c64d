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
    /// A network of a configuration without weights, for what shapes alone tell.
    ///
    /// - Throws: `BindingError` never, as nothing is bound.
    public static func unbound(_ config: SanaConfig) throws -> SanaNetwork {
        try SanaNetwork(config, WeightScope(unbound: ""))
    }
}
