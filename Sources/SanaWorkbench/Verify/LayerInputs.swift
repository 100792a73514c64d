import SanaModel

/// Which captured layers a captured layer takes its input from, as the network's module graph has
/// it.
package struct LayerInputs: Sendable {
    private let graph: ModuleGraph
    private let tensors: ExpectedTensors
    /// Captured paths in execution order.
    private let captured: [String]
    /// Captured, or what any golden should hold.
    private let isKnown: Set<String>

    /// - Parameter captured: the paths of a comparison, in execution order.
    package init(_ graph: ModuleGraph, _ tensors: ExpectedTensors, captured: [String]) {
        (self.graph, self.tensors) = (graph, tensors)
        self.captured = captured
        isKnown = Set(captured).union(graph.captured.map(\.name))
    }

    /// Paths whose outputs `path` computes from, captured or lacking, and in place of those that
    /// goldens need not hold what they compute from. Inputs of the whole model do not count: they
    /// are the golden's own.
    package func inputs(of path: String) -> [String] {
        let first: [String]
        if let result = graph.results.first(where: { Golden.outputPrefix + $0.name == path }) {
            first = result.sources
        } else {
            first = (graph.owner(of: path)?.inputs ?? []) + (graph.output(path)?.sources ?? [])
        }
        var (found, seen, open) = ([String](), Set([path]), first)
        while !open.isEmpty {
            let name = open.removeFirst()
            guard seen.insert(name).inserted, let owner = graph.owner(of: name) else { continue }
            if isKnown.contains(name) {
                found.append(name)
            } else {
                open += owner.inputs + (graph.output(name)?.sources ?? [])
            }
        }
        return found
    }

    /// Paths that `path` computes from, however far before it, and what they contain.
    package func ancestors(of path: String) -> Set<String> {
        var found: Set<String> = []
        var open = [path]
        while let next = open.popLast() {
            for path in inputs(of: next) + insides(of: next) where found.insert(path).inserted {
                open.append(path)
            }
        }
        return found
    }

    /// Whether two paths are outputs of one module.
    package func isOneModule(_ one: String, _ other: String) -> Bool {
        guard let owner = graph.owner(of: one), owner.outputs.count > 1 else { return false }
        return owner.path == graph.owner(of: other)?.path
    }

    /// Whether one of two modules contains the other, or they are outputs of one.
    package func isRelated(_ one: String, _ other: String) -> Bool {
        one == other || one.hasPrefix(other + ".") || other.hasPrefix(one + ".")
            || isOneModule(one, other)
    }

    /// The layers among `paths` that a tensor of the checkpoint is a parameter of: of the innermost
    /// module that is captured, every output.
    package func owners(of tensor: String, among paths: [String]) -> [String] {
        guard let module = tensors[tensor]?.module else { return [] }
        let around = paths.filter { path in
            graph.owner(of: path).map { module == $0.path || module.hasPrefix($0.path + ".") }
                ?? false
        }
        func depth(_ path: String) -> Int { graph.owner(of: path)?.path.utf8.count ?? 0 }
        let innermost = around.map(depth).max()
        return around.filter { depth($0) == innermost }
    }

    /// The golden's input that the layer at `path` alone computes from, where it is one of the
    /// first.
    package func goldenInput(of path: String) -> String? {
        guard let owner = graph.owner(of: path), owner.parent == nil, owner.inputs.isEmpty else {
            return nil
        }
        return graph.networkInputs(of: path).first
    }

    /// Captured paths inside the module that returns `path`, its other output not counted.
    package func insides(of path: String) -> [String] {
        guard let owner = graph.owner(of: path) else { return [] }
        let outputs = owner.outputs.map(\.name)
        return captured.filter { $0.hasPrefix(owner.path + ".") && !outputs.contains($0) }
    }

    /// Of `inputs(of:)`, those that come from outside the module.
    package func outerInputs(of path: String) -> [String] {
        inputs(of: path).filter { !$0.hasPrefix(path + ".") }
    }

    /// The block around a module that is one of several, all of which read just the same in a part
    /// of that block, as the projections of self-attention do; and those modules.
    package func twins(of path: String) -> (block: String, modules: [String])? {
        guard let module = graph.owner(of: path), let part = module.parent,
            let block = graph[part]?.parent, graph[block]?.isBlock == true
        else { return nil }
        let twins = graph.modules.filter { $0.parent == part && $0.inputs == module.inputs }
        return twins.count > 1 ? (block, twins.map(\.path)) : nil
    }

    /// Norms that a module reads.
    package func norms(before path: String) -> [String] {
        (graph.owner(of: path)?.inputs ?? []).filter { name in
            graph.owner(of: name)?.kind.hasSuffix("Norm") == true
        }
    }
}
