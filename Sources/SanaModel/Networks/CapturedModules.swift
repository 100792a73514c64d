/// Which modules goldens hold the outputs of.
extension ModuleGraph {
    /// Outputs that every golden holds, in the order in which a forward completes them.
    public var captured: [Output] {
        completed.compactMap { name in
            guard let module = owner(of: name), isCaptured(module) else { return nil }
            return module.outputs.first { $0.name == name }
        }
    }

    /// Whether goldens hold what the module returns: the network's own modules and blocks, and of a
    /// block those parts that are modules of modules, as attention and feed-forward are.
    public func isCaptured(_ module: Module) -> Bool {
        guard let parent = module.parent else { return true }
        return module.isComposite && self[parent]?.isBlock == true
    }

    /// Whether the module is a part of a block that goldens hold.
    public func isPart(_ module: Module) -> Bool { module.parent != nil && isCaptured(module) }
}
