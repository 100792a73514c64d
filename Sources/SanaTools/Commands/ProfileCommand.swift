import ArgumentParser
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools profile`
package struct ProfileCommand: QuietableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "profile",
        abstract: "Time every layer of a forward.",
        discussion: """
            Without MODEL, sana-tools.yaml sets the model and the resolution. A fixed workload, \
            the canary, runs between the blocks of each forward, to separate a slow host from a \
            slow model. --gate compares the run with the last runs, or with a baseline. --against \
            alternates forwards of two models in one process; --against-build alternates processes \
            of two builds. These give the most precise answer on a host whose speed varies.

            Without --repeat, forwards are repeated until a slowdown of --threshold would be \
            detected, or until --budget is spent. The repetitions of a recorded run start a second \
            apart, so that a host that is slow for a moment slows only a few of them. If forwards \
            are short, each repetition is the mean of as many as fit.

            With --pipeline, MODEL is a repository, and a full sampling run is timed, from prompt \
            to PNG: loading, text, every step, decoding and the file, each with its peak memory. \
            Its runs are a series of their own.

            EXAMPLES
              sana-tools profile
              sana-tools profile repo --size 1024 --repeat 10
              sana-tools profile model-int8.safetensors.zst --latent 16x24 --batch 2
              sana-tools profile repo --reference golden.safetensors --trace trace.json
              sana-tools profile --gate --baseline release
              sana-tools profile new.safetensors.zst --against old.safetensors.zst
              sana-tools profile repo --against-build ./sana-tools-1.0
              sana-tools profile repo --pipeline --steps 2 --repeat 6
              sana-tools profile a.safetensors.zst b.safetensors.zst --shard 1/2

            EXIT CODES
              0  success
              1  regress, with --gate, --against or --against-build
              3  inconclusive, with the same options
            """)

    @Argument(
        help: ArgumentHelp(
            "Repository, directory, .safetensors file, archive, NVlabs original (.pth) or .dduf pipeline; several are profiled one by one.",
            valueName: "model"), completion: .file())
    var models: [String] = []

    @Option(
        help: ArgumentHelp(
            "Side of the image in pixels, 32 per latent position (default: the model's own size).",
            valueName: "pixels"))
    var size: Int?

    @Option(
        help: ArgumentHelp(
            "Latent height and width, such as 16x24, instead of --size.", valueName: "HxW"),
        transform: LatentSize.init(checking:))
    var latent: LatentSize?

    @Option(help: "Images per batch (default: 1).")
    var batch: Int?

    @Option(help: "Number of caption tokens (default: 300).")
    var tokens: Int?

    @Option(
        help: ArgumentHelp(
            "Golden whose inputs to run, instead of synthetic ones.", valueName: "golden"),
        completion: .file())
    var reference: String?

    @Option(
        name: .customLong("repeat"),
        help: "Number of repetitions (default: as many as the gate needs, see --budget).")
    var repetitions: Int?

    @Option(help: "Maximum seconds of timed runs if --repeat is not given.")
    var budget = RepetitionPlan().budget

    @Option(help: "Number of warm-up runs.")
    var warmup = 1

    @Option(
        help: ArgumentHelp(
            "Forward to run: encode or decode of an autoencoder.",
            valueName: "name"))
    var entry: String?

    @OptionGroup var arithmetic: ArithmeticOptions

    @Flag(help: "Show every module, not only blocks and their parts.")
    var leaves = false

    @Option(
        help: ArgumentHelp(
            "Write a timeline of one more forward for Perfetto.", valueName: "json"),
        completion: .file())
    var trace: String?

    @Flag(help: "Also run 'history gate' on the recorded runs.")
    var gate = false

    @OptionGroup var sampling: PipelineProfileOptions
    @OptionGroup var gateArguments: GateArguments
    @OptionGroup var tiles: TileOption
    @OptionGroup var pairing: AgainstArguments
    @OptionGroup var shard: ShardOption
    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var format: CheckFormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var verbosity: VerbosityOptions
    @OptionGroup var history: HistoryOptions

    package init() {}

    package func validate() throws {
        if size != nil, latent != nil { throw ValidationError("give --size or --latent, not both") }
        if reference != nil, size != nil || latent != nil || batch != nil || tokens != nil {
            throw ValidationError(
                "--reference sets the sizes: leave out --size, --latent, --batch, --tokens")
        }
        if reference != nil, entry != nil {
            throw ValidationError("--reference sets the forward: leave out --entry")
        }
        try validateAgainst()
        try validatePipeline()
        if gate, history.noRecord { throw ValidationError("--gate needs the run recorded") }
        if let size, !LatentSize.isSide(size) {
            throw ValidationError("--size must be \(LatentSize.sideRule)")
        }
        guard (1...4096).contains(batch ?? 1), (1...65536).contains(tokens ?? 1) else {
            throw ValidationError("--batch must be in 1...4096 and --tokens in 1...65536")
        }
        guard (1...1000).contains(repetitions ?? 1), (0...1000).contains(warmup) else {
            throw ValidationError("--repeat must be in 1...1000 and --warmup in 0...1000")
        }
        guard budget > 0, budget <= 86400 else {
            throw ValidationError("--budget must be above 0 and at most 86400 seconds")
        }
    }

    package func run() throws { try run { $0 } }

    /// - Parameter network: what runs in place of a model's own forward; those that it is compared
    ///   with keep theirs.
    package func run(on network: (any Network) -> any Network) throws {
        let project = try ProjectFile.find()
        var paths = models
        if paths.isEmpty {
            guard let model = project?.model else { throw ProjectFile.noModel }
            paths = [model]
        }
        guard trace == nil || paths.count == 1 else {
            throw UsageError(
                "--trace takes one model, not \(paths.count)",
                remedy: "name the one whose timeline to write")
        }
        if pairing.isPaired { return try compare(paths[0], on: network, project) }
        let mine = paths.enumerated().filter { shard.shard?.contains($0.offset) ?? true }
        let (workers, store) = (threads.makePool(), try history.open(project))
        try Arithmetic.prepare(for: workers, needsBLAS: true)
        if !sampling.pipeline {
            // A wrong name ends the command before a minute is spent on the first of them.
            for (_, path) in mine.dropFirst() { _ = try modelOptions.open(path) }
        }
        var (profiles, runs): ([any ProfileDocument], [Int64]) = ([], [])
        for (_, path) in mine {
            let profile: (result: any ProfileDocument, run: Int64?) =
                sampling.pipeline
                ? try profilePipeline(path, project, workers, store)
                : try profile(path, on: network, project, workers, store)
            profiles.append(profile.result)
            if let run = profile.run { runs.append(run) }
        }
        let night =
            try gate && !runs.isEmpty
            ? store.map { try gateArguments.gate($0).outcome(runs) } : nil
        try show(profiles, night)
        try night?.verdict.throwUnlessPass()
    }

    private func profile(
        _ path: String, on network: (any Network) -> any Network, _ project: ProjectFile?,
        _ workers: WorkerPool, _ store: HistoryStore?
    ) throws -> (result: any ProfileDocument, run: Int64?) {
        let own = models.isEmpty ? project : nil
        let opened = try own.blaming("model") { try modelOptions.open(path) }
        func load() throws -> LoadedModel {
            var loaded = try entered(opened.load(workers: workers))
            loaded.network = network(loaded.network)
            return loaded
        }
        let loaded = try load()
        let inputs = try inputs(loaded, project)
        var options = Profile.Options(
            warmup: warmup, repetitions: repetitions,
            plan: try plan(
                store,
                Subject(
                    architecture: loaded.architecture, dtype: loaded.dtype, reference: nil,
                    compute: loaded.compute(arithmetic.compute), numerics: arithmetic.numerics,
                    sizes: RunSizes(loaded.network.sizes(of: inputs)),
                    threads: workers.threadCount)),
            numerics: arithmetic.numerics, compute: arithmetic.compute)
        // What the gate will not judge need not take as long.
        let isJudged = repetitions.map { $0 >= GateOptions.fewestRepetitions } ?? true
        options.isPaced = store != nil && isJudged
        let progress = ProgressLine("profile")
        defer { progress.finish() }
        let profile = try Profile.run(
            loaded, inputs, options, workers: workers, reload: load,
            progress: { progress.update($0, of: $1) })
        if let trace {
            let timeline = try ExecutionTrace.record(loaded, inputs, options, workers: workers)
            let file = try OutputFile(trace, replaceExisting: true)
            try file.write(Array((timeline.json.text() + "\n").utf8))
            try file.commit()
        }
        return (profile, try store?.record(.profile(profile, loaded, workers)))
    }

    /// What runs of one series have in common.
    struct Subject {
        let architecture: String
        let dtype: String
        let reference: String?
        let compute: String
        let numerics: Numerics
        let sizes: RunSizes
        let threads: Int
    }

    /// The gate's own limits, and the runs that it will compare with.
    func plan(_ store: HistoryStore?, _ subject: Subject) throws -> RepetitionPlan {
        var plan = RepetitionPlan(budget: budget)
        plan.options = gateArguments.options
        guard let store else { return plan }
        let newest = try store.newestOfEachSeries().last { summary in
            let run = summary.run
            guard run.kind == RunRecord.Kind.profile.rawValue, run.reference == subject.reference
            else { return false }
            guard run.clock == Profile.clock, run.canary == HostCanary.identity else {
                return false
            }
            guard run.architecture == subject.architecture, summary.joined.dtype == subject.dtype,
                summary.joined.machine == Machine.current.fingerprint
            else { return false }
            guard run.sizes == subject.sizes, run.threads == subject.threads else {
                return false
            }
            return run.numerics == subject.numerics.rawValue && run.compute == subject.compute
        }
        guard let series = newest?.joined.seriesId else { return plan }
        plan.baseline = try store.runs(
            ofSeries: series, areSound: true, limit: gateArguments.last
        ).map(store.gateSamples)
        return plan
    }

    /// A golden's inputs, or made ones of the size asked for.
    func inputs(_ model: LoadedModel, _ project: ProjectFile?) throws -> NamedTensors {
        if let reference {
            let golden = try Golden(path: reference)
            try golden.checkInputs(of: model.network)
            return golden.inputs
        }
        let side = size ?? (models.isEmpty ? project?.resolution : nil)
        let latent = latent ?? side.map { LatentSize(height: $0 / 32, width: $0 / 32) }
        return try SyntheticInputs.make(
            model.network.sizes(
                SizeRequest(
                    batch: batch, height: latent?.height, width: latent?.width, tokens: tokens)),
            for: model.network)
    }

    /// The model with the forward that is asked for, by a name or by a golden, and by its tiles.
    func entered(_ model: LoadedModel) throws -> LoadedModel {
        guard let reference else { return try model.entering(entry).tiled(tiles.tile) }
        return try model.configured(by: Golden(path: reference)).tiled(tiles.tile)
    }

    private func show(_ profiles: [any ProfileDocument], _ outcome: NightOutcome?) throws {
        if profiles.isEmpty { return }
        var documents = profiles.map(\.json)
        if let outcome {
            for (index, item) in outcome.judgements.enumerated() where index < documents.count {
                documents[index] = documents[index].setting("gate", to: item.json)
            }
        }
        func overview(_ text: (TextTable) -> String) -> [String] {
            profiles.count > 1 ? [text(TextTable.overview(profiles))] : []
        }
        let gate =
            outcome.map { "\n\n" + (format.format == .text ? $0.text : $0.markdown) } ?? ""
        try format.show(
            ResultDocument(type(of: profiles[0]).kind, documents),
            text: (profiles.map { $0.text(leaves: leaves) } + overview(\.text))
                .joined(separator: "\n\n") + gate,
            markdown: (profiles.map { $0.markdown(leaves: leaves) } + overview(\.markdown))
                .joined(separator: "\n\n") + gate,
            github: GitHubReport(profiles, leaves: leaves, outcome))
    }
}
