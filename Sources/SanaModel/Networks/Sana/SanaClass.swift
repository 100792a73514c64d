/// One of diffusers' classes that a `SanaConfig` configures: what tells it from the others,
/// declared in the room of each.
public struct SanaClass: Sendable {
    /// Value of `_class_name`.
    public let name: String
    /// What a message calls one of them.
    let noun: String
    /// A tensor that tells it from those that come before it in the registry.
    let marker: String
    /// diffusers' default of `num_layers`.
    let standardLayers: Int
    /// Fewest layers that it can run.
    let fewestLayers: Int
    /// Keys of `SanaConfig` that its class does not take.
    var absentKeys: [String] = []
    /// Inputs without which it does not run, and which none of the others take.
    var ownInputs: [String] = []
    /// Matrices, with a row for each token, that a forward keeps in addition to those of a block.
    var keptMatrices: @Sendable (SanaConfig) -> Int = { _ in 0 }
    /// Its blocks in NVlabs' checkpoints.
    let original: OriginalBlocks
    /// What was released of it.
    let released: @Sendable () -> [ReleasedConfiguration]
    /// Binds the tensors of a scope.
    let network: @Sendable (SanaConfig, WeightScope) throws -> any Network

    /// Its row in the registry of networks.
    var networkClass: NetworkClass {
        NetworkClass(
            name, noun: noun, isMain: true, marker: marker,
            configuration: { json, file throws(BadDataError) in
                try SanaConfig(values: json, file: file)
            },
            knowsKey: { SanaConfig.isKnown($0, of: self) }, likeness: SanaConfig.likeness)
    }

    static func named(_ name: String?) -> SanaClass? { all.first { $0.name == name } }

    /// The class of a checkpoint by its tensors, which has those of the classes before it, too.
    static func of(_ source: any TensorSource) -> SanaClass? {
        all.last { source.info($0.marker) != nil }
    }
}

extension SanaClass: Equatable {
    public static func == (left: SanaClass, right: SanaClass) -> Bool { left.name == right.name }
}

/// How an original checkpoint holds the blocks of a network.
struct OriginalBlocks: Sendable {
    /// What names of tensors of blocks begin with.
    let prefix: String
    /// What comes between the number of a block and its modules.
    var inner = ""
    /// What names begin with of tensors that belong to another network next to it.
    var foreign: [String] = []
    /// diffusers' names of a tensor of a block, or of its parts; `nil` for one that means nothing.
    let names: @Sendable (_ index: Int, _ module: String, _ parameter: Substring) -> [String]?

    /// Those of the network whose blocks `names`, without prefixes, are of.
    static func of(_ names: some Sequence<String>) -> SanaClass {
        SanaClass.all.last { item in names.contains { $0.hasPrefix(item.original.prefix) } }
            ?? .transformer
    }
}
