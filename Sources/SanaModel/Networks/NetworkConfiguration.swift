/// What `config.json` says of a network.
public protocol NetworkConfiguration: Sendable {
    var networkClass: NetworkClass { get }

    /// Its size in a line.
    var summary: String { get }

    /// Binds every tensor of a scope, which must hold just those that the configuration calls for.
    ///
    /// - Returns: the forwards that the class has, the usual one first.
    /// - Throws: `BindingError`, or what the source throws while reading values.
    func bind(_ scope: WeightScope) throws -> [NetworkEntry]

    /// Checks that the values fit each other.
    ///
    /// - Parameter json: what they were read from.
    /// - Throws: `BadDataError`.
    func check(_ json: JSONValue, file: String) throws(BadDataError)

    /// Keys that the shapes of the tensors contradict.
    ///
    /// - Parameter json: what the configuration was read from, to tell keys that are absent.
    func disagreements(
        with source: any TensorSource, json: JSONValue?
    ) -> [ConfigurationDisagreement]
}

extension NetworkConfiguration {
    public func check(_ json: JSONValue, file: String) throws(BadDataError) {}

    public func disagreements(
        with source: any TensorSource, json: JSONValue?
    ) -> [ConfigurationDisagreement] { [] }

    /// Binds every tensor of `source`, which must hold just those that the configuration calls for.
    ///
    /// - Parameter label: the file or directory, for messages.
    /// - Throws: `BindingError`, or what the source throws while reading values.
    public func network(_ source: any TensorSource, label: String) throws -> BoundNetwork {
        BoundNetwork(
            configuration: self, entries: try bind(WeightScope(source, label: label)))
    }

    /// Checks names, types and shapes of `source` without reading values.
    ///
    /// - Throws: `BindingError`.
    public func check(source: any TensorSource, label: String) throws {
        _ = try bind(WeightScope(source, label: label, readsValues: false))
    }

    /// The network without weights, for what shapes alone tell.
    ///
    /// - Throws: nothing that a configuration can cause, as nothing is read.
    public func unbound() throws -> (network: BoundNetwork, tensors: ExpectedTensors) {
        let scope = WeightScope(unbound: "")
        return (BoundNetwork(configuration: self, entries: try bind(scope)), scope.expected)
    }

    /// The tensors that the configuration calls for.
    public var expectedTensors: ExpectedTensors { (try? unbound().tensors) ?? .none }

    /// The same by the names that `source` has for them, whatever it lacks.
    public func expectedTensors(in source: any TensorSource) -> ExpectedTensors {
        let scope = WeightScope(source, label: "", readsValues: false)
        // What it lacks is for binding to tell.
        _ = try? bind(scope)
        return scope.expected
    }
}

/// One of the forwards of a class, as `encode` and `decode` of an autoencoder.
public struct NetworkEntry: Sendable {
    /// Value of `entry` in contracts; `nil` where the class has one forward only.
    public let name: String?
    public let network: any Network

    public init(_ network: any Network, name: String? = nil) {
        (self.network, self.name) = (network, name)
    }
}

/// A network with its weights, all its forwards.
public struct BoundNetwork: Sendable {
    public let configuration: any NetworkConfiguration
    /// The usual one first.
    public let entries: [NetworkEntry]

    /// The usual forward.
    public var network: any Network { entries[0].network }

    /// The forward of that name; `nil` where there is none.
    public subscript(name: String?) -> (any Network)? {
        entries.first { $0.name == name }?.network
    }
}
