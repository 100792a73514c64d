import SanaModel

/// A whole sampling of one of diffusers' pipelines, from prompts to pictures, with what passed
/// between its stages.
///
/// Format: `sana-pipeline` version 2, one safetensors file or the archive form of it.
package struct PipelineGolden {
    package static let format = "sana-pipeline"
    package static let version = "2"

    /// Names of entries.
    package enum Entry {
        package static let latents = "inputs.latents"
        package static let controlPicture = "inputs.control_picture"
        package static let control = "control.latent"
        package static let timesteps = "schedule.timesteps"
        package static let sigmas = "schedule.sigmas"
        package static let decoderInput = "decode.latent"
        package static let sample = "decode.sample"
        package static let image = "image"

        package static func noise(_ step: Int) -> String { "inputs.noise.\(step)" }
        package static func step(_ step: Int) -> String { "latents.\(step)" }
    }

    /// The two kinds of prompts, by what the names of their entries begin with.
    package enum PromptKind: String, CaseIterable {
        case prompt, negative

        package var ids: String { rawValue + ".input_ids" }
        package var idsMask: String { rawValue + ".attention_mask" }
        package var embeds: String { rawValue + ".prompt_embeds" }
        package var mask: String { rawValue + ".prompt_attention_mask" }
    }

    package let path: String
    package let pipeline: PipelineClass
    package let request: PipelineRequest
    /// Precision of the run, such as `float32`.
    package let computeDType: String
    /// Digest of each component's weights.
    package let digests: [PipelineComponent: String]
    /// SHA-256 of each of their tensors by name, where the recording has it.
    let hashes: [PipelineComponent: [String: String]]
    package let schedulerName: String
    private let file: GoldenFile

    /// - Throws: `FileError`, `SafetensorsError`, an archive's error, or `BadDataError` for a file
    ///   that is not such a recording.
    package init(path: String) throws {
        let file = try GoldenFile(
            path: path, format: Self.format, versions: [Self.version], types: [.f32, .i64, .u8])
        let contract = file.contract
        let name = contract["pipeline_class"]?.string ?? ""
        guard let pipeline = PipelineClass(rawValue: name) else {
            throw file.bad("contract: pipeline_class '\(name.printable)' is not known")
        }
        (self.path, self.file, self.pipeline) = (path, file, pipeline)
        request = try Self.request(contract, pipeline, file)
        guard let dtype = contract["compute_dtype"]?.string else {
            throw file.bad("contract: no compute_dtype")
        }
        computeDType = dtype
        var digests: [PipelineComponent: String] = [:]
        var hashes: [PipelineComponent: [String: String]] = [:]
        for component in pipeline.components where component.isNetwork {
            guard let digest = contract["weights"]?[component.rawValue]?["digest"]?.string else {
                throw file.bad("contract: no weights.\(component.rawValue).digest")
            }
            digests[component] = digest
            let members = contract["weights"]?[component.rawValue]?["tensors"]?.members ?? []
            hashes[component] = Dictionary(
                members.compactMap { member in member.value.string.map { (member.key, $0) } }
            ) { first, _ in first }
        }
        (self.digests, self.hashes) = (digests, hashes)
        schedulerName = contract["scheduler"]?["_class_name"]?.string ?? ""
        let needed =
            [Entry.latents, Entry.timesteps, Entry.decoderInput, Entry.sample, Entry.image]
            + kinds.flatMap { [$0.ids, $0.idsMask, $0.embeds, $0.mask] }
            + (0..<request.steps).map(Entry.step)
        for name in needed where file.shape(name) == nil {
            throw file.bad("entry '\(name)' is absent")
        }
    }

    /// The golden of one network's first forward in it, where the recording has it.
    ///
    /// - Throws: `BadDataError` for one that is no golden.
    func part(_ component: PipelineComponent) throws -> Golden? {
        guard let contract = file.contract["modules"]?[component.rawValue] else { return nil }
        return try Golden(
            file.part(
                "modules.\(component.rawValue).", contract, integers: Golden.inputPrefix))
    }

    /// The kinds of prompts that it has.
    package var kinds: [PromptKind] {
        request.isGuided(pipeline) ? PromptKind.allCases : [.prompt]
    }

    /// An entry's values, whole numbers and levels as floats.
    package func values(_ name: String) throws -> DenseTensor? { try file.tensor(name) }

    /// An entry that was found when the file was opened.
    package func required(_ name: String) throws -> DenseTensor {
        guard let tensor = try file.tensor(name) else {
            throw file.bad("entry '\(name)' is absent")
        }
        return tensor
    }

    /// What sampling started from.
    package func start() throws -> SanaPipeline.Start {
        let draws = pipeline == .sprint ? max(request.steps - 1, 0) : 0
        return SanaPipeline.Start(
            latents: try required(Entry.latents),
            noise: try (0..<draws).map { try required(Entry.noise($0)) })
    }

    /// Embeddings and masks as the transformer got them.
    package func prompts() throws -> SanaPipeline.Prompts {
        func embeds(_ kind: PromptKind) throws -> PromptEmbeds {
            let (embeds, mask) = (try required(kind.embeds), try required(kind.mask))
            guard embeds.shape.count == 3, mask.shape == Array(embeds.shape.prefix(2)) else {
                throw file.bad("\(kind.embeds) is \(embeds.shape), and its mask \(mask.shape)")
            }
            // What stands behind a text is attended to by nothing.
            let width = embeds.shape[2]
            for position in 0..<mask.count where mask.values.pointer[position] == 0 {
                (embeds.values.pointer + position * width).update(repeating: 0, count: width)
            }
            return PromptEmbeds(embeds: embeds, mask: mask)
        }
        return SanaPipeline.Prompts(
            positive: try embeds(.prompt),
            negative: try kinds.contains(.negative) ? embeds(.negative) : nil)
    }

    /// Token ids of each text, without padding.
    package func ids(_ kind: PromptKind) throws -> (texts: [[Int]], length: Int) {
        let (ids, mask) = (try required(kind.ids), try required(kind.idsMask))
        guard ids.shape.count == 2, mask.shape == ids.shape else {
            throw file.bad("\(kind.ids) is \(ids.shape), and its mask \(mask.shape)")
        }
        let length = ids.shape[1]
        let texts = (0..<ids.shape[0]).map { text in
            (0..<length).filter { mask.values.pointer[text * length + $0] != 0 }
                .map { Int(ids.values.pointer[text * length + $0]) }
        }
        return (texts, length)
    }

    /// Levels of the pictures, `[B, H, W, 3]`.
    package func pictures() throws -> [Picture] {
        let tensor = try required(Entry.image)
        guard tensor.shape.count == 4, tensor.shape[3] == 3 else {
            throw file.bad("image is \(tensor.shape), not [pictures, height, width, 3]")
        }
        return Self.pictures(tensor)
    }

    private static func pictures(_ tensor: DenseTensor) -> [Picture] {
        let (count, height, width) = (tensor.shape[0], tensor.shape[1], tensor.shape[2])
        let size = height * width * 3
        return (0..<count).map { index in
            Picture(
                width: width, height: height,
                pixels: (0..<size).map {
                    UInt8(min(max(tensor.values.pointer[index * size + $0], 0), 255))
                })
        }
    }
}

// MARK: The request

extension PipelineGolden {
    private static func request(
        _ contract: JSONValue, _ pipeline: PipelineClass, _ file: GoldenFile
    ) throws -> PipelineRequest {
        func bad(_ key: String) -> BadDataError {
            file.bad("contract: \(key) is \((contract[key]?.text() ?? "absent").printable)")
        }
        func texts(_ key: String) throws -> [String] {
            let value = contract[key] ?? .null
            if let text = value.string { return [text] }
            guard let list = value.array, list.count <= 1 << 10,
                list.allSatisfy({ $0.string != nil })
            else { throw bad(key) }
            return list.compactMap(\.string)
        }
        func number(_ key: String, default value: Double? = nil) throws -> Double {
            guard let number = contract[key]?.double ?? value, number.isFinite, abs(number) <= 1e6
            else { throw bad(key) }
            return number
        }
        func count(_ key: String, in range: ClosedRange<Int>, default value: Int? = nil) throws
            -> Int
        {
            guard let number = contract[key]?.int ?? value, range.contains(number) else {
                throw bad(key)
            }
            return number
        }
        var request = PipelineRequest(
            pipeline, prompts: try texts("prompt"), height: try count("height", in: 1...1 << 16),
            width: try count("width", in: 1...1 << 16))
        if request.isGuided(pipeline) { request.negativePrompts = try texts("negative_prompt") }
        request.guidanceScale = try number("guidance_scale")
        request.picturesPerPrompt = try count("num_images_per_prompt", in: 1...1024, default: 1)
        request.steps = try count("steps", in: FlowSchedulers.stepCounts)
        request.usesResolutionBinning = contract["use_resolution_binning"]?.bool ?? true
        request.promptOptions.maxSequenceLength = try count(
            "max_sequence_length", in: 1...1 << 20, default: 300)
        request.promptOptions.instruction =
            contract["complex_human_instruction"] ?? .null == .null
            ? [] : try texts("complex_human_instruction")
        request.promptOptions.cleansCaption = contract["clean_caption"]?.bool ?? false
        // SDPA drops the cap without a word.
        request.capsScores = contract["attn_implementation"]?.string != "sdpa"
        if pipeline == .sprint {
            request.maxTimestep = try number("max_timesteps", default: 1.57080)
            let second = contract["intermediate_timesteps"] ?? .null
            request.intermediateTimestep =
                second == .null ? nil : try number("intermediate_timesteps")
        }
        if pipeline == .controlNet {
            request.conditioningScale = try number("controlnet_conditioning_scale", default: 1)
            guard let picture = try file.tensor(Entry.controlPicture), picture.shape.count == 3,
                picture.shape[2] == 3, picture.count > 0
            else { throw file.bad("entry '\(Entry.controlPicture)' is not an image") }
            request.controlPicture =
                pictures(
                    DenseTensor(shape: [1] + picture.shape, values: picture.values))[0]
        }
        return request
    }
}

extension PipelineGolden {
    /// What is compared, by the names that tolerances of layers match.
    package var paths: [String] {
        kinds.map(\.embeds) + (pipeline == .controlNet ? [Entry.control] : [])
            + (0..<request.steps).map(Entry.step)
            + [Entry.decoderInput, Entry.sample, Entry.image]
    }

    /// For records.
    package func sizes() throws -> RunSizes {
        let shape = try required(Entry.latents).shape
        func extent(_ index: Int) -> Int { index < shape.count ? shape[index] : 0 }
        return RunSizes(
            batch: extent(0), height: extent(2), width: extent(3),
            captionTokens: request.promptOptions.maxSequenceLength)
    }
}
