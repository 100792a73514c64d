/// A pipeline of diffusers 0.42.1 that makes pictures with Sana.
public enum PipelineClass: String, Sendable, CaseIterable {
    case sana = "SanaPipeline"
    case sprint = "SanaSprintPipeline"
    case controlNet = "SanaControlNetPipeline"

    /// Steps that it takes where nobody says how many.
    public var standardSteps: Int { self == .sprint ? 2 : 20 }

    /// Whether prompts that a picture is led away from have a meaning.
    public var hasNegativePrompt: Bool { self != .sprint }

    /// The components that it computes with, by their names in `model_index.json`.
    public var components: [PipelineComponent] {
        [.tokenizer, .textEncoder, .transformer]
            + (self == .controlNet ? [.controlNet] : []) + [.vae, .scheduler]
    }

    /// - Throws: `BadDataError` for an index of another pipeline.
    public init(index: JSONValue, file: String) throws(BadDataError) {
        let name = index["_class_name"]?.string ?? "absent"
        guard let pipeline = PipelineClass(rawValue: name) else {
            throw BadDataError(
                file: file,
                reason: "_class_name is \(name.printable), not "
                    + Self.allCases.map(\.rawValue).joined(separator: ", "),
                remedy: "give the repository of one of these pipelines")
        }
        self = pipeline
    }
}

/// A component of a pipeline.
public enum PipelineComponent: String, Sendable, CaseIterable {
    case tokenizer
    case textEncoder = "text_encoder"
    case transformer
    case controlNet = "controlnet"
    case vae
    case scheduler

    /// Whether it has weights.
    public var isNetwork: Bool { self != .tokenizer && self != .scheduler }
}

/// Where a pipeline finds its components. What is asked for is loaded anew each time, so that
/// nothing stays in memory longer than it is used.
public protocol PipelineSource {
    var pipeline: PipelineClass { get }
    func tokenizer() throws -> Tokenizer
    func textEncoder() throws -> Gemma2Model
    func transformer() throws -> SanaTransformer2DModel
    func controlNet() throws -> SanaControlNetModel
    func encoder() throws -> AutoencoderDCEncoder
    func decoder() throws -> AutoencoderDCDecoder
    /// `scheduler_config.json`, and its path for messages.
    func scheduler() throws -> (json: JSONValue, file: String)
    /// Configurations without weights.
    func transformerConfig() throws -> SanaConfig
    func autoencoderConfig() throws -> AutoencoderDCConfig
    /// Cache of the text encoder's output for instructions, kept between runs; looked up after it.
    var instructions: (any InstructionStore)? { get }
}

extension PipelineSource {
    public var instructions: (any InstructionStore)? { nil }
}

/// What a picture is made of and how. Defaults are those of diffusers.
public struct PipelineRequest: Sendable {
    public var prompts: [String]
    /// One for all prompts, or one for each.
    public var negativePrompts = [""]
    public var picturesPerPrompt = 1
    public var promptOptions = PromptOptions()
    public var guidanceScale = 4.5
    public var steps: Int
    /// Size of the picture in pixels.
    public var height: Int
    public var width: Int
    public var usesResolutionBinning = true
    /// Angles of Sprint's first and second step; the second `nil` unless there are two steps.
    public var maxTimestep = 1.57080
    public var intermediateTimestep: Double?
    /// What a ControlNet reads.
    public var controlPicture: Picture?
    public var conditioningScale = 1.0
    /// Whether attention scores of the text encoder are capped, as its configuration says.
    public var capsScores = true
    /// Tiles of the autoencoder, and from one to the next, in pixels.
    public var tiles: (size: (height: Int, width: Int), stride: (height: Int, width: Int))?

    public init(_ pipeline: PipelineClass, prompts: [String], height: Int, width: Int) {
        self.prompts = prompts
        (self.height, self.width) = (height, width)
        steps = pipeline.standardSteps
        intermediateTimestep = pipeline == .sprint ? 1.3 : nil
    }

    /// Whether the model runs on negative prompts, too.
    public func isGuided(_ pipeline: PipelineClass) -> Bool {
        pipeline.hasNegativePrompt && guidanceScale > 1
    }

    /// Pictures that come of it.
    public var pictureCount: Int { prompts.count * picturesPerPrompt }
}

/// A part of the way from a prompt to a picture.
public enum PipelineStage: String, Sendable, CaseIterable {
    case prompt, control, denoise, decode, image
}
