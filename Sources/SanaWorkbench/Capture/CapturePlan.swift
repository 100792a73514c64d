import SanaModel

/// What `capture` records of a network: its inputs and modules, from the tables that a forward here
/// has of itself.
package struct CapturePlan {
    private let entry: String?
    private let inputs: [(spec: InputSpec, shape: [Int])]
    private let modules: [String]

    /// - Parameter entry: one of the network's forwards; `nil`: the usual one.
    /// - Throws: `UsageError` for a forward that the network does not have, or for sizes that it does
    ///   not take.
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
        let graph: ModuleGraph
        do throws(InputError) { graph = try network.graph(sizes) } catch {
            throw UsageError(error.description)
        }
        self.entry = entry
        inputs = network.inputSpecs.compactMap { spec in
            spec.filling == .absent ? nil : spec.shape(sizes).map { (spec, $0) }
        }
        var modules: [String] = []
        for output in graph.captured {
            guard let path = graph.owner(of: output.name)?.path, !modules.contains(path) else {
                continue
            }
            modules.append(path)
        }
        self.modules = modules
    }

    /// As capture.py reads it.
    package var json: JSONValue {
        .fields([
            "entry": .text(entry),
            "inputs": .array(
                inputs.map { spec, shape in
                    var fields: [JSONValue.Member] = [
                        .init("name", .string(spec.name)),
                        .init("shape", .array(shape.map { .int($0) })),
                        .init("integer", .bool(spec.isInteger)),
                        .init("required", .bool(spec.isRequired)),
                    ]
                    switch spec.filling {
                    case .whole(let bound):
                        fields += [
                            .init("filling", .string("whole")), .init("below", .int(bound)),
                        ]
                    case .constant(let value):
                        fields += [
                            .init("filling", .string("constant")),
                            .init("value", .double(Double(value))),
                        ]
                    case .normal, .absent: fields.append(.init("filling", .string("normal")))
                    }
                    return .object(fields)
                }), "modules": .array(modules.map { .string($0) }),
        ])
    }
}
