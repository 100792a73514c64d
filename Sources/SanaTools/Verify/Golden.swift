import SanaModel
import SanaQuant

/// Stored activations of one forward of diffusers, with the inputs that led to them.
///
/// Format: `sana-reference` version 1, one safetensors file or the archive form of it; every value
/// F32 in diffusers' layout.
struct Golden {
    static let format = "sana-reference"
    static let version = "1"
    static let activationPrefix = "activations."
    static let outputName = "outputs.sample"
    static let outputPath = "outputs.sample"

    let path: String
    let inputs: SanaInputs
    let contract: Contract
    private let source: any TensorSource

    /// What the file says of where its values come from.
    struct Contract {
        /// Digest of the weights, see `WeightsDigest`.
        let weightsDigest: String
        /// Precision of the forward, such as `float32`.
        let computeDType: String
        /// `Numerics` of the forward, as text.
        let numerics: String
        /// Captured activations in execution order, names without the prefix, shapes in diffusers'
        /// layout.
        let activations: [(name: String, shape: [Int])]
        /// Versions of torch and diffusers, as text.
        let producer: String
    }

    /// Opens and checks a golden.
    ///
    /// - Throws: `FileError`, `SafetensorsError`, an archive's error, or `BadDataError` when it is
    ///   no golden.
    init(path: String) throws {
        let (source, metadata) = try OpenedFile.open(path)
        func bad(_ reason: String) -> BadDataError {
            BadDataError(
                file: path, reason: reason,
                remedy: "record the golden again with 'sana-tools capture'")
        }
        guard metadata["format"] == Self.format else {
            throw bad("not a golden: metadata has no format \"\(Self.format)\"")
        }
        guard metadata["version"] == Self.version else {
            throw bad(
                "golden of version \((metadata["version"] ?? "none").printable), not \(Self.version)"
            )
        }
        for tensor in source.tensors where tensor.dtype != .f32 {
            throw bad("tensor '\(tensor.name.printable)' is \(tensor.dtype.rawValue), not F32")
        }
        self.path = path
        self.source = source
        guard metadata["contract"] != nil else { throw bad("metadata has no contract") }
        do throws(JSONError) {
            contract = try Contract(JSONScanner.parse(metadata["contract"] ?? ""))
        } catch {
            throw bad("contract: \(error.reason)")
        }

        func input(_ name: String) throws -> DenseTensor? {
            guard let info = source.info("inputs." + name) else { return nil }
            guard let values = try source.bytes(of: info).widened(from: .f32) else { return nil }
            return DenseTensor(shape: info.shape, values: values)
        }
        guard let hiddenStates = try input("hidden_states"),
            let encoderHiddenStates = try input("encoder_hidden_states"),
            let timestep = try input("timestep"), source.info(Self.outputName) != nil
        else {
            throw bad(
                "inputs.hidden_states, inputs.encoder_hidden_states, inputs.timestep or outputs.sample is absent"
            )
        }
        var samples: [DenseTensor] = []
        while let sample = try input("controlnet_block_samples.\(samples.count)") {
            samples.append(sample)
        }
        inputs = SanaInputs(
            hiddenStates: hiddenStates, encoderHiddenStates: encoderHiddenStates,
            timestep: timestep,
            guidance: try input("guidance"),
            encoderAttentionMask: try input("encoder_attention_mask"),
            controlnetBlockSamples: samples)
    }

    /// Entries whose names are none that goldens have: a misspelt input would be left out silently.
    var unknownNames: [String] {
        let inputs = [
            "hidden_states", "encoder_hidden_states", "timestep", "guidance",
            "encoder_attention_mask", "attention_mask",
        ]
        let samples = self.inputs.controlnetBlockSamples.indices.map {
            "controlnet_block_samples.\($0)"
        }
        let known = Set((inputs + samples).map { "inputs." + $0 } + [Self.outputName])
        return source.tensors.map(\.name).filter {
            !known.contains($0) && !$0.hasPrefix(Self.activationPrefix)
        }
    }

    /// Those of `paths` that the contract lists in another shape than the file holds.
    func contradictedShapes(among paths: Set<String>) -> [Verification.Problem] {
        contract.activations.compactMap { name, listed in
            guard paths.contains(name), let stored = shape(Self.activationPrefix + name),
                stored != listed
            else {
                return nil
            }
            return .init(
                kind: .misshapen,
                message: "\(name.printable): the contract says \(listed), the golden has \(stored)")
        }
    }

    /// Ways in which the golden's own arithmetic keeps any model from meeting `tolerance`.
    ///
    /// Rounding activations to BF16 costs 1.7e-3 relative RMS, to FP16 2.1e-4 (measured).
    func precisionProblems(
        _ metric: Metric, tolerance: Double, numerics: Numerics
    ) -> [Verification.Problem] {
        var problems: [Verification.Problem] = []
        let floor = ["float32": 0, "bfloat16": 1.7e-3, "float16": 2.1e-4][contract.computeDType]
        let limit = metric == .relativePower ? tolerance.squareRoot() : tolerance
        if floor.map({ $0 > limit }) ?? true {
            problems.append(
                .init(
                    kind: .precision,
                    message:
                        "golden was computed in \(contract.computeDType.printable), whose rounding alone "
                        + "costs more than the tolerance; capture it in float32"))
        }
        if contract.numerics != numerics.rawValue {
            problems.append(
                .init(
                    kind: .precision,
                    message:
                        "golden was recorded with numerics \(contract.numerics.printable), this run "
                        + "has \(numerics.rawValue); choose with --numerics"))
        }
        return problems
    }

    /// Names of the activations in the file, without prefix.
    var activationNames: [String] {
        source.tensors.compactMap {
            $0.name.hasPrefix(Self.activationPrefix)
                ? String($0.name.dropFirst(Self.activationPrefix.count)) : nil
        }
    }

    /// Shape of a stored tensor.
    func shape(_ name: String) -> [Int]? { source.info(name)?.shape }

    /// The values of a stored tensor.
    func values(_ name: String) throws -> FloatBuffer? {
        guard let info = source.info(name) else { return nil }
        return try source.bytes(of: info).widened(from: .f32)
    }
}

extension Golden.Contract {
    fileprivate init(_ json: JSONValue) throws(JSONError) {
        func missing(_ what: String) -> JSONError { JSONError(offset: 0, reason: "no \(what)") }
        guard let digest = json["weights"]?["digest"]?.string else {
            throw missing("weights.digest")
        }
        guard json["model_class"]?.string == SanaConfig.className else {
            throw missing("model_class \"\(SanaConfig.className)\"")
        }
        guard let dtype = json["compute_dtype"]?.string else { throw missing("compute_dtype") }
        guard let numerics = json["numerics"]?.string else { throw missing("numerics") }
        guard let list = json["activations"]?.array else { throw missing("activations") }
        var activations: [(name: String, shape: [Int])] = []
        for item in list {
            let prefix = Golden.activationPrefix
            guard let name = item["name"]?.string, let shape = item["shape"]?.array?.map(\.int),
                !shape.contains(nil)
            else { throw missing("name and shape in an entry of activations") }
            activations.append(
                (
                    name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : name,
                    shape.compactMap { $0 }
                ))
        }
        let producer = json["producer"]?.members ?? []
        self.init(
            weightsDigest: digest, computeDType: dtype, numerics: numerics,
            activations: activations,
            producer: producer.map { "\($0.key) \($0.value.string ?? "?")" }.joined(separator: ", ")
        )
    }
}
