import Foundation
import SanaModel
import SanaQuant

/// A run of our own in the format of `PipelineGolden`, so that any stage can be looked at or
/// compared.
package struct PipelineFile {
    private struct Entry {
        package let name: String
        package let dtype: DType
        package let shape: [Int]
        package let bytes: [UInt8]
    }

    private let entries: [Entry]
    private let contract: JSONValue

    /// - Parameter run: one that kept its steps.
    /// - Throws: an error of reading the components.
    package init(
        _ run: SampleRun, _ source: OpenedPipeline, compute: ComputeMode, numerics: Numerics
    )
        throws
    {
        entries = try Self.entries(run)
        var hashes: [JSONValue.Member] = []
        for entry in entries {
            let hash = ContentHash()
            hash.update(entry.bytes)
            hashes.append(.init(entry.name, .string(hash.digest.hexadecimal)))
        }
        contract = try Self.contract(run, source, compute, numerics)
            .setting("sha256", to: .object(hashes))
    }

    /// - Throws: `FileError`, `OutputExistsError`.
    package func write(_ path: String, replaceExisting: Bool) throws {
        var members = [
            JSONValue.Member(
                "__metadata__",
                .fields([
                    "format": .string(PipelineGolden.format),
                    "version": .string(PipelineGolden.version),
                    "contract": .string(contract.text()),
                ]))
        ]
        var end = 0
        for entry in entries {
            let start = end
            end += entry.bytes.count
            members.append(
                .init(
                    entry.name,
                    .fields([
                        "dtype": .string(entry.dtype.rawValue),
                        "shape": .array(entry.shape.map(JSONValue.int)),
                        "data_offsets": .array([.int(start), .int(end)]),
                    ])))
        }
        var header = Array(JSONValue.object(members).text().utf8)
        header += Array(repeating: UInt8(ascii: " "), count: (8 - header.count % 8) % 8)
        let file = try OutputFile(path, replaceExisting: replaceExisting)
        try file.write(Self.bytes(UInt64(header.count)) + header)
        for entry in entries { try file.write(entry.bytes) }
        try file.commit()
    }

    private static func bytes<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        withUnsafeBytes(of: number.littleEndian) { Array($0) }
    }

    // MARK: Entries

    private static func entries(_ run: SampleRun) throws -> [Entry] {
        typealias Name = PipelineGolden.Entry
        var entries = [floats(Name.latents, run.start.latents)]
        entries += run.start.noise.enumerated().map { floats(Name.noise($0), $1) }
        if let picture = run.pipeline.request.controlPicture, let control = run.control {
            let shape = [picture.height, picture.width, 3]
            entries.append(
                Entry(name: Name.controlPicture, dtype: .u8, shape: shape, bytes: picture.pixels))
            entries.append(floats(Name.control, control))
        }
        entries += prompts(.prompt, run.prompts.positive, run.pipeline.request.prompts.count)
        if let negative = run.prompts.negative {
            entries += prompts(.negative, negative, run.pipeline.request.prompts.count)
        }
        let schedule = try run.pipeline.schedule()
        for (name, values) in [
            (Name.timesteps, schedule.timesteps), (Name.sigmas, schedule.sigmas),
        ]
        where !values.isEmpty {
            entries.append(
                Entry(
                    name: name, dtype: .f32, shape: [values.count],
                    bytes: values.flatMap { bytes($0.bitPattern) }))
        }
        entries += run.latents.enumerated().map { floats(Name.step($0), $1) }
        entries += [floats(Name.decoderInput, run.decoderInput), floats(Name.sample, run.sample)]
        let first = run.pictures[0]
        entries.append(
            Entry(
                name: Name.image, dtype: .u8,
                shape: [run.pictures.count, first.height, first.width, 3],
                bytes: run.pictures.flatMap(\.pixels)))
        return entries
    }

    /// - Parameter count: texts; of pictures of one prompt, or one negative prompt for all, each
    ///   stands once.
    private static func prompts(
        _ kind: PipelineGolden.PromptKind, _ prompts: PromptEmbeds, _ count: Int
    ) -> [Entry] {
        let tokens = prompts.tokens.prefix(count)
        let shape = [tokens.count, tokens.first?.length ?? 0]
        let ids = tokens.flatMap { $0.padded(with: 0) }
        let mask = tokens.flatMap { text in
            (0..<text.length).map { $0 < text.ids.count ? 1 : 0 }
        }
        func integers(_ name: String, _ shape: [Int], _ values: [Int]) -> Entry {
            Entry(
                name: name, dtype: .i64, shape: shape,
                bytes: values.flatMap { bytes(Int64($0)) })
        }
        return [
            integers(kind.ids, shape, ids), integers(kind.idsMask, shape, mask),
            floats(kind.embeds, prompts.embeds),
            integers(kind.mask, prompts.mask.shape, prompts.mask.values.values.map { Int($0) }),
        ]
    }

    private static func floats(_ name: String, _ tensor: DenseTensor) -> Entry {
        let values = UnsafeBufferPointer(start: tensor.values.pointer, count: tensor.count)
        return Entry(
            name: name, dtype: .f32, shape: tensor.shape,
            bytes: values.flatMap { bytes($0.bitPattern) })
    }

    // MARK: Contract

    private static func contract(
        _ run: SampleRun, _ source: OpenedPipeline, _ compute: ComputeMode, _ numerics: Numerics
    ) throws -> JSONValue {
        let request = run.pipeline.request
        let instruction = request.promptOptions.instruction
        let weights = try source.pipeline.components.filter(\.isNetwork).map { component in
            let opened = try source.opened(component)
            let hashes = try opened.sourceHashes(workers: source.workers)
            return JSONValue.Member(
                component.rawValue,
                .fields([
                    "dtype": .string(opened.dtypes), "digest": .string(hashes.digest),
                    "tensors": .object(
                        hashes.tensors.sorted { $0.key < $1.key }.map {
                            .init($0.key, .string($0.value))
                        }),
                ]))
        }
        let tokenizer = try Tokenizer.file(in: source.place(.tokenizer))
        let hash = ContentHash.sha256(of: try ByteView(mapping: tokenizer))
        return .fields([
            "pipeline_class": .string(source.pipeline.rawValue),
            "prompt": .array(request.prompts.map(JSONValue.string)),
            "negative_prompt": .array(request.negativePrompts.map(JSONValue.string)),
            "num_images_per_prompt": .int(request.picturesPerPrompt),
            "complex_human_instruction": instruction.isEmpty
                ? .null : .array(instruction.map(JSONValue.string)),
            "max_sequence_length": .int(request.promptOptions.maxSequenceLength),
            "clean_caption": .bool(false), "guidance_scale": .double(request.guidanceScale),
            "steps": .int(request.steps), "height": .int(request.height),
            "width": .int(request.width),
            "use_resolution_binning": .bool(request.usesResolutionBinning),
            "max_timesteps": .double(request.maxTimestep),
            "intermediate_timesteps": .double(request.intermediateTimestep),
            "controlnet_conditioning_scale": .double(request.conditioningScale),
            "scheduler": try source.scheduler().json.finite,
            "attn_implementation": .string(request.capsScores ? "eager" : "sdpa"),
            "compute_dtype": .string("float32"), "compute": .string(compute.rawValue),
            "numerics": .string(numerics.rawValue), "weights": .object(weights),
            "tokenizer_sha256": .string(hash.hexadecimal),
            "producer": .fields(["sana-tools": .string(ToolVersion.number)]),
        ])
    }
}

extension JSONValue {
    /// The value with null for the infinities that diffusers writes and JSON does not know.
    fileprivate var finite: JSONValue {
        switch self {
        case .number(let text): Double(text)?.isFinite == false ? .null : self
        case .array(let items): .array(items.map(\.finite))
        case .object(let members): .object(members.map { .init($0.key, $0.value.finite) })
        default: self
        }
    }
}
