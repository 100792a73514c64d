/// What a program that quantizes has written: its tensors, and what is said of them.
struct QuantizedModel {
    let tensors: [TensorInfo]
    /// What `quantization_config` says; `nil` where there is none.
    let settings: QuantizationSettings?
    /// `config.json`; `nil` where nothing is known of it.
    let config: JSONValue?
    /// Told from names, types and shapes.
    let stored: StoredEncoding
    let byName: [String: TensorInfo]

    /// - Parameter config: `config.json`; `nil` where nothing is known of it.
    init(_ tensors: [TensorInfo], config: JSONValue?) {
        (self.tensors, self.config) = (tensors, config)
        settings = config?[QuantizationCheck.key].flatMap { value in
            value.members == nil ? nil : QuantizationSettings(value)
        }
        stored = StoredEncoding(tensors)
        byName = Dictionary(tensors.map { ($0.name, $0) }) { first, _ in first }
    }
}

/// A way to quantize weights that can be read: the one home of what a program writes, and of what
/// it stands for.
protocol QuantizationFormat: Sendable {
    /// `nil` where the model is not stored in this format.
    init?(_ model: QuantizedModel)

    /// What contradicts the configuration, or cannot be read.
    var findings: [QuantizationFinding] { get }

    /// The logical tensors that are stored encoded; all others are stored as they are, or are parts
    /// of these.
    ///
    /// - Parameters:
    ///   - shapes: of the tensors that the network calls for, by name, as far as it is known.
    ///   - file: for messages.
    /// - Throws: `BadDataError`, `QuantizationError`, errors of the source.
    func encodings(
        of source: any TensorSource, shapes: [String: [Int]], file: String
    ) throws -> [TensorEncoding]

    /// Stored tensors that mean nothing once the encodings are known.
    func isLeftOut(_ tensor: TensorInfo) -> Bool

    /// What the network calls a tensor that is stored as it is: usually the same, and one tensor.
    ///
    /// - Throws: `BadDataError`.
    func unquantized(
        _ tensor: TensorInfo, of source: any TensorSource, shapes: [String: [Int]], file: String
    ) throws -> [StoredTensor]
}

extension QuantizationFormat {
    func isLeftOut(_ tensor: TensorInfo) -> Bool { false }

    func unquantized(
        _ tensor: TensorInfo, of source: any TensorSource, shapes: [String: [Int]], file: String
    ) throws -> [StoredTensor] { [StoredTensor(tensor, of: source)] }
}

/// Every format that can be read.
enum QuantizationFormats {
    private static let all: [any QuantizationFormat.Type] = [
        SDNQFormat.self, BitsAndBytesFormat.self, TorchAOFormat.self, Float8Format.self,
        SVDQuantFormat.self,
    ]

    /// The format that a model is stored in; `nil` for floats, for plain int8, and for what cannot
    /// be read.
    static func format(of model: QuantizedModel) -> (any QuantizationFormat)? {
        for type in all {
            if let format = type.init(model) { return format }
        }
        return nil
    }
}

/// Stored tensors and what is said of them as the tensors that a network calls for.
public enum LogicalTensors {
    /// The same tensors with those that another program has quantized as fp32, decoded when they
    /// are asked for; the source itself where there are none.
    ///
    /// - Parameters:
    ///   - config: `config.json`; `nil` where nothing is known of it.
    ///   - file: for messages.
    /// - Throws: `BadDataError`, `QuantizationError`, errors of the source.
    public static func read(
        _ source: any TensorSource, config: JSONValue?, file: String
    ) throws -> any TensorSource {
        let model = QuantizedModel(source.tensors, config: config)
        guard let format = QuantizationFormats.format(of: model) else { return source }
        if let first = format.findings.first {
            throw QuantizationError(file: file, finding: first)
        }
        let shapes = config.map { expectedShapes($0, file: file) } ?? [:]
        let encodings = try format.encodings(of: source, shapes: shapes, file: file)
        var taken = Set<String>()
        for encoding in encodings {
            for part in encoding.parts { taken.insert(part) }
        }
        // Where the largest part stood.
        let byPart = Dictionary(grouping: encodings) { $0.parts.first ?? "" }
        let tensors = try source.tensors.flatMap { tensor -> [StoredTensor] in
            if let encodings = byPart[tensor.name] {
                return try encodings.map { try StoredTensor($0, of: source, file: file) }
            }
            if taken.contains(tensor.name) || format.isLeftOut(tensor) { return [] }
            return try format.unquantized(tensor, of: source, shapes: shapes, file: file)
        }
        return try MappedTensors(tensors, path: file, metadata: source.metadata)
    }

    /// The shapes that a network of this configuration calls for, for encodings that do not keep
    /// them.
    private static func expectedShapes(_ config: JSONValue, file: String) -> [String: [Int]] {
        guard let config = try? NetworkClass.configuration(config, file: file) else { return [:] }
        return Dictionary(config.expectedTensors.all.map { ($0.name, $0.shape) }) { first, _ in
            first
        }
    }
}

extension BadDataError {
    /// Quantized weights whose tensors do not fit together.
    static func damagedWeights(_ file: String, _ reason: String) -> BadDataError {
        BadDataError(
            file: file, reason: reason,
            remedy: "download the file again, or quantize the model again")
    }
}

extension TensorSource {
    /// The tensor called `name`.
    ///
    /// - Throws: `BadDataError` when it is absent, or of another number of values or type.
    func part(
        _ name: String, of count: Int, _ types: Set<DType>, file: String
    ) throws -> TensorInfo {
        guard let tensor = info(name) else {
            throw BadDataError.damagedWeights(
                file, "tensor '\(name.printable)' of a quantized weight is absent")
        }
        guard tensor.elementCount == count, types.contains(tensor.dtype) else {
            throw BadDataError.damagedWeights(
                file,
                "tensor '\(name.printable)' is \(tensor.dtype.rawValue) \(tensor.shape), "
                    + "which does not match its quantized weight")
        }
        return tensor
    }

    /// The values of a float tensor as fp32.
    func floats(_ tensor: TensorInfo, file: String) throws -> FloatBuffer {
        guard let values = try bytes(of: tensor).widened(from: tensor.dtype) else {
            throw BadDataError(
                file: file,
                reason: "tensor '\(tensor.name.printable)' is \(tensor.dtype.rawValue), not a float"
            )
        }
        return values
    }
}
