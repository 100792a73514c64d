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
    static let outputPrefix = "outputs."
    /// What a transformer puts out.
    static let outputPath = "outputs.sample"

    /// Name in the file of what a report calls `path`.
    static func entry(_ path: String) -> String {
        path.hasPrefix(outputPrefix) ? path : activationPrefix + path
    }

    let path: String
    let inputs: SanaInputs
    let provenance: GoldenProvenance
    /// Captured activations that the contract lists, in its order, names without the prefix, shapes
    /// in diffusers' layout.
    let listed: [(name: String, shape: [Int])]
    private let file: GoldenFile

    /// Opens and checks a golden.
    ///
    /// - Throws: `FileError`, `SafetensorsError`, an archive's error, or `BadDataError` when it is
    ///   no golden.
    init(path: String) throws {
        let file = try GoldenFile(path: path, format: Self.format, version: Self.version)
        (self.path, self.file) = (path, file)
        provenance = try GoldenProvenance(file)
        listed = try Self.listed(file)
        func input(_ name: String) throws -> DenseTensor? { try file.tensor("inputs." + name) }
        func required(_ name: String) throws -> DenseTensor {
            guard let tensor = try input(name) else { throw file.bad("inputs.\(name) is absent") }
            return tensor
        }
        let (hiddenStates, timestep) = (try required("hidden_states"), try required("timestep"))
        let encoderHiddenStates = try required("encoder_hidden_states")
        let scale = try input("conditioning_scale")
        guard scale.map({ $0.shape == [1] }) ?? true else {
            throw file.bad("inputs.conditioning_scale is not one number, of shape [1]")
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
            controlnetBlockSamples: samples, controlnetCond: try input("controlnet_cond"),
            conditioningScale: scale?.values.pointer[0] ?? 1)
    }

    private static func listed(_ file: GoldenFile) throws -> [(name: String, shape: [Int])] {
        guard let list = file.contract["activations"]?.array else {
            throw file.bad("contract: no activations")
        }
        return try list.map { item in
            guard let name = item["name"]?.string, let shape = item["shape"]?.array?.map(\.int),
                !shape.contains(nil)
            else { throw file.bad("contract: no name and shape in an entry of activations") }
            let prefix = Self.activationPrefix
            return (
                name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : name,
                shape.compactMap { $0 }
            )
        }
    }

    /// Entries whose names are none that goldens have: a misspelt input would be left out silently.
    var unknownNames: [String] {
        let inputs = [
            "hidden_states", "encoder_hidden_states", "timestep", "guidance",
            "encoder_attention_mask", "attention_mask", "controlnet_cond", "conditioning_scale",
        ]
        let samples = self.inputs.controlnetBlockSamples.indices.map {
            "controlnet_block_samples.\($0)"
        }
        let known = Set((inputs + samples).map { "inputs." + $0 })
        return file.names.filter {
            !known.contains($0) && !$0.hasPrefix(Self.activationPrefix)
                && !$0.hasPrefix(Self.outputPrefix)
        }
    }

    /// Inputs that are not finite; a mask may hide captions with −∞.
    var nonfiniteInputs: [Verification.Problem] {
        let samples = inputs.controlnetBlockSamples.enumerated().map {
            ("controlnet_block_samples.\($0)", Optional($1))
        }
        return Verification.Problem.notFinite(
            [
                ("hidden_states", inputs.hiddenStates),
                ("encoder_hidden_states", inputs.encoderHiddenStates),
                ("timestep", inputs.timestep), ("guidance", inputs.guidance),
                ("controlnet_cond", inputs.controlnetCond),
            ] + samples)
            + (inputs.conditioningScale.isFinite
                ? [] : [.notFinite("inputs.conditioning_scale", count: 1)])
    }

    /// Names of the outputs in the file, without prefix.
    var outputNames: [String] { names(Self.outputPrefix) }

    /// Those of `paths` that the contract lists in another shape than the file holds.
    func contradictedShapes(among paths: Set<String>) -> [Verification.Problem] {
        listed.compactMap { name, shape in
            guard paths.contains(name), let stored = self.shape(Self.activationPrefix + name),
                stored != shape
            else {
                return nil
            }
            return .init(
                kind: .misshapen,
                message: "\(name.printable): the contract says \(shape), the golden has \(stored)")
        }
    }

    /// Names of the activations in the file, without prefix.
    var activationNames: [String] { names(Self.activationPrefix) }

    private func names(_ prefix: String) -> [String] {
        file.names.compactMap { $0.hasPrefix(prefix) ? String($0.dropFirst(prefix.count)) : nil }
    }

    /// Shape of a stored tensor.
    func shape(_ name: String) -> [Int]? { file.shape(name) }

    /// See `GoldenFile.read(_:into:)`.
    func read(_ name: String, into buffer: inout FloatBuffer) throws -> Bool {
        try file.read(name, into: &buffer)
    }

    /// The values of a stored tensor, copied; the file's pages behind them are let go.
    func values(_ name: String) throws -> FloatBuffer? { try file.tensor(name)?.values }
}
