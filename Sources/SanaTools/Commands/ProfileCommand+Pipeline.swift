import ArgumentParser
import SanaModel
import SanaWorkbench

/// `sana-tools profile --pipeline`
struct PipelineProfileOptions: ParsableArguments {
    @Flag(help: "Time a full sampling run of a repository, from prompt to PNG.")
    var pipeline = false

    @Option(
        help: ArgumentHelp(
            "Prompt for --pipeline (default: one of typical length). Repeatable: one image for each.",
            valueName: "text"))
    var prompt: [String] = []

    @Option(help: "Number of scheduler steps for --pipeline (default: 20; 2 for Sprint).")
    var steps: Int?

    @Option(
        help: ArgumentHelp(
            "Guidance scale for --pipeline (default: 4.5); 1 or less turns guidance off.",
            valueName: "g"))
    var guidanceScale: Double?

    @Option(
        help: ArgumentHelp(
            "Input PNG of a ControlNet pipeline (default: a grey one).", valueName: "file"),
        completion: .file())
    var controlPicture: String?

    @OptionGroup var components: ComponentOptions

    /// Stands for the prompt where none is given.
    static let standardPrompt =
        "a cyberpunk cat with a neon sign that says Sana, in the rain, photographed at night"

    func validate() throws {
        let isEmpty =
            prompt.isEmpty && steps == nil && guidanceScale == nil && controlPicture == nil
            && components.component.isEmpty
        guard pipeline || isEmpty else {
            throw ValidationError(
                "--prompt, --steps, --guidance-scale, --control-picture and --component are for "
                    + "--pipeline")
        }
        guard guidanceScale?.isFinite != false else {
            throw ValidationError("--guidance-scale must be finite")
        }
    }
}

extension ProfileCommand {
    /// What is about the forward of one network.
    func validatePipeline() throws {
        guard sampling.pipeline else { return }
        let others: [(option: String, isGiven: Bool)] = [
            ("--latent", latent != nil), ("--batch", batch != nil), ("--tokens", tokens != nil),
            ("--reference", reference != nil), ("--entry", entry != nil),
            ("--trace", trace != nil), ("--leaves", leaves),
            ("--against", pairing.against != nil),
            ("--against-build", pairing.againstBuild != nil),
            ("--subfolder", modelOptions.subfolder != nil),
            ("--config", modelOptions.config != nil),
        ]
        if let other = others.first(where: \.isGiven) {
            throw ValidationError("\(other.option) and --pipeline cannot be used together")
        }
    }

    func profilePipeline(
        _ path: String, _ project: ProjectFile?, _ workers: WorkerPool, _ store: HistoryStore?
    ) throws -> (result: any ProfileDocument, run: Int64?) {
        let own = models.isEmpty ? project : nil
        let source = try own.blaming("model") {
            try OpenedPipeline(
                path, places: sampling.components.places(), variant: modelOptions.variant,
                workers: workers)
        }
        let request = try request(source)
        var options = Profile.Options(
            warmup: warmup, repetitions: repetitions, numerics: arithmetic.numerics,
            compute: arithmetic.compute)
        let identity = try source.identity()
        options.plan = try plan(
            store,
            Subject(
                architecture: identity.architecture, dtype: identity.dtype,
                reference: PipelineProfile.reference(request),
                compute: identity.compute(arithmetic.compute), numerics: arithmetic.numerics,
                sizes: PipelineProfile.sizes(source, request), threads: workers.threadCount))
        let profile = try PipelineProfile.run(source, identity, request, options)
        return (profile, try store?.record(.profile(profile)))
    }

    private func request(_ source: OpenedPipeline) throws -> PipelineRequest {
        var request = try source.request(
            prompts: sampling.prompt.isEmpty
                ? [PipelineProfileOptions.standardPrompt] : sampling.prompt,
            size: size.map { ($0, $0) }, steps: sampling.steps,
            usesResolutionBinning: nil)
        if let scale = sampling.guidanceScale { request.guidanceScale = scale }
        if source.pipeline == .controlNet {
            // Its values do not bear on speed.
            let grey = [UInt8](repeating: 128, count: request.height * request.width * 3)
            request.controlPicture =
                try sampling.controlPicture.map(PNGFile.read)
                ?? Picture(width: request.width, height: request.height, pixels: grey)
        } else if sampling.controlPicture != nil {
            throw UsageError(
                "\(source.pipeline.rawValue) takes no control image",
                remedy: "leave out --control-picture")
        }
        return request
    }
}
