/// A network with weights: what the workbench verifies, profiles and tunes, whatever it is called
/// and takes.
public protocol Network: Sendable {
    /// Value of `_class_name` in its `config.json`, or of `architectures` where transformers wrote
    /// it.
    var className: String { get }

    /// What a forward takes, in the order in which messages list it.
    var inputSpecs: [InputSpec] { get }

    /// Names of what a forward returns, in order.
    var outputs: [String] { get }

    /// Checks every shape against the configuration, and that the forward fits this machine.
    ///
    /// - Throws: `InputError` for the first input that does not fit.
    func check(_ inputs: NamedTensors) throws(InputError)

    /// The sizes of a forward that somebody asks for; what is not asked for is as in the pipelines
    /// of diffusers.
    func sizes(_ request: SizeRequest) -> NetworkSizes

    /// The network as the forward of a golden ran.
    ///
    /// - Parameter contract: the golden's; `nil` or absent keys say nothing.
    /// - Throws: `BadDataError` for settings that cannot be.
    func configured(by contract: JSONValue, file: String) throws(BadDataError) -> any Network

    /// Whether goldens hold what its modules return, next to its inputs and outputs.
    var capturesModules: Bool { get }

    /// Sets to 0 what of an output's values means nothing, such as padding.
    ///
    /// - Parameter values: in the shape that the output has with `inputs`.
    func clearPadding(_ values: FloatBuffer, ofOutput index: Int, _ inputs: NamedTensors)

    /// Those of `weights` that no output depends on with `inputs`, as far as that is known without
    /// running the network.
    func hidden(_ weights: [String], by inputs: NamedTensors) -> [String]

    /// One forward.
    ///
    /// - Parameter inputs: by the names of `inputSpecs`, shapes as in diffusers.
    /// - Returns: as many as `outputs` names, shapes as in diffusers.
    /// - Throws: `InputError` when the inputs do not fit the network.
    func forward(_ inputs: NamedTensors, _ context: ForwardContext) throws(InputError)
        -> [DenseTensor]
}

/// Tensors by name.
public typealias NamedTensors = [String: DenseTensor]

/// Sizes of a forward that the caller chooses, by name: `batch`, `height` …
public typealias NetworkSizes = [String: Int]

/// What of a forward's sizes somebody chose.
public struct SizeRequest: Sendable, Equatable {
    /// Name of the size that every network has.
    public static let batch = "batch"

    public var batch: Int?
    /// Rows of the latent.
    public var height: Int?
    /// Columns of the latent.
    public var width: Int?
    /// Tokens of the prompt.
    public var tokens: Int?

    public init(batch: Int? = nil, height: Int? = nil, width: Int? = nil, tokens: Int? = nil) {
        (self.batch, self.height, self.width, self.tokens) = (batch, height, width, tokens)
    }
}

/// One input of a network: the row of the table that goldens, synthetic inputs, messages and the
/// history read.
public struct InputSpec: Sendable, Equatable {
    /// A dimension of its shape.
    public enum Extent: Sendable, Equatable {
        case fixed(Int)
        /// One of the sizes that the caller chooses.
        case size(String)
    }

    /// What a profile or a captured golden has where nobody gives values.
    public enum Filling: Sendable, Equatable {
        /// Standard normal numbers.
        case normal
        case constant(Float)
        /// Whole numbers from 0 on that are below this one.
        case whole(below: Int)
        /// 1 for what counts: all of it in a profile; a golden hides some, so that it shows whether
        /// masks work.
        case mask
        /// Nothing: the input is left out.
        case absent
    }

    /// As in diffusers' `forward`, without `inputs.`.
    public let name: String
    public let shape: [Extent]
    public let isRequired: Bool
    /// Whether infinity is a value that it may have, as a bias in place of a mask may.
    public let mayBeInfinite: Bool
    public let filling: Filling
    /// Whether its values are whole numbers, which goldens store as I64 and a forward takes as
    /// floats that hold them exactly.
    public let isInteger: Bool
    /// Whether a model that computes in 16 bits rounds it to them first.
    public let isRounded: Bool

    public init(
        _ name: String, _ shape: [Extent], isRequired: Bool = true, mayBeInfinite: Bool = false,
        filling: Filling = .normal, isInteger: Bool = false, isRounded: Bool = true
    ) {
        (self.name, self.shape, self.isRequired) = (name, shape, isRequired)
        (self.mayBeInfinite, self.filling) = (mayBeInfinite, filling)
        (self.isInteger, self.isRounded) = (isInteger, isRounded && !isInteger)
    }

    /// Whether it is a number, which diffusers takes as such.
    public var isScalar: Bool { shape == [.fixed(1)] }

    /// Its shape in a forward of `sizes`; `nil` where one of them is not given.
    public func shape(_ sizes: NetworkSizes) -> [Int]? {
        var result: [Int] = []
        for extent in shape {
            switch extent {
            case .fixed(let value): result.append(value)
            case .size(let name):
                guard let value = sizes[name] else { return nil }
                result.append(value)
            }
        }
        return result
    }
}

extension Network {
    public func configured(
        by contract: JSONValue, file: String
    ) throws(BadDataError) -> any Network { self }

    public var capturesModules: Bool { true }

    public func hidden(_ weights: [String], by inputs: NamedTensors) -> [String] { [] }

    public func clearPadding(
        _ values: FloatBuffer, ofOutput index: Int, _ inputs: NamedTensors
    ) {}

    /// The inputs `count` times over, one batch after the other.
    public func repeated(_ inputs: NamedTensors, _ count: Int) -> NamedTensors {
        guard count > 1 else { return inputs }
        var result = inputs
        for spec in inputSpecs where spec.shape.first == .size(SizeRequest.batch) {
            result[spec.name] = inputs[spec.name]?.repeated(count)
        }
        return result
    }

    /// The modules of a forward of `sizes`, recorded from the forward itself.
    ///
    /// - Throws: `InputError` when the sizes do not fit the network or this machine.
    public func graph(_ sizes: NetworkSizes) throws(InputError) -> ModuleGraph {
        var inputs: NamedTensors = [:]
        for spec in sizedSpecs {
            guard let shape = spec.shape(sizes) else {
                throw InputError(spec.name, nil, "sizes \(sizeNames.joined(separator: ", "))")
            }
            guard DType.f32.byteCount(shape: shape) != nil else {
                throw InputError(spec.name, shape, "sizes that memory can hold")
            }
            inputs[spec.name] = DenseTensor(shapeOnly: shape)
        }
        return try graph(of: inputs)
    }

    /// The modules of a forward on `inputs`. Where it leaves out what their values mark as padding,
    /// so does the graph.
    ///
    /// - Throws: `InputError` when the inputs do not fit the network or this machine.
    public func graph(of inputs: NamedTensors) throws(InputError) -> ModuleGraph {
        let recorder = GraphRecorder()
        var recorded: NamedTensors = [:]
        for spec in sizedSpecs {
            guard let tensor = inputs[spec.name] else { continue }
            recorder.input(spec.name, tensor)
            recorded[spec.name] = tensor
        }
        let results = try forward(recorded, ForwardContext(recording: recorder))
        return recorder.graph(zip(outputs, results).map { ($0, $1) })
    }

    /// Names of the sizes that a forward has, in the order of its inputs.
    public var sizeNames: [String] {
        var names: [String] = []
        for case .size(let name) in sizedSpecs.flatMap(\.shape) where !names.contains(name) {
            names.append(name)
        }
        return names
    }

    /// Inputs that tell sizes: others do not show whether they are there.
    private var sizedSpecs: [InputSpec] { inputSpecs.filter { $0.filling != .absent } }

    /// The sizes of a forward on `inputs`.
    public func sizes(of inputs: NamedTensors) -> NetworkSizes {
        var sizes: NetworkSizes = [:]
        for spec in sizedSpecs {
            guard let tensor = inputs[spec.name], tensor.shape.count == spec.shape.count else {
                continue
            }
            for (extent, value) in zip(spec.shape, tensor.shape) {
                if case .size(let name) = extent, sizes[name] == nil { sizes[name] = value }
            }
        }
        return sizes
    }
}
