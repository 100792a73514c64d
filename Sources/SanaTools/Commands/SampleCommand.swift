import ArgumentParser
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools sample`
struct SampleCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sample",
        abstract: "Generate images from prompts, matching diffusers' pipelines.",
        discussion: """
            Runs the repository's SanaPipeline, SanaSprintPipeline or SanaControlNetPipeline. The \
            text encoder, transformer and autoencoder run one after the other, and each is in \
            memory only while it runs. A seed gives the same image as diffusers does in fp32 with \
            torch.Generator("cpu").manual_seed(N), within one level.

            Several images are numbered: picture-1.png, picture-2.png. Each PNG stores its prompt \
            and all settings as text.

            EXAMPLES
              sana-tools sample path/to/repo --prompt "a cat" --output cat.png
              sana-tools sample org/name --prompt "a cat" --prompt "a dog" \\
                --size 768x1344 --seed 7 --output pets.png
              sana-tools sample path/to/repo --prompt "a cat" --output cat.png \\
                --component transformer=repo-int8.safetensors.zst --compute int8
              sana-tools sample path/to/controlnet --prompt "a house" \\
                --control-picture edges.png --output house.png
              sana-tools sample repo-int8 --prompt "a cat" --output int8.png \\
                --beside cat.png --strip both.png

            EXIT CODES
              0   success
              64  usage error
              65  a component or an input is bad data
              66  a component or an input is missing
              73  cannot create output
            """)

    @Argument(
        help: ArgumentHelp(
            "Pipeline repository, or org/name in the Hugging Face cache.", valueName: "model"),
        completion: .directory)
    var model: String

    @Option(
        help: ArgumentHelp(
            "Prompt. Repeatable: one image for each.", valueName: "text"))
    var prompt: [String] = []

    @Option(
        help: ArgumentHelp(
            "Negative prompt: one for all prompts, or one for each. Repeatable.",
            valueName: "text"))
    var negativePrompt: [String] = []

    @Option(name: .shortAndLong, help: ArgumentHelp("PNG to write.", valueName: "file"))
    var output: String

    @Option(help: "Number of images of a single prompt.")
    var pictures = 1

    @Option(help: "Number of scheduler steps (default: 20; 2 for Sprint).")
    var steps: Int?

    @Option(
        help: ArgumentHelp(
            "Guidance scale: 1 or less turns guidance off; Sprint embeds the value.",
            valueName: "g"))
    var guidanceScale = 4.5

    @Option(
        help: ArgumentHelp(
            "Height and width in pixels, such as 768x1344 (default: the model's own size).",
            valueName: "HxW"),
        transform: PictureSize.init(checking:))
    var size: PictureSize?

    @Flag(
        inversion: .prefixedNo,
        help:
            "Compute at the nearest size that the model was trained on, then scale and crop (default: if diffusers has such sizes for the model)."
    )
    var resolutionBinning: Bool?

    @Option(help: "Seed of the starting noise.")
    var seed: UInt64 = 0

    @Option(help: "torch's random number generator to reproduce: cpu or cuda.")
    var generator = TorchGenerator.Device.cpu

    @Option(
        help: ArgumentHelp(
            "safetensors file with the starting noise, as latents or inputs.latents.",
            valueName: "file"), completion: .file())
    var latents: String?

    @Option(
        help: ArgumentHelp("Input PNG of a ControlNet.", valueName: "file"), completion: .file())
    var controlPicture: String?

    @Option(help: ArgumentHelp("Scale of a ControlNet's outputs.", valueName: "s"))
    var conditioningScale = 1.0

    @Option(
        help: ArgumentHelp(
            "Text before every prompt, instead of Sana's own; empty for none.",
            valueName: "text"))
    var instruction: String?

    @Option(help: ArgumentHelp("Prompt tokens passed to the transformer.", valueName: "n"))
    var maxSequenceLength = 300

    @Flag(
        help:
            "Leave the text encoder's attention scores uncapped, as transformers 4.48 to 5.21 do.")
    var noSoftCap = false

    @Option(
        help: ArgumentHelp(
            "Directory to cache the text encoder's output for the instruction, for other runs with the same weights.",
            valueName: "directory"), completion: .directory)
    var instructionCache: String?

    @OptionGroup var arithmetic: ArithmeticOptions

    @Option(help: "Weights variant, such as fp16 (default: the only one present).")
    var variant: String?

    @Option(
        help: ArgumentHelp(
            "Also write tokens, embeddings, every step and the images, in the format of 'capture --pipeline'.",
            valueName: "file"), completion: .file())
    var savePipeline: String?

    @Option(
        help: ArgumentHelp(
            "Also write the images side by side, after those of --beside.", valueName: "file"),
        completion: .file())
    var strip: String?

    @Option(
        help: ArgumentHelp(
            "PNG of the same height to put on the left of --strip. Repeatable.",
            valueName: "file"), completion: .file())
    var beside: [String] = []

    @Flag(help: "Replace existing outputs.")
    var force = false

    @OptionGroup var tiles: TileOption
    @OptionGroup var components: ComponentOptions
    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var verbosity: VerbosityOptions

    func validate() throws {
        guard !prompt.isEmpty else { throw ValidationError("give at least one --prompt") }
        guard (1...1024).contains(pictures) else {
            throw ValidationError("--pictures must be in 1...1024")
        }
        guard pictures == 1 || prompt.count == 1 else {
            throw ValidationError(
                "--pictures needs a single --prompt: with several, diffusers mixes up the masks")
        }
        guard beside.isEmpty || strip != nil else {
            throw ValidationError("--beside is for --strip")
        }
        guard guidanceScale.isFinite, conditioningScale.isFinite else {
            throw ValidationError("--guidance-scale and --conditioning-scale must be finite")
        }
    }

    func run() throws {
        let workers = threads.makePool()
        let source = try OpenedPipeline(
            model, places: components.places(), variant: variant,
            instructionFolder: instructionCache.map(InstructionFolder.init), workers: workers)
        let request = try request(source)
        let paths = SampleReport.paths(output, count: request.pictureCount)
        for path in paths + [savePipeline, strip].compactMap(\.self) {
            try OutputFile.checkAbsent(path, replaceExisting: force)
        }
        var row = PictureStrip()
        for path in beside { try row.add(path, PNGFile.read(path)) }
        let pipeline = try SanaPipeline(source, request)
        var random = TorchGenerator(seed: seed, device: generator)
        let start = try pipeline.draw(&random, latents: latents.map(Self.latents))
        let context = ForwardContext(
            workers: workers, numerics: arithmetic.numerics, compute: arithmetic.compute)
        let run = try SampleRun(
            pipeline, start, keepsSteps: savePipeline != nil, context,
            clock: StageClock("sample", workers))
        let report = SampleReport(
            run: run, model: model, seed: latents == nil ? seed : nil, generator: generator,
            places: components.component, compute: arithmetic.compute, paths: paths)
        for (index, path) in paths.enumerated() {
            try write(report.image(index), path)
            if strip != nil { try row.add(path, run.pictures[index]) }
        }
        if let strip { try write(row.image, strip) }
        if let savePipeline {
            try PipelineFile(
                run, source, compute: arithmetic.compute, numerics: arithmetic.numerics
            )
            .write(savePipeline, replaceExisting: force)
        }
        try format.show(
            ResultDocument(.sample, report.json), text: report.text, markdown: report.table.markdown
        )
    }

    private func write(_ image: PNGImage, _ path: String) throws {
        let file = try OutputFile(path, replaceExisting: force)
        try file.write(image.file())
        try file.commit()
    }

    private func request(_ source: OpenedPipeline) throws -> PipelineRequest {
        var request = try source.request(
            prompts: prompt, size: size.map { ($0.height, $0.width) }, steps: steps,
            usesResolutionBinning: resolutionBinning)
        if !negativePrompt.isEmpty {
            guard source.pipeline.hasNegativePrompt else {
                throw UsageError("\(source.pipeline.rawValue) takes no --negative-prompt")
            }
            request.negativePrompts = negativePrompt
        }
        request.picturesPerPrompt = pictures
        request.guidanceScale = guidanceScale
        request.promptOptions.maxSequenceLength = maxSequenceLength
        if let instruction {
            request.promptOptions.instruction = instruction.isEmpty ? [] : [instruction]
        }
        request.capsScores = !noSoftCap
        request.controlPicture = try controlPicture.map(PNGFile.read)
        request.conditioningScale = conditioningScale
        request.tiles = tiles.tile.map { ($0.pixels, $0.stride) }
        return request
    }

    /// The starting noise in a file.
    private static func latents(_ path: String) throws -> DenseTensor {
        let (source, _) = try OpenedFile.open(path)
        let names = ["latents", "inputs.latents"]
        guard let tensor = names.lazy.compactMap({ source.info($0) }).first,
            let values = try source.bytes(of: tensor).widened(from: tensor.dtype)
        else {
            throw BadDataError(
                file: path, reason: "no float tensor named latents or inputs.latents")
        }
        return DenseTensor(shape: tensor.shape, values: values)
    }
}

extension TorchGenerator.Device: ExpressibleByArgument {}
