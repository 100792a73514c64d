/// The modules of a network as a forward of given sizes runs them: the one place that knows which
/// modules there are, what they read, compute and give.
///
/// It is recorded from the forward itself, on shapes alone, so it cannot disagree with the code
/// that computes. Paths and classes are those of diffusers.
public struct ModuleGraph: Sendable, Equatable {
    /// Matrix products and convolutions, and what they move.
    public struct Work: Sendable, Equatable {
        /// A multiply-add counts two; element-wise passes count none.
        public var operations: Int
        /// Activations that they must read and write, each once; weights do not count.
        public var floats: Int
        /// Operations that are left where products have shortcuts, as convolutions by squares have:
        /// those that a CPU's rate bounds.
        public var leastOperations: Int

        public static let none = Work(operations: 0, floats: 0)

        public init(operations: Int, floats: Int, leastOperations: Int? = nil) {
            (self.operations, self.floats) = (operations, floats)
            self.leastOperations = leastOperations ?? operations
        }

        /// A linear map applied to `rows` rows.
        static func product(rows: Int, from input: Int, to output: Int) -> Work {
            Work(operations: 2 * rows * input * output, floats: rows * (input + output))
        }

        /// A 3×3 depthwise convolution of `x`.
        static func depthwise(_ x: Matrix) -> Work {
            Work(operations: 2 * 9 * x.count, floats: 2 * x.count)
        }

        static func += (left: inout Work, right: Work) {
            left.operations += right.operations
            left.floats += right.floats
            left.leastOperations += right.leastOperations
        }
    }

    /// One tensor that a module, or the whole network, returns.
    public struct Output: Sendable, Equatable {
        /// The module's path, with `.0`, `.1` … where it returns several.
        public let name: String
        /// In diffusers' layout.
        public let shape: [Int]
        /// Outputs that its values were computed from, inside the module or outside of it, without
        /// passing through a further module's output; inputs of the network as `inputs.NAME`.
        public let sources: [String]
    }

    /// A module that a forward runs.
    public struct Module: Sendable, Equatable {
        /// Module path in diffusers.
        public let path: String
        /// Class in diffusers or torch.
        public let kind: String
        /// Path of the module that it runs in; `nil` for those of the network itself.
        public let parent: String?
        /// Whether other modules run inside it.
        public let isComposite: Bool
        /// Its children's included.
        public let work: Work
        public let outputs: [Output]
        /// Outputs of other modules that it reads: those that were there before it began.
        public let inputs: [String]

        public var operations: Int { work.operations }
    }

    /// What inputs of the network are called among sources.
    public static let inputPrefix = "inputs."

    static func isNetworkInput(_ name: String) -> Bool { name.hasPrefix(inputPrefix) }

    /// In execution order, parents before children.
    public let modules: [Module]
    /// Names of all outputs of modules in the order in which a forward completes them.
    public let completed: [String]
    /// What the network returns.
    public let results: [Output]

    private let places: [String: Int]
    private let owners: [String: Int]

    init(modules: [Module], completed: [String], results: [Output]) {
        (self.modules, self.completed, self.results) = (modules, completed, results)
        places = Dictionary(
            zip(modules.map(\.path), modules.indices)
        ) { first, _ in first }
        owners = Dictionary(
            modules.indices.flatMap { index in
                modules[index].outputs.map { ($0.name, index) }
            }
        ) { first, _ in first }
    }

    /// The module at `path`.
    public subscript(path: String) -> Module? { places[path].map { modules[$0] } }

    /// The module that an output of this name belongs to.
    public func owner(of output: String) -> Module? { owners[output].map { modules[$0] } }

    /// The output of a module called `name`.
    public func output(_ name: String) -> Output? {
        owner(of: name)?.outputs.first { $0.name == name }
    }

    /// Inputs of the network that an output is computed from inside its own module, as
    /// `inputs.NAME`, the nearest first.
    public func networkInputs(of output: String) -> [String] {
        guard let module = owner(of: output) else { return [] }
        var (found, seen, open) = ([String](), Set<String>(), [output])
        while !open.isEmpty {
            let name = open.removeFirst()
            guard seen.insert(name).inserted else { continue }
            if Self.isNetworkInput(name) {
                found.append(name)
            } else if let inner = owner(of: name),
                inner.path == module.path || inner.path.hasPrefix(module.path + ".")
            {
                open += self.output(name)?.sources ?? []
            }
        }
        return found
    }

    /// Operations of a whole forward.
    public var operations: Int {
        modules.filter(\.isOutermost).reduce(0) { $0 + $1.work.operations }
    }

    /// Modules with products of their own or inside them, and those that goldens hold: what a
    /// profile shows.
    public var measured: [Module] {
        modules.filter { $0.work.operations > 0 || isCaptured($0) }
    }
}

extension ModuleGraph.Module {
    /// Whether no other module contains this one.
    public var isOutermost: Bool { parent == nil }

    /// Whether it is one of a list of composite modules, as the blocks of a transformer are.
    public var isBlock: Bool {
        isComposite && path.split(separator: ".").last.flatMap { Int($0) } != nil
    }

    /// Bytes of fp32 activations that its products must read and write; of a module without
    /// products, its result once read and once written.
    public var activationBytes: Int {
        let passed = outputs.reduce(0) { $0 + 2 * $1.shape.reduce(1, *) }
        return 4 * (work.operations > 0 ? work.floats : passed)
    }
}
