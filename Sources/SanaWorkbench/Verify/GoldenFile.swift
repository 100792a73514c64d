import SanaModel

/// A safetensors file of F32 values with a format, a version and a contract in its metadata.
package struct GoldenFile {
    package let path: String
    /// The contract, an object.
    package let contract: JSONValue
    private let source: any TensorSource
    /// What names in the file begin with, which nobody outside sees.
    private var prefix = ""

    /// Whether the contract has a SHA-256 of every entry, all of which were found right.
    let hasHashes: Bool

    /// Key of the contract: SHA-256 of each entry's little-endian values, by name.
    private static let hashesKey = "sha256"

    /// - Parameters:
    ///   - integers: what the names of entries that may be I64 begin with.
    ///   - types: those that any entry may have.
    /// - Throws: `FileError`, `SafetensorsError`, an archive's error, or `BadDataError` when the
    ///   format is another, the contract is not JSON, a tensor is not F32 or an entry does not have
    ///   the hash that the contract gives it.
    package init(
        path: String, format: String, versions: [String], integers: String? = nil,
        types: Set<DType> = [.f32]
    ) throws {
        let (source, metadata) = try OpenedFile.open(path)
        (self.path, self.source) = (path, source)
        guard metadata["format"] == format else {
            if let (_, flag) = Self.kinds[metadata["format"] ?? ""] {
                throw BadDataError(
                    file: path, reason: "is a golden of another kind, \(metadata["format"] ?? "")",
                    remedy: "give it with \(flag)")
            }
            throw Self.bad(path, "not a golden: metadata has no format \"\(format)\"")
        }
        guard versions.contains(metadata["version"] ?? "") else {
            let found = (metadata["version"] ?? "none").printable
            throw Self.bad(
                path, "golden of version \(found), not \(versions.joined(separator: " or "))")
        }
        try Self.checkTypes(of: source.tensors, types, integers: integers, path)
        guard let text = metadata["contract"] else {
            throw Self.bad(path, "metadata has no contract")
        }
        do throws(JSONError) { contract = try JSONScanner.parse(text) } catch {
            throw Self.bad(path, "contract: \(error.reason)")
        }
        hasHashes = contract[Self.hashesKey] != nil
        try checkHashes()
    }

    /// - Parameter integers: what the names of tensors that may be I64 begin with.
    private static func checkTypes(
        of tensors: [TensorInfo], _ types: Set<DType>, integers: String?, _ path: String
    ) throws {
        for tensor in tensors where !types.contains(tensor.dtype) {
            let isInteger = integers.map { tensor.name.hasPrefix($0) } ?? false
            if isInteger, tensor.dtype == .i64 { continue }
            throw bad(
                path, "tensor '\(tensor.name.printable)' is \(tensor.dtype.rawValue), not F32")
        }
    }

    /// The entries whose names begin with `prefix`, without it, and a contract of their own.
    ///
    /// - Parameter integers: what the rest of the names of entries that may be I64 begins with.
    /// - Throws: `BadDataError` for an entry of another type.
    func part(
        _ prefix: String, _ contract: JSONValue, integers: String
    ) throws -> GoldenFile {
        let part = GoldenFile(self, prefix: self.prefix + prefix, contract)
        try Self.checkTypes(
            of: source.tensors.filter { $0.name.hasPrefix(part.prefix) }, [.f32],
            integers: part.prefix + integers, path)
        return part
    }

    private init(_ whole: GoldenFile, prefix: String, _ contract: JSONValue) {
        (path, source, hasHashes) = (whole.path, whole.source, whole.hasHashes)
        (self.prefix, self.contract) = (prefix, contract)
    }

    private func info(_ name: String) -> TensorInfo? { source.info(prefix + name) }

    /// Compares every entry with its hash, where the contract has hashes.
    private func checkHashes() throws {
        guard let list = contract[Self.hashesKey] else { return }
        guard let members = list.members else {
            throw bad("contract: \(Self.hashesKey) is not an object")
        }
        var hashes: [String: String] = [:]
        for member in members { hashes[member.key] = member.value.string ?? "" }
        for tensor in source.tensors {
            let name = tensor.name.printable
            guard let hash = hashes.removeValue(forKey: tensor.name) else {
                throw bad("entry '\(name)' has no SHA-256 in the contract: it was added later")
            }
            guard try ContentHash.sha256(of: source.bytes(of: tensor)).hexadecimal == hash else {
                throw bad("entry '\(name)' is damaged: its SHA-256 is not the contract's")
            }
        }
        if let missing = hashes.keys.min() {
            throw bad("entry '\(missing.printable)' is missing; the contract has its SHA-256")
        }
    }

    /// What a file of each format is called, and what it is given with.
    package static let kinds = [
        Golden.format: ("a golden", "--reference"),
        TrajectoryGolden.format: ("a trajectory", "--trajectory"),
        PipelineGolden.format: ("a recorded pipeline", "--reference"),
    ]

    private static func bad(_ path: String, _ reason: String) -> BadDataError {
        BadDataError(
            file: path, reason: reason,
            remedy: "record the golden again with 'sana-tools capture'")
    }

    /// An error of this file.
    package func bad(_ reason: String) -> BadDataError { Self.bad(path, reason) }

    /// Names of all tensors, in the order of the file.
    var names: [String] {
        source.tensors.filter { $0.name.hasPrefix(prefix) }
            .map { String($0.name.dropFirst(prefix.count)) }
    }

    /// Shape of a tensor, `nil` where there is none of the name.
    func shape(_ name: String) -> [Int]? { info(name)?.shape }

    /// Copies a tensor's values to the start of `buffer`, which grows where it is too small; the
    /// file's pages behind them are let go.
    ///
    /// - Returns: `false` where there is no tensor of the name.
    package func read(_ name: String, into buffer: inout FloatBuffer) throws -> Bool {
        guard let info = info(name) else { return false }
        let bytes = try source.bytes(of: info)
        defer { bytes.releasePages() }
        if buffer.count < info.elementCount { buffer = FloatBuffer(count: info.elementCount) }
        bytes.widen(from: .f32, into: buffer)
        return true
    }

    /// A tensor's values, copied; the file's pages behind them are let go.
    package func tensor(_ name: String) throws -> DenseTensor? {
        guard let info = info(name) else { return nil }
        let bytes = try source.bytes(of: info)
        defer { bytes.releasePages() }
        if info.dtype == .i64 { return try wholeNumbers(bytes, info) }
        if info.dtype == .u8 { return levels(bytes, info) }
        return bytes.widened(from: .f32).map { DenseTensor(shape: info.shape, values: $0) }
    }
}

extension GoldenFile {
    /// Levels of a picture as floats.
    private func levels(_ bytes: ByteView, _ info: TensorInfo) -> DenseTensor {
        let tensor = DenseTensor(shape: info.shape)
        bytes.withUnsafeBytes { bytes in
            for index in 0..<tensor.count { tensor.values.pointer[index] = Float(bytes[index]) }
        }
        return tensor
    }

    /// Whole numbers as floats, all of which a float holds exactly.
    private func wholeNumbers(_ bytes: ByteView, _ info: TensorInfo) throws -> DenseTensor {
        let tensor = DenseTensor(shape: info.shape)
        for index in 0..<info.elementCount {
            let value = bytes.withUnsafeBytes {
                Int64(littleEndian: $0.loadUnaligned(fromByteOffset: 8 * index, as: Int64.self))
            }
            guard let float = Float(exactly: value) else {
                throw bad("'\(info.name.printable)' holds \(value), which is not a token")
            }
            tensor.values.pointer[index] = float
        }
        return tensor
    }
}

/// What a golden says of where its values come from.
package struct GoldenProvenance: Sendable {
    /// Digest of the weights, see `WeightsDigest`.
    package let weightsDigest: String
    /// Class of the model.
    package let networkClass: NetworkClass
    /// Which of the class's forwards it is; `nil` where there is one only.
    package let entry: String?
    /// Precision of the forward, such as `float32`.
    package let computeDType: String
    /// `Numerics` of the forward, as text.
    package let numerics: String
    /// Whether a text encoder's attention scores were capped; `nil` where nothing tells.
    package let capsScores: Bool?
    /// Versions of torch and diffusers, as text.
    package let producer: String
    /// SHA-256 of the stored values of each tensor of the weights, by name; empty in goldens that
    /// do not say.
    package let tensorHashes: [String: String]
    /// Whether every entry has a hash: what they hold is what was recorded.
    package let hasHashes: Bool

    /// - Throws: `BadDataError` when the contract lacks any of it.
    package init(_ file: GoldenFile) throws(BadDataError) {
        let json = file.contract
        guard let digest = json["weights"]?["digest"]?.string else {
            throw file.bad("contract: no weights.digest")
        }
        let networkClass = json["model_class"]?.string.flatMap(NetworkClass.named)
        guard let networkClass else {
            throw file.bad(
                "contract: model_class is "
                    + "\((json["model_class"]?.text() ?? "absent").printable), "
                    + NetworkClass.notAny)
        }
        (self.networkClass, entry) = (networkClass, json["entry"]?.string)
        guard let dtype = json["compute_dtype"]?.string else {
            throw file.bad("contract: no compute_dtype")
        }
        guard let numerics = json["numerics"]?.string else {
            throw file.bad("contract: no numerics")
        }
        (weightsDigest, computeDType, self.numerics) = (digest, dtype, numerics)
        capsScores = json["soft_cap"]?.bool
        var hashes: [String: String] = [:]
        for member in json["weights"]?["tensors"]?.members ?? [] {
            hashes[member.key] = member.value.string
        }
        (tensorHashes, hasHashes) = (hashes, file.hasHashes)
        producer = (json["producer"]?.members ?? [])
            .map { "\($0.key) \($0.value.string ?? "?")" }.joined(separator: ", ")
    }

    /// Relative RMS error that rounding one activation to the golden's precision costs: to BF16
    /// 1.7e-3, to FP16 2.1e-4 (measured); `nil` for a precision that is not known.
    package var roundingError: Double? {
        ["float64": 0, "float32": 0, "bfloat16": 1.7e-3, "float16": 2.1e-4][computeDType]
    }

    /// Ways in which the golden's own arithmetic keeps any model from meeting a tolerance.
    ///
    /// - Parameter strictest: the tolerance that asks most, and the layer that has it where it is
    ///   not everyone's.
    package func precisionProblems(
        _ metric: Metric, strictest: (tolerance: Double, path: String?), numerics: Numerics
    ) -> [Verification.Problem] {
        var problems: [Verification.Problem] = []
        let limit = metric.relativeRMS(strictest.tolerance)
        if let roundingError, roundingError > limit {
            let whose = strictest.path.map { "tolerance of \($0.printable)" } ?? "tolerance"
            problems.append(
                .init(
                    kind: .precision,
                    message:
                        "golden was computed in \(computeDType.printable), whose rounding "
                        + "alone costs \(Format.scientific(roundingError)) relative RMS, and the \(whose) "
                        + "allows \(Format.scientific(limit)); capture it in float32"))
        } else if roundingError == nil {
            problems.append(
                .init(
                    kind: .precision,
                    message:
                        "golden was computed in \(computeDType.printable), a precision "
                        + "unknown to this program; capture it in float32"))
        }
        // Whether scores are capped is not part of a golden's numerics: the contract says it by
        // itself.
        let follows = numerics == .noSoftCap && capsScores != true
        let recorded = follows ? numerics.rawValue : self.numerics
        if recorded != numerics.rawValue {
            problems.append(
                .init(
                    kind: .precision,
                    message:
                        "golden was recorded with numerics \(recorded.printable), this run "
                        + "has \(numerics.rawValue); choose with --numerics"))
        }
        return problems
    }

    /// The problem of having been recorded from a model of another class.
    package func foreignClass(_ model: LoadedModel) -> Verification.Problem? {
        guard networkClass != model.networkClass else { return nil }
        return .init(
            kind: .misshapen,
            message: "golden is of a \(networkClass.name), the model is a "
                + model.networkClass.name)
    }

    /// The problem of having been recorded from other weights than a model has or was made from.
    ///
    /// - Parameters:
    ///   - digest: see `OpenedModel.sourceDigest`.
    ///   - isConverted: whether that is of weights that the model was made from.
    package func staleness(_ digest: String, isConverted: Bool) -> [Verification.Problem] {
        guard weightsDigest != digest else { return [] }
        let whose = isConverted ? "the archive was made from" : "the model's are"
        return [
            .init(
                kind: .stale,
                message: "golden is stale: recorded from weights "
                    + "\(String(weightsDigest.prefix(12)).printable), \(whose) "
                    + "\(String(digest.prefix(12)).printable); capture it again, or --allow-stale")
        ]
    }
}
