import SanaModel

/// How many runs go side by side to tell own errors from inherited ones, and which activations
/// each of them takes from the golden.
///
/// A module inside n captured ones has level n. Run 0 is free; run k goes on with the golden's
/// values after every captured activation of a level below k. A module of level n therefore has
/// golden inputs, and nothing replaced inside it, in run n + 1; in the last run its captured
/// children are golden, too.
package struct Isolation: Sendable, Equatable {
    /// Paths of captured modules, without the number of an output.
    private let modules: Set<String>
    package let runs: Int

    /// - Parameter captured: names of the golden's activations.
    package init(captured: [String], _ graph: ModuleGraph) {
        modules = Set(captured.map { graph.owner(of: $0)?.path ?? $0 })
        let modules = modules
        runs = 2 + (modules.map { Self.level(of: $0, modules) }.max() ?? 0)
    }

    /// Captured modules around the one at `path`.
    package func level(of path: String) -> Int { Self.level(of: path, modules) }

    /// The run in which a module of `level` has golden inputs and its own insides.
    package func run(forcing level: Int) -> Int { min(level + 1, runs - 1) }

    private static func level(of path: String, _ modules: Set<String>) -> Int {
        var level = 0
        var rest = path[...]
        while let dot = rest.lastIndex(of: ".") {
            rest = rest[..<dot]
            if modules.contains(String(rest)) { level += 1 }
        }
        return level
    }
}

extension Isolation {
    /// Why layers cannot run on golden inputs.
    package struct Refusal: Error { let text: String }

    /// The runs that `options` call for: none where isolation is switched off, or neither asked
    /// for nor cheap.
    static func choose(
        _ network: any Network, _ graph: ModuleGraph, _ golden: Golden,
        _ options: Verification.Options
    ) -> Result<Isolation?, Refusal> {
        guard options.isolated != false, network.capturesModules else { return .success(nil) }
        let isolation = Isolation(captured: golden.activationNames, graph)
        var sizes = network.sizes(of: golden.inputs)
        for name in sizes.keys where name == SizeRequest.batch {
            sizes[name]? *= isolation.runs
        }
        // Whether so many fit this machine.
        do throws(InputError) { _ = try network.graph(sizes) } catch {
            return options.isolated == true
                ? .failure(Refusal(text: error.description)) : .success(nil)
        }
        let operations = graph.operations * isolation.runs
        guard options.isolated == true || operations <= Verification.Options.isolatedOperations
        else { return .success(nil) }
        if let lacking = graph.captured.first(where: {
            golden.shape(Golden.activationPrefix + $0.name) != $0.shape
        }) {
            return .failure(Refusal(text: "the golden has no usable \(lacking.name)"))
        }
        return .success(isolation)
    }
}
