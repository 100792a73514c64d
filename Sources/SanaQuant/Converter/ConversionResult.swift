import SanaModel

/// What is converted: tensors, and what must be known of where they come from.
public struct ConversionSource: Sendable {
    /// How messages call it.
    public let label: String
    public let tensors: any TensorSource
    /// Files whose hashes go into the manifest.
    public let files: [StoredFile]
    /// The model's `config.json`; `nil` for files that have none of their own.
    public let config: JSONValue?
    /// Adapters that are part of `tensors`.
    public let adapters: [LoraAdapter]

    /// The adapters that are part of the weights, those included that the source had before, as
    /// JSON; `nil` where there are none.
    var provenance: JSONValue? {
        let before =
            tensors.metadata[ContentLayout.adaptersKey]
            .flatMap { try? JSONScanner.parse($0) }?.array ?? []
        let all = before.prefix(64) + adapters.map { Archive.Manifest.Adapter($0).json }
        return all.isEmpty ? nil : .array(Array(all))
    }

    /// What an error about values names: the weights, and what was added to them.
    var blamed: String {
        ([label] + adapters.map(\.path)).joined(separator: " with ")
    }
    /// The tensors of its network; `nil` where that is not known and all floats are alike.
    let expected: ExpectedTensors?
    /// See `NetworkClass.weightsStem`.
    let weightsStem: String

    /// A network with its configuration.
    ///
    /// - Parameter target: the type to convert to. Int8 weights are decoded unless it is int8.
    /// - Throws: `BadDataError` when the configuration is not one.
    public init(_ checkpoint: Checkpoint, for target: ConversionTarget = .int8) throws {
        let checkpoint = target == .int8 ? checkpoint : try checkpoint.decodingInt8()
        (label, tensors, files) = (checkpoint.path, checkpoint.source, checkpoint.files)
        // Under original names there is no place for a configuration, and no role of a tensor is
        // known.
        let isOriginal = checkpoint.hasOriginalNames
        config = isOriginal ? nil : checkpoint.configJSON
        let network = try NetworkClass.configuration(
            checkpoint.configJSON, file: checkpoint.path, source: checkpoint.source,
            comparesShapes: false)
        (expected, weightsStem) = (
            isOriginal ? nil : network.expectedTensors(in: checkpoint.source),
            network.networkClass.weightsStem
        )
        adapters = checkpoint.adapters.filter { $0.moduleCount > 0 }
    }

    /// A file of any other component.
    public init(_ file: SafetensorsFile) {
        (label, tensors, files) = (file.path, file, [StoredFile(file)])
        (config, expected, adapters) = (nil, nil, [])
        weightsStem = WeightFiles.stem
    }

    /// The built-in rules: int8 is for tensors of a known role only.
    func rules(for target: ConversionTarget) -> [ConversionRule] {
        guard let expected else {
            return target == .int8 ? [] : ConversionRule.builtIn(for: target, .none)
        }
        return ConversionRule.builtIn(for: target, expected)
    }
}

/// A conversion whose files are written but do not have their names yet. Dropped without
/// `commit()`, it leaves nothing.
public final class StagedConversion {
    public let result: ConversionResult
    private let outputs: [OutputFile]
    private let folder: String?
    private let stale: () throws -> StaleWeights?

    /// - Parameters:
    ///   - folder: directory of all outputs, if there are several.
    ///   - stale: finds the weights in it that they contradict.
    init(
        result: ConversionResult, outputs: [OutputFile], folder: String?,
        stale: @escaping () throws -> StaleWeights?
    ) {
        (self.result, self.outputs) = (result, outputs)
        (self.folder, self.stale) = (folder, stale)
    }

    /// Gives the files their names, the ones that others refer to first, and removes weights in the
    /// same directory that contradict them.
    ///
    /// - Throws: `FileError`, `OutputExistsError`.
    public func commit() throws { try outputs.commit(in: folder, stale: stale) }
}

/// What a conversion did.
public struct ConversionResult: Sendable {
    /// How a source tensor came out.
    public struct Tensor: Sendable {
        public let name: String
        public let from: DType
        public let to: DType
        /// Why the tensor was converted or kept.
        public let reason: String
        /// How the scales were chosen, of tensors that became int8.
        public let scales: Int8Scales?
        /// Values that are NaN or infinite, before and after.
        public let nonFinite: Int
        /// BF16 values that fp16 does not hold (magnitudes below 2⁻¹⁷ or beyond 65504): those for
        /// which the tensor was kept, or which fp16 changed where rounding was allowed.
        public let fp16Inexact: Int
        public let statistics: ConversionStatistics
    }

    /// A file that holds weights.
    public struct File: Sendable {
        public let path: String
        /// SHA-256 of the safetensors file: of what is inside an archive, else of the file itself.
        public let contentSHA256: String
    }

    /// Path that opens the result: the weights, or the index of several shards.
    public let output: String
    public let files: [File]
    /// Bytes of the source files.
    public let bytesIn: Int
    /// Bytes of the files that hold weights.
    public let bytesOut: Int
    /// One per source tensor, in the order of the source.
    public let tensors: [Tensor]
    /// `WeightsDigest` of the source, with its adapters added.
    public let sourceDigest: String
    /// Adapters that were added to the weights.
    public let adapters: [LoraAdapter]
    /// What an archive says of itself; `nil` for safetensors files.
    public let manifest: Archive.Manifest?
    public let seconds: Double

    /// How many times smaller the output is.
    public var ratio: Double { Double(bytesIn) / Double(max(bytesOut, 1)) }
}

extension ConversionResult.Tensor {
    /// The tensor's entry in an archive's `quantization_record`, and in reports.
    public var json: JSONValue {
        .object(members + (scales.map { [.init("scales", .string($0.rawValue))] } ?? []))
    }

    private var members: [JSONValue.Member] {
        [
            .init("name", .string(name)), .init("from", .string(from.rawValue)),
            .init("to", .string(to.rawValue)), .init("reason", .string(reason)),
            .init("elements", .int(statistics.elements)),
            .init("relative_rms", .double(statistics.relativeRMS)),
            .init("max_error", .double(statistics.maxError)),
            .init("exact", .bool(statistics.isExact)),
            .init("changed", .int(statistics.changed)),
            .init("clipped", .int(statistics.clipped)),
            .init("flushed", .int(statistics.flushed)),
            .init("nonfinite", .int(nonFinite)),
            .init("fp16_inexact", .int(fp16Inexact)),
        ]
    }
}
