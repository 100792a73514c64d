import SanaModel
import SanaQuant

/// Stored activations of one forward of diffusers or transformers, with the inputs that led to
/// them.
///
/// Format: `sana-reference` version 1 or 2, one safetensors file or the archive form of it; values
/// F32 in diffusers' layout, but for token ids and their mask, which are I64.
package struct Golden {
    package static let format = "sana-reference"
    package static let versions = ["1", "2"]
    package static let inputPrefix = "inputs."
    package static let activationPrefix = "activations."
    package static let outputPrefix = "outputs."

    /// Name in the file of what a report calls `path`.
    package static func entry(_ path: String) -> String {
        path.hasPrefix(outputPrefix) ? path : activationPrefix + path
    }

    package let path: String
    /// By the names that they have in diffusers.
    package let inputs: NamedTensors
    package let provenance: GoldenProvenance
    /// Captured activations that the contract lists, in its order, names without the prefix, shapes
    /// in diffusers' layout.
    package let listed: [(name: String, shape: [Int])]
    private let file: GoldenFile

    /// What it says of itself.
    package var contract: JSONValue { file.contract }

    /// Opens and checks a golden.
    ///
    /// - Throws: `FileError`, `SafetensorsError`, an archive's error, or `BadDataError` when it is
    ///   no golden.
    package init(path: String) throws {
        try self.init(
            GoldenFile(
                path: path, format: Self.format, versions: Self.versions,
                integers: Self.inputPrefix))
    }

    /// - Throws: `BadDataError` when it is no golden.
    init(_ file: GoldenFile) throws {
        (path, self.file) = (file.path, file)
        provenance = try GoldenProvenance(file)
        listed = try Self.listed(file)
        var inputs: NamedTensors = [:]
        for name in file.names where name.hasPrefix(Self.inputPrefix) {
            inputs[String(name.dropFirst(Self.inputPrefix.count))] = try file.tensor(name)
        }
        self.inputs = inputs
    }

    /// Checks that all that a forward of `network` needs is there.
    ///
    /// - Throws: `BadDataError` for the first input that is absent.
    package func checkInputs(of network: any Network) throws {
        for spec in network.inputSpecs where spec.isRequired && inputs[spec.name] == nil {
            throw file.bad("\(Self.inputPrefix)\(spec.name) is absent")
        }
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

    /// Entries whose names are none that goldens of `network` have: a misspelt input would be left
    /// out silently.
    package func unknownNames(_ network: any Network) -> [String] {
        let known = Set(network.inputSpecs.map { Self.inputPrefix + $0.name })
        return file.names.filter {
            !known.contains($0) && !$0.hasPrefix(Self.activationPrefix)
                && !$0.hasPrefix(Self.outputPrefix)
        }
    }

    /// Inputs that are not finite; a mask may hide captions with −∞.
    package func nonfiniteInputs(_ network: any Network) -> [Verification.Problem] {
        Verification.Problem.notFinite(
            network.inputSpecs.filter { !$0.mayBeInfinite }.map { ($0.name, inputs[$0.name]) })
    }

    /// Names of the outputs in the file, without prefix.
    package var outputNames: [String] { names(Self.outputPrefix) }

    /// Those of `paths` that the contract lists in another shape than the file holds.
    package func contradictedShapes(among paths: Set<String>) -> [Verification.Problem] {
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
    package var activationNames: [String] { names(Self.activationPrefix) }

    private func names(_ prefix: String) -> [String] {
        file.names.compactMap { $0.hasPrefix(prefix) ? String($0.dropFirst(prefix.count)) : nil }
    }

    /// Shape of a stored tensor.
    package func shape(_ name: String) -> [Int]? { file.shape(name) }

    /// See `GoldenFile.read(_:into:)`.
    package func read(_ name: String, into buffer: inout FloatBuffer) throws -> Bool {
        try file.read(name, into: &buffer)
    }

    /// The values of a stored tensor, copied; the file's pages behind them are let go.
    package func values(_ name: String) throws -> FloatBuffer? { try file.tensor(name)?.values }
}
