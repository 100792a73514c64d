import CZstd
import SanaModel

/// Makes an archive of a checkpoint.
public enum Converter {
    /// How to convert.
    public struct Options: Sendable {
        public var target: ConversionTarget
        /// Rules of the user, which come before the target's own.
        public var rules: [UserRule] = []
        /// Whether fp16 may round BF16 tensors that it cannot hold exactly; otherwise these stay
        /// BF16.
        public var allowsRounding = false
        /// zstd level, 1…19. Weights gain next to nothing above 1.
        public var level = 1
        /// Bytes of a frame before compression, a multiple of 8 up to 8 MiB.
        public var chunkByteCount = 4 << 20
        /// Whether an existing output may be replaced.
        public var replaceExisting = false
        /// Whether every tensor is decoded and its hash compared before the archive gets its name.
        public var verifyWrite = true
        /// Program name and version for the manifest.
        public var tool = "sana-tools"

        public init(target: ConversionTarget) { self.target = target }
    }

    /// Converts every tensor of `checkpoint` and writes the archive `path`.
    ///
    /// The source is read once (int8 weights and, for fp16, BF16 tensors
    /// twice: scales and exactness come first). The bytes written depend on
    /// the source, the options and the version of zstd, not on the number of threads. Memory is
    /// bounded by a few dozen frames, whatever the size of the model: pages of the source are let
    /// go as soon as they are used.
    ///
    /// - Parameter progress: called with the bytes of converted content so far and in all.
    /// - Throws: `RuleError`, `ConversionError`, `OutputExistsError`, `FileError`, and errors of the source. The
    ///   output appears complete or not at all, and what was there before stays.
    public static func convert(
        checkpoint: Checkpoint, to path: String, options: Options, workers: WorkerPool,
        progress: ((_ completedBytes: Int, _ totalBytes: Int) -> Void)? = nil
    ) throws -> ConversionResult {
        let clock = ContinuousClock()
        let start = clock.now
        let label = checkpoint.path
        guard ZstdFrame.levels.contains(options.level) else {
            throw ConversionError(label, .level(options.level))
        }
        guard ArchiveLimits.chunkByteCounts.contains(options.chunkByteCount),
            options.chunkByteCount % 8 == 0
        else { throw ConversionError(label, .chunkByteCount(options.chunkByteCount)) }
        guard checkpoint.configJSON.members != nil else {
            throw ConversionError(label, .configNotObject)
        }
        let plan = try plan(for: checkpoint, options: options, workers: workers)
        let work = try ConversionWork(
            plan, source: checkpoint.source, options: options, file: label)

        let output = try OutputFile(path, replaceExisting: options.replaceExisting)
        let pipeline = ConversionPipeline(
            work, files: checkpoint.files, output: output, workers: workers)
        try pipeline.run(progress: progress)
        let config = plan.config(checkpoint.configJSON, layout: work.layout)
        let manifest = pipeline.manifest(options: options, config: config)
        try pipeline.finish(manifest)
        try output.sync()
        if options.verifyWrite { try verify(output, workers: workers) }
        try output.commit()

        let filesByteCount = checkpoint.files.reduce(0) { $0 + $1.fileBytes.count }
        return ConversionResult(
            output: path, bytesIn: filesByteCount > 0 ? filesByteCount : plan.bytesBefore,
            bytesOut: pipeline.byteCount, tensors: work.reports, manifest: manifest,
            seconds: start.duration(to: clock.now).inSeconds)
    }

    /// What `convert` will do to every tensor.
    ///
    /// For fp16 this reads the BF16 tensors: one that holds a value which fp16 would change is
    /// kept, so that an fp16 archive of a BF16 checkpoint computes the same bits.
    ///
    /// - Throws: `RuleError`, `ConversionError`, and errors of the source.
    public static func plan(
        for checkpoint: Checkpoint, options: Options, workers: WorkerPool
    ) throws -> ConversionPlan {
        let tensors = checkpoint.source.tensors
        let userRules = try UserRule.conversionRules(options.rules, for: tensors)
        var rules = ConversionRule.builtIn(for: options.target)
        if options.target == .fp16, !options.allowsRounding {
            let inexact = try workers.map(tensors.count) { index in
                guard tensors[index].dtype == .bf16 else { return 0 }
                let scratch = Codec.Scratch()
                return Codec.inexactHalves(
                    inBF16: try checkpoint.source.bytes(of: tensors[index]), scratch)
            }
            let names = Set(zip(tensors, inexact).filter { $0.1 > 0 }.map(\.0.name))
            rules =
                [
                    ConversionRule(.keep, reason: "exact: fp16 would change some of its values") {
                        names.contains($0.name)
                    }
                ] + rules
        }
        return try ConversionPlan(
            tensors, target: options.target, rules: userRules + rules, file: checkpoint.path)
    }

    private static func verify(_ output: OutputFile, workers: WorkerPool) throws {
        do {
            try Archive(path: output.temporaryPath).verify(using: workers)
        } catch let error as any DiagnosticError {
            throw ConversionError(output.path, .readBack(error.description))
        }
    }
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
        public let statistics: ConversionStatistics
    }

    /// Path of the archive.
    public let output: String
    /// Bytes of the source files.
    public let bytesIn: Int
    /// Bytes of the archive.
    public let bytesOut: Int
    /// One per source tensor, in the order of the source.
    public let tensors: [Tensor]
    /// What the archive says of itself; the source's digest is in it.
    public let manifest: Archive.Manifest
    public let seconds: Double

    /// How many times smaller the output is.
    public var ratio: Double { Double(bytesIn) / Double(max(bytesOut, 1)) }
}

extension ConversionPlan {
    /// The model's `config.json`, which with int8 tensors tells diffusers (through SDNQ) what is
    /// quantized.
    ///
    /// The list of modules that are not must be complete, or diffusers builds int8 layers for float
    /// weights.
    func config(_ config: JSONValue, layout: ContentLayout) -> JSONValue {
        guard layout.tensors.contains(where: { $0.dtype == .i8 }) else { return config }
        let kept = layout.tensors.filter { $0.dtype != .i8 && $0.name.hasSuffix(".weight") }
        return config.setting(
            "quantization_config",
            to: .object([
                .init("quant_method", .string("sdnq")),
                .init("weights_dtype", .string("int8")),
                .init("group_size", .int(-1)),
                .init("quant_conv", .bool(true)),
                .init("add_skip_keys", .bool(false)),
                .init("minimum_allowed_numel", .int(0)),
                .init("minimum_allowed_channel_size", .int(0)),
                .init("modules_to_not_convert", .array(kept.map { .string($0.name) })),
            ]))
    }
}
