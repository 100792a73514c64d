import SanaModel

/// What `capture` has to know of a network: its class, inputs, outputs and modules, from the tables
/// that a forward here has of itself. Which modules' outputs a golden holds:
/// `ModuleGraph.isCaptured`.
package struct CapturePlan {
    private let config: any NetworkConfiguration
    private let network: any Network
    private let entry: String?
    private let sizes: NetworkSizes
    private let graph: ModuleGraph

    /// - Parameter entry: one of the network's forwards; `nil`: the usual one.
    /// - Throws: `UsageError` for a forward that the network does not have, or for sizes that it
    ///   does not take.
    package init(
        _ config: any NetworkConfiguration, entry: String?, _ request: SizeRequest
    ) throws {
        let bound = try config.unbound().network
        let names = bound.entries.compactMap(\.name)
        let entry = entry ?? names.first
        guard let network = bound[entry] else {
            throw UsageError(
                "a \(config.networkClass.name) has no entry '\((entry ?? "").printable)'",
                remedy: names.isEmpty
                    ? "leave out --entry" : "choose \(names.joined(separator: " or "))")
        }
        let sizes = network.sizes(request)
        do throws(InputError) { graph = try network.graph(sizes) } catch {
            throw UsageError(error.description)
        }
        (self.config, self.network, self.entry, self.sizes) = (config, network, entry, sizes)
    }

    /// As capture.py reads it.
    package var json: JSONValue {
        .fields([
            "class": .text(network.className),
            "version": .text(config.networkClass.isMain ? "1" : "2"),
            "entry": .text(entry),
            "inputs": .array(network.inputSpecs.map(json)),
            "outputs": .array(network.outputs.map { .string($0) }),
            "modules": outputCounts(graph.modules.filter(graph.isCaptured)),
            // Leaves of one output are what the script expects.
            "leaves": outputCounts(
                graph.modules.filter { !$0.isComposite && $0.outputs.count > 1 }),
        ])
    }

    /// How many outputs a forward has of each module, all of its calls together.
    private func outputCounts(_ modules: [ModuleGraph.Module]) -> JSONValue {
        .object(modules.map { .init($0.path, .int($0.outputs.count)) })
    }

    private func json(_ spec: InputSpec) -> JSONValue {
        var fields: [JSONValue.Member] = [
            .init("name", .string(spec.name)),
            .init("required", .bool(spec.isRequired)),
            .init("integer", .bool(spec.isInteger)),
            .init("rounded", .bool(spec.isRounded)),
            .init("scalar", .bool(spec.isScalar)),
        ]
        if let shape = spec.shape(sizes) {
            fields.append(.init("shape", .array(shape.map { .int($0) })))
        }
        let filling: String
        switch spec.filling {
        case .normal: filling = "normal"
        case .mask: filling = "mask"
        case .absent: filling = "absent"
        case .constant(let value):
            filling = "constant"
            fields.append(.init("value", .double(Double(value))))
        case .whole(let bound):
            filling = "whole"
            fields.append(.init("below", .int(bound)))
        }
        return .object(fields + [.init("filling", .string(filling))])
    }
}

extension CapturePlan {
    /// Names of the weights whose faults a golden of these inputs cannot show, as far as that is
    /// known without a forward for each.
    package func hiddenWeights(by inputs: NamedTensors) -> [String] {
        network.hidden(config.expectedTensors.all.map(\.name), by: inputs)
    }
}
