/// A place in a checkpoint's tree of names, handed down while a model is built.
///
/// Every look-up is recorded. A tensor that is missing or mismatched yields a placeholder and a
/// record, so building goes on and `finish()` reports all problems in one error; no model with
/// placeholders ever leaves its initialiser.
public struct WeightScope {
    /// Module path of this place; empty at the root.
    public let path: String
    /// What names in the checkpoint have before `path`.
    private let prefix: String
    /// What weights at this place and below are for, and where they belong, unless a layer says
    /// otherwise.
    private let role: TensorRole
    private let part: TensorPart
    private let binding: Binding

    /// The root of `source`.
    ///
    /// - Parameters:
    ///   - label: the file or directory, for messages.
    ///   - readsValues: `false` compares names, types and shapes alone and yields placeholders.
    public init(_ source: any TensorSource, label: String, readsValues: Bool = true) {
        (path, prefix, role, part) = ("", "", .other, .other)
        binding = Binding(source: source, label: label, readsValues: readsValues)
    }

    /// The root of no checkpoint: everything is a placeholder of the shape asked for, and nothing
    /// is missing. A network of such weights is for recording, not for computing.
    init(unbound label: String) {
        (path, prefix, role, part) = ("", "", .other, .other)
        binding = Binding(source: nil, label: label, readsValues: false)
    }

    private init(
        _ path: String, prefix: String, _ role: TensorRole, _ part: TensorPart, _ binding: Binding
    ) {
        (self.path, self.prefix, self.binding) = (path, prefix, binding)
        (self.role, self.part) = (role, part)
    }

    /// Whether the checkpoint has a tensor of this name here.
    public func holds(_ name: String) -> Bool {
        binding.source?.info(prefix + self[name].path) != nil
    }

    /// The child `name` as a root: what is below it has module paths without it.
    public func rooted(at name: String) -> WeightScope {
        WeightScope(
            "", prefix: prefix + self[name].path + ".", role, part, binding)
    }

    /// Accepts a tensor that the network does not use.
    public func ignore(_ name: String) { binding.claimed.insert(prefix + self[name].path) }

    /// The child module `name`.
    public subscript(name: String) -> WeightScope {
        WeightScope(
            path.isEmpty ? name : path + "." + name, prefix: prefix, role, part, binding)
    }

    /// This place, whose weights have a role and belong to a part.
    public func holding(_ role: TensorRole, _ part: TensorPart) -> WeightScope {
        WeightScope(path, prefix: prefix, role, part, binding)
    }

    /// The tensors that have been asked for, in that order.
    var expected: ExpectedTensors { ExpectedTensors(binding.expected) }

    /// The child module of a list.
    public subscript(index: Int) -> WeightScope { self[String(index)] }

    /// A parameter as fp32 values.
    ///
    /// - Parameters:
    ///   - shape: what the configuration calls for; the tensor must have just that.
    ///   - role: by default that of the place.
    ///   - part: by default that of the place.
    ///   - module: path of the module that computes with it; by default this place.
    /// - Throws: errors of the source while reading values.
    public func parameter(
        _ name: String, shape: [Int], role: TensorRole? = nil, part: TensorPart? = nil,
        usedBy module: String? = nil
    ) throws -> FloatBuffer {
        expect(name, shape: shape, role ?? self.role, part ?? self.part, module ?? path)
        guard let tensor = claim(name, shape: shape, types: [.f32, .f16, .bf16]),
            binding.readsValues,
            let values = try binding.source?.bytes(of: tensor).widened(from: tensor.dtype)
        else { return FloatBuffer(count: 0) }
        return values
    }

    /// A whole number that training counts with and a forward does not need.
    public func counter(_ name: String) {
        _ = claim(name, shape: [], types: [.i64])
    }

    /// The weight of a linear map or 1×1 convolution, in its stored type.
    ///
    /// An I8 weight brings its `scale` F32 `[out, 1, …]`, one dimension for each of `shape`.
    ///
    /// - Parameter shape: `[out, in]`, or `[out, in, kernel height, kernel width]` for a
    ///   convolution whose kernel is flattened into the input channels.
    public func weight(shape: [Int]) throws -> Weight {
        let (rows, columns) = (shape[0], shape.dropFirst().reduce(1, *))
        expect("weight", shape: shape, role, part, path)
        let placeholder = Weight(
            storage: .float32(ByteView([])), rows: rows, columns: columns)
        guard let tensor = claim("weight", shape: shape, types: [.f32, .f16, .bf16, .i8]) else {
            if let scale = binding.source?.info(prefix + self["scale"].path) {
                // If the weight is absent, its scale is not a second problem.
                binding.claimed.insert(scale.name)
            }
            return placeholder
        }
        if binding.readsValues, let encoded = try binding.source?.rows(of: tensor) {
            return Weight(storage: .encoded(encoded), rows: rows, columns: columns)
        }
        let bytes =
            binding.readsValues
            ? try binding.source?.bytes(of: tensor) ?? ByteView([]) : ByteView([])
        let storage: Weight.Storage
        switch tensor.dtype {
        case .bf16: storage = .bfloat16(bytes)
        case .f16: storage = .float16(bytes)
        case .i8:
            let scaleShape = [rows] + shape.dropFirst().map { _ in 1 }
            guard let scale = claim("scale", shape: scaleShape, types: [.f32]), binding.readsValues,
                let values = try binding.source?.bytes(of: scale).widened(from: .f32)
            else { return placeholder }
            storage = .int8(bytes, scale: values)
        default: storage = .float32(bytes)
        }
        return Weight(storage: storage, rows: rows, columns: columns)
    }

    /// Ends the binding.
    ///
    /// - Throws: `BindingError` when any tensor is missing, mismatched, or never requested.
    public func finish() throws(BindingError) {
        guard let source = binding.source else { return }
        let unexpected = source.tensors.filter { !binding.claimed.contains($0.name) }
        guard unexpected.isEmpty, binding.missing.isEmpty, binding.mismatched.isEmpty else {
            throw BindingError(
                file: binding.label, missing: binding.missing, unexpected: unexpected.map(\.name),
                mismatched: binding.mismatched)
        }
    }

    private func expect(
        _ name: String, shape: [Int], _ role: TensorRole, _ part: TensorPart, _ module: String
    ) {
        binding.expected.append(
            ExpectedTensor(
                name: prefix + self[name].path, shape: shape, role: role, part: part,
                module: module))
    }

    private func claim(_ name: String, shape: [Int], types: [DType]) -> TensorInfo? {
        let name = prefix + self[name].path
        binding.claimed.insert(name)
        guard let source = binding.source else { return nil }
        guard let tensor = source.info(name) else {
            binding.missing.append(.init(name: name, shape: shape))
            return nil
        }
        guard tensor.shape == shape, types.contains(tensor.dtype) else {
            binding.mismatched.append(
                .init(tensor: tensor, expectedShape: shape, expectedTypes: types))
            return nil
        }
        return tensor
    }

    /// What has been asked for so far, shared by all scopes of one model.
    private final class Binding {
        let source: (any TensorSource)?
        let label: String
        let readsValues: Bool
        var claimed = Set<String>()
        var expected: [ExpectedTensor] = []
        var missing: [BindingError.Missing] = []
        var mismatched: [BindingError.Mismatch] = []

        init(source: (any TensorSource)?, label: String, readsValues: Bool) {
            (self.source, self.label, self.readsValues) = (source, label, readsValues)
        }
    }
}

/// Everything in which a checkpoint's tensors differ from what its configuration calls for.
public struct BindingError: DiagnosticError {
    /// A tensor that the configuration calls for and the checkpoint lacks.
    public struct Missing: Sendable, Equatable {
        public let name: String
        public let shape: [Int]
    }
    /// A tensor of another shape or type than the configuration calls for.
    public struct Mismatch: Sendable, Equatable {
        public let tensor: TensorInfo
        public let expectedShape: [Int]
        public let expectedTypes: [DType]
    }

    public let file: String
    public let missing: [Missing]
    public let unexpected: [String]
    public let mismatched: [Mismatch]

    /// Lines of one kind that are shown before the rest is counted.
    private static let shown = 20

    public var category: DiagnosticCategory { .badData }

    public var description: String {
        var lines = [
            "\(file.printable): weights do not fit the configuration: \(missing.count) missing, "
                + "\(unexpected.count) unexpected, \(mismatched.count) mismatched"
        ]
        func list(_ items: [String]) {
            lines += items.prefix(Self.shown).map { "  " + $0 }
            if items.count > Self.shown { lines.append("  … and \(items.count - Self.shown) more") }
        }
        list(missing.map { "missing     \($0.name.printable) \($0.shape)" })
        list(unexpected.map { "unexpected  \($0.printable)" })
        list(
            mismatched.map {
                "mismatched  \($0.tensor.name.printable): expected "
                    + "\($0.expectedTypes.map(\.rawValue).joined(separator: "/")) \($0.expectedShape), "
                    + "found \($0.tensor.dtype.rawValue) \($0.tensor.shape)"
            })
        return lines.joined(separator: "\n")
    }

    public var remedy: String? {
        "check that config.json and the weights come from the same revision of the same model"
    }
    public var page: HelpPage? { .tensors }
}
