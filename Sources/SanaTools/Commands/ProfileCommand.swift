import ArgumentParser
import SanaModel

/// `sana-tools profile`
struct ProfileCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "profile",
        abstract: "Time every layer of the forward.",
        discussion: """
            Without MODEL, sana-tools.yaml names the model and the resolution. The rate of a fixed matrix \
            product, taken between the forwards, tells a slow host from a slow model.

            EXAMPLES
              sana-tools profile
              sana-tools profile path/to/repo --size 1024 --repeat 10
              sana-tools profile model-int8.safetensors.zst --latent 16x24 --batch 2 --format json
            """)

    @Argument(
        help: ArgumentHelp(
            "Repository, folder, .safetensors file or archive.", valueName: "model"),
        completion: .file())
    var model: String?

    @Option(
        help: ArgumentHelp(
            "Side of the image in pixels, 32 to a latent position (default: the model's own size).",
            valueName: "pixels"))
    var size: Int?

    @Option(help: ArgumentHelp("Size of the latent, in place of --size.", valueName: "HxW"))
    var latent: LatentSize?

    @Option(help: "Images in a batch.")
    var batch = 1

    @Option(help: "Caption tokens.")
    var tokens = 300

    @Option(name: .customLong("repeat"), help: "Forwards that are timed.")
    var repetitions = 5

    @Option(help: "Forwards before the first one that is timed.")
    var warmup = 1

    @Option(
        help: "fp32, or fp16-clip for checkpoints that need attention outputs clipped to ±65504.")
    var numerics = Numerics.fp32

    @Flag(help: "Show every module, not only blocks and their parts.")
    var leaves = false

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var history: HistoryOptions

    func validate() throws {
        if size != nil, latent != nil { throw ValidationError("give --size or --latent, not both") }
        if let size, !(32...16384).contains(size) || size % 32 != 0 {
            throw ValidationError("--size must be a multiple of 32 in 32...16384")
        }
        guard (1...1000).contains(repetitions), (0...1000).contains(warmup) else {
            throw ValidationError("--repeat must lie in 1...1000 and --warmup in 0...1000")
        }
    }

    func run() throws {
        let project = try ProjectFile.find()
        guard let path = model ?? project?.model else { throw ProjectFile.noModel }
        let opened = try modelOptions.open(path)
        let side = size ?? (model == nil ? project?.resolution : nil)
        let latent =
            latent ?? side.map { LatentSize(height: $0 / 32, width: $0 / 32) }
            ?? LatentSize(height: opened.config.sampleSize, width: opened.config.sampleSize)
        let sizes = RunSizes(
            batch: batch, height: latent.height, width: latent.width, captionTokens: tokens)
        let inputs = try SyntheticInputs.make(sizes, for: opened.config)
        let workers = threads.makePool()
        let store = try history.open(project)
        let loaded = try opened.load(workers: workers)
        let options = Profile.Options(
            warmup: warmup, repetitions: repetitions, numerics: numerics)
        let progress = ProgressLine("profile")
        defer { progress.finish() }
        let profile = try Profile.run(
            loaded, inputs, options, workers: workers, progress: { progress.update($0, of: $1) })
        progress.finish()
        try store?.record(.profile(profile, loaded, inputs, workers))
        try format.show(
            json: profile.json, text: profile.text(leaves: leaves),
            markdown: profile.markdown(leaves: leaves))
    }
}
