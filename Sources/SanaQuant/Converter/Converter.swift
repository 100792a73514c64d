import CZstd
import SanaModel

/// How converted tensors are packed.
public enum Container: Sendable, Equatable {
    /// One zstd-packed `.safetensors.zst`.
    case archive
    /// Plain safetensors files of at most so many bytes each; a tensor that is larger has a file of
    /// its own.
    case safetensors(maximumShardByteCount: Int)
}

/// Where a conversion goes.
public enum Destination: Sendable, Equatable {
    /// One file: an archive, or a safetensors file whatever its size.
    case file(String)
    /// A component's directory, which gets the weights under diffusers' names and `config.json`.
    case folder(String)
}

/// Makes an archive or safetensors files of a checkpoint.
public enum Converter {
    /// How to convert.
    public struct Options: Sendable {
        public var target: ConversionTarget
        public var container = Container.archive
        /// Whether an archive splits 16-bit tensors into planes of low and high bytes.
        public var planes16 = false
        /// Rules of the user, which come before the target's own.
        public var rules: [UserRule] = []
        /// Whether rules may keep every tensor: a network of several may well stay as it is.
        public var mayKeepAll = false
        /// How much fp16 may change a tensor; one that it would change more is kept.
        public var rounding = HalfRoundingPolicy.negligible
        /// Whether a tensor may hold NaN or infinity; it is then kept as it is.
        public var allowsNonFinite = false
        /// How the scales of int8 weights are chosen.
        public var scales = Int8Scales.absmax
        /// zstd level, 1…19. Weights gain next to nothing above 1.
        public var level = 1
        /// Bytes of a frame before compression, a multiple of 8 up to 8 MiB.
        public var chunkByteCount = 4 << 20
        /// Variant in the names of a directory's weights, such as `fp16`.
        public var variant: String?
        /// Whether an existing output may be replaced.
        public var replaceExisting = false
        /// Whether every tensor is decoded and its hash compared before the output gets its name.
        public var verifyWrite = true
        /// Program name and version for the manifest.
        public var tool = "sana-tools"

        public init(target: ConversionTarget) { self.target = target }
    }

    /// Converts every tensor of `source` and writes `destination`.
    ///
    /// The source is read once (int8 weights and, for fp16, BF16 tensors
    /// twice: scales and exactness come first). The bytes written depend on
    /// the source, the options and the version of zstd, not on the number of threads. Memory is
    /// bounded by a few dozen frames, whatever the size of the model: pages of the source are let
    /// go as soon as they are used.
    ///
    /// - Parameter progress: called with the bytes of converted content so far and in all.
    /// - Throws: `RuleError`, `ConversionError`, `OutputExistsError`, `FileError`, and errors of
    ///   the source. Each output file appears complete or not at all, and what was there before
    ///   stays.
    public static func convert(
        _ source: ConversionSource, to destination: Destination, options: Options,
        workers: WorkerPool, progress: ((_ completedBytes: Int, _ totalBytes: Int) -> Void)? = nil
    ) throws -> ConversionResult {
        let staged = try stage(
            source, to: destination, options: options, workers: workers, progress: progress)
        try staged.commit()
        return staged.result
    }

    /// Does all of `convert` but giving the files their names, so that several conversions can
    /// appear together.
    public static func stage(
        _ source: ConversionSource, to destination: Destination, options: Options,
        workers: WorkerPool, progress: ((_ completedBytes: Int, _ totalBytes: Int) -> Void)? = nil
    ) throws -> StagedConversion {
        let clock = ContinuousClock()
        let start = clock.now
        let plan = try plan(for: source, options: options, workers: workers)
        let work = try ConversionWork(plan, source: source, options: options)
        let paths = try destination.weightPaths(
            count: work.layouts.count, options.container, stem: source.weightsStem,
            variant: options.variant)
        let read = Set(
            (source.files.map(\.diskPath) + source.adapters.map(\.path)).map(\.resolvedPath))
        if let path = paths.first(where: { read.contains($0.resolvedPath) }) {
            throw ConversionError(path, .outputIsSource)
        }
        let folder: String? = if case .folder(let folder) = destination { folder } else { nil }
        let written =
            paths.map(\.lastPathComponent)
            + (paths.count > 1 ? [WeightFiles.indexName(source.weightsStem)] : [])
        func stale() throws -> StaleWeights? {
            guard let folder, options.variant == nil else { return nil }
            return try StaleWeights(
                in: folder, stem: source.weightsStem, writing: written,
                replaceExisting: options.replaceExisting,
                sources: source.files.map(\.diskPath) + source.adapters.map(\.path))
        }
        _ = try stale()
        if options.verifyWrite { try paths.forEach(OutputTargetError.checkReadable) }
        let outputs = try paths.map {
            try OutputFile($0, replaceExisting: options.replaceExisting)
        }
        let pipeline = ConversionPipeline(
            work, files: source.files, outputs: outputs,
            computesValues: source.tensors.computesValues, workers: workers)
        try pipeline.run(progress: progress)

        let config = source.config.map { plan.config($0, tensors: work.tensors) }
        var manifest: Archive.Manifest?
        if options.container == .archive {
            manifest = pipeline.manifest(options: options, config: config ?? .object([]))
            manifest?.adapters = source.adapters.map { .init($0) }
            if let manifest { try pipeline.finish(manifest) }
        }
        for output in outputs { output.startSyncing() }
        if options.verifyWrite {
            try readBack(outputs, work, pipeline.tensorHashes, workers: workers)
        }
        var (all, opens) = (outputs, outputs[0].path)
        if let folder {
            func add(_ name: String, _ document: JSONValue) throws -> String {
                let file = try OutputFile(
                    folder.appendingPath(name), replaceExisting: options.replaceExisting)
                try file.write(Array((document.text(indent: 2) + "\n").utf8))
                all.append(file)
                return file.path
            }
            if work.layouts.count > 1 {
                opens = try add(
                    WeightFiles.indexName(source.weightsStem, variant: options.variant),
                    index(work, paths))
            }
            if let config { _ = try add("config.json", config) }
        }
        let filesByteCount = source.files.reduce(0) { $0 + $1.fileBytes.count }
        let result = ConversionResult(
            output: opens,
            files: zip(paths, pipeline.fileDigests).map {
                .init(path: $0, contentSHA256: $1)
            },
            bytesIn: filesByteCount > 0 ? filesByteCount : plan.bytesBefore,
            bytesOut: pipeline.byteCount, tensors: work.reports,
            sourceDigest: manifest?.weightsDigest ?? pipeline.sourceDigest,
            adapters: source.adapters, manifest: manifest,
            seconds: start.duration(to: clock.now).inSeconds)
        return StagedConversion(result: result, outputs: all, folder: folder, stale: stale)
    }

    /// What `convert` will do to every tensor.
    ///
    /// For fp16 this reads the BF16 and F32 tensors: one that fp16 would change more than
    /// `rounding` allows is kept. With `allowsNonFinite` it reads all tensors.
    ///
    /// - Parameter countsRounding: whether values that fp16 will change are counted also where it
    ///   may change all, which the conversion itself tells afterwards.
    /// - Throws: `RuleError`, `ConversionError`, and errors of the source.
    public static func plan(
        for source: ConversionSource, options: Options, countsRounding: Bool = false,
        workers: WorkerPool
    ) throws -> ConversionPlan {
        try check(options, source)
        let tensors = source.tensors.tensors
        func survey<Finding: Sendable>(
            _ find: @Sendable (TensorInfo, ByteView, Codec.Scratch) -> Finding
        ) throws -> [(String, Finding)] {
            let found = try workers.map(tensors.count) { index in
                find(tensors[index], try source.tensors.bytes(of: tensors[index]), .init())
            }
            return Array(zip(tensors.map(\.name), found))
        }
        let userRules = try UserRule.conversionRules(options.rules, for: tensors)
        var rules = source.rules(for: options.target)
        var inexact: [String: Int] = [:]
        let isHalf = options.target == .fp16 && options.rounding != .any
        if isHalf || countsRounding {
            let halves = Dictionary(
                try survey { Codec.halfRounding(of: $1, $0.dtype, $2) }, uniquingKeysWith: { $1 })
            inexact = halves.mapValues(\.inexact).filter { $0.value > 0 }
            if isHalf { rules = ConversionRule.keeping(halves, options.rounding) + rules }
        }
        let nonFinite =
            options.allowsNonFinite
            ? Dictionary(
                try survey { Codec.nonFiniteCount(in: $1, $0.dtype, $2) }.filter { $0.1 > 0 },
                uniquingKeysWith: max) : [:]
        return try ConversionPlan(
            tensors, source.expected ?? .none, target: options.target, rules: userRules + rules,
            nonFinite: nonFinite,
            fp16Inexact: inexact,
            mayBeEmpty: source.expected == nil || options.mayKeepAll && !options.rules.isEmpty,
            file: source.label)
    }

    private static func check(_ options: Options, _ source: ConversionSource) throws {
        guard ZstdFrame.levels.contains(options.level) else {
            throw ConversionError(source.label, .level(options.level))
        }
        guard ArchiveLimits.chunkByteCounts.contains(options.chunkByteCount),
            options.chunkByteCount % 8 == 0
        else { throw ConversionError(source.label, .chunkByteCount(options.chunkByteCount)) }
        guard source.config?.members != nil || source.config == nil else {
            throw ConversionError(source.label, .configNotObject)
        }
    }

    /// The index that joins shards, as huggingface_hub writes it.
    private static func index(_ work: ConversionWork, _ paths: [String]) -> JSONValue {
        let shards = zip(work.layouts, paths).flatMap { layout, path in
            layout.tensors.map { JSONValue.Member($0.name, .string(path.lastPathComponent)) }
        }
        let total = work.tensors.reduce(0) { $0 + $1.byteCount }
        return .object([
            .init("metadata", .object([.init("total_size", .int(total))])),
            .init(
                "weight_map",
                .object(shards.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) })),
        ])
    }

    /// Reads headers and tensors back from the disk's cache and compares them, tensors by their
    /// hashes.
    private static func readBack(
        _ outputs: [OutputFile], _ work: ConversionWork, _ hashes: [String], workers: WorkerPool
    ) throws {
        do {
            guard work.options.container != .archive else {
                return try Archive(path: outputs[0].temporaryPath).verify(using: workers)
            }
            var first = 0
            for (output, layout) in zip(outputs, work.layouts) {
                let file = try SafetensorsFile(path: output.temporaryPath)
                guard file.headerBytes.withUnsafeBytes({ $0.elementsEqual(layout.headerBytes) })
                else { throw BadDataError(file: output.path, reason: "the header differs") }
                let expected = hashes[first..<first + file.tensors.count]
                first += file.tensors.count
                let actual = try workers.map(file.tensors.count) {
                    ContentHash.sha256(of: try file.bytes(of: file.tensors[$0])).hexadecimal
                }
                for (tensor, (old, new)) in zip(file.tensors, zip(expected, actual))
                where old != new {
                    throw BadDataError(
                        file: output.path, reason: "SHA-256 of '\(tensor.name.printable)' differs")
                }
            }
        } catch let error as any DiagnosticError {
            throw ConversionError(outputs[0].path, .readBack(error.description))
        }
    }
}

extension Destination {
    /// The paths of the files that will hold the weights.
    ///
    /// - Throws: `ConversionError` when one file is asked for and several are needed.
    fileprivate func weightPaths(
        count: Int, _ container: Container, stem: String, variant: String?
    ) throws -> [String] {
        switch self {
        case .file(let path):
            guard count == 1 else { throw ConversionError(path, .shardsInOneFile(count)) }
            return [path]
        case .folder(let folder):
            let stem = folder.appendingPath(stem) + (variant.map { "." + $0 } ?? "")
            if container == .archive { return [stem + Archive.suffix] }
            guard count > 1 else { return [stem + ".safetensors"] }
            func digits(_ number: Int) -> String {
                String(repeating: "0", count: max(0, 5 - String(number).count)) + String(number)
            }
            return (1...count).map { "\(stem)-\(digits($0))-of-\(digits(count)).safetensors" }
        }
    }
}

extension ConversionPlan {
    /// The model's `config.json`, which with int8 tensors tells diffusers (through SDNQ) what is
    /// quantized.
    ///
    /// The list of modules that are not must be complete, or diffusers builds int8 layers for float
    /// weights.
    ///
    /// - Parameter tensors: of the output, in its order.
    func config(_ config: JSONValue, tensors: [TensorInfo]) -> JSONValue {
        guard tensors.contains(where: { $0.dtype == .i8 }) else { return config }
        let kept = tensors.filter { $0.dtype != .i8 && $0.name.hasSuffix(".weight") }
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
