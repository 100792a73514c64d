/// What a checkpoint says of one tensor, without its values.
public struct TensorInfo: Sendable, Equatable {
    /// Name in the checkpoint: a module path and a parameter name. Untrusted text.
    public let name: String
    public let dtype: DType
    /// Dimensions, outermost first; empty for a scalar.
    public let shape: [Int]
    /// Bytes the values take, which is shape × dtype.
    public let byteCount: Int

    /// `nil` when the byte count overflows, see `DType.byteCount(shape:)`.
    public init?(name: String, dtype: DType, shape: [Int]) {
        guard let byteCount = dtype.byteCount(shape: shape) else { return nil }
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.byteCount = byteCount
    }

    /// Number of values.
    public var elementCount: Int { shape.reduce(1, *) }
}

/// The only door to weights: a safetensors file, a set of shards, or an archive.
public protocol TensorSource: Sendable {
    /// Every tensor, in the order of its data.
    var tensors: [TensorInfo] { get }

    /// The tensor called `name`, if there is one.
    func info(_ name: String) -> TensorInfo?

    /// The raw little-endian values of a tensor of this source.
    ///
    /// - Throws: a `DiagnosticError` when the values cannot be decoded.
    func bytes(of tensor: TensorInfo) throws -> ByteView

    /// What decodes rows of a tensor that another program has quantized, so that its values need
    /// not be in memory at once; `nil` for values that are stored as they are.
    ///
    /// - Throws: as `bytes(of:)`.
    func rows(of tensor: TensorInfo) throws -> EncodedRows?

    /// How another program quantized a tensor whose values are decoded here; `nil` for those stored
    /// as they are.
    func recipe(of tensor: TensorInfo) -> String?

    /// Bytes that a tensor takes where it is stored.
    func storedByteCount(of tensor: TensorInfo) -> Int

    /// Whether values are made anew each time instead of being mapped.
    var computesValues: Bool { get }

    /// What a file's header says besides its tensors.
    var metadata: [String: String] { get }

    /// A source to bind weights from, unpacked once by all `workers` where this one is compressed.
    func resident(using workers: WorkerPool) throws -> any TensorSource
}

extension TensorSource {
    public func rows(of tensor: TensorInfo) throws -> EncodedRows? { nil }
    public func recipe(of tensor: TensorInfo) -> String? { nil }
    public func storedByteCount(of tensor: TensorInfo) -> Int { tensor.byteCount }
    public var computesValues: Bool { false }
    public var metadata: [String: String] { [:] }
    public func resident(using workers: WorkerPool) throws -> any TensorSource { self }

    /// Number of values in all tensors.
    public var parameterCount: Int { tensors.reduce(0) { $0 + $1.elementCount } }
}
