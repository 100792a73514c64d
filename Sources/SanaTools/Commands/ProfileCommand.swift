import ArgumentParser
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools profile`
struct ProfileCommand: TalkingCommand {
    static let configuration = CommandConfiguration(
        commandName: "profile",
        abstract: "Time every layer of the forward.",
        discussion: """
            Without MODEL, sana-tools.yaml names the model and the resolution. A frozen piece of work, the canary, \
            runs between the blocks of each forward, so that a slow host is told from a slow model; with --gate the \
            run is compared with the last runs, or with a baseline. With --against, forwards of two models alternate \
            in one process, and with --against-build processes of two builds do: the most precise answer on a host \
            whose speed varies.

            Without --repeat, forwards are repeated until a slowdown of --threshold would be found, or until \
            --budget is spent.

            With --pipeline, MODEL is a repository, and what is timed is a whole sampling, from the prompt to the PNG: \
            loading, text, every step, decoding and the file, each with the most memory it had. It is a series of its own.

            EXAMPLES
              sana-tools profile
              sana-tools profile path/to/repo --size 1024 --repeat 10
              sana-tools profile model-int8.safetensors.zst --latent 16x24 --batch 2 --format json
              sana-tools profile path/to/repo --reference golden.safetensors --trace forward.json
              sana-tools profile --gate --baseline release
              sana-tools profile new.safetensors.zst --against old.safetensors.zst --pairs 200
              sana-tools profile path/to/repo --against-build ./sana-tools-1.0
              sana-tools profile path/to/repo --pipeline --steps 2 --repeat 6
              sana-tools profile a.safetensors.zst b.safetensors.zst c.safetensors.zst --shard 2/3

            EXIT CODES
              0 good; with --gate, --against or --against-build 1 regress, 3 inconclusive
            """)

    @Argument(
        help: ArgumentHelp(
            "Repository, folder, .safetensors file, archive, NVlabs original (.pth) or .dduf pipeline; several are profiled in turn.",
            valueName: "model"), completion: .file())
    var models: [String] = []

    @Option(
        help: ArgumentHelp(
            "Side of the image in pixels, 32 to a latent position (default: the model's own size).",
            valueName: "pixels"))
    var size: Int?

    @Option(
        help: ArgumentHelp(
            "Size of the latent, such as 16x24, in place of --size.", valueName: "HxW"),
        transform: LatentSize.init(checking:))
    var latent: LatentSize?

    @Option(help: "Images in a batch (default: 1).")
    var batch: Int?

    @Option(help: "Caption tokens (default: 300).")
    var tokens: Int?

    @Option(
        help: ArgumentHelp(
            "Golden whose inputs to run, in place of sizes.", valueName: "golden"),
        completion: .file())
    var reference: String?

    @Option(
        name: .customLong("repeat"),
        help: "Number of timed runs (default: as many as the gate needs, see --budget).")
    var repetitions: Int?

    @Option(help: "Seconds of timed runs at most, where --repeat is not given.")
    var budget = RepetitionPlan().budget

    @Option(help: "Number of warm-up runs.")
    var warmup = 1

    @Option(
        help: ArgumentHelp(
            "Which of the network's forwards to run: encode or decode of an autoencoder.",
            valueName: "name"))
    var entry: String?

    @Option(help: NumericsHelp.text)
    var numerics = Numerics.fp32

    @Option(help: ComputeHelp.text)
    var compute = ComputeMode.standard

    @Flag(help: "Show every module, not only blocks and their parts.")
    var leaves = false

    @Option(
        help: ArgumentHelp(
            "Write the timeline of one more forward, which Perfetto opens.", valueName: "json"),
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
    @OptionGroup var talk: TalkOptions
    @OptionGroup var history: HistoryOptions

    func validate() throws {
        if size != nil, latent != nil { throw ValidationError("give --size or --latent, not both") }
        if reference != nil, size != nil || latent != nil || batch != nil || tokens != nil {
            throw ValidationError(
                "--reference has the sizes: leave out --size, --latent, --batch, --tokens")
        }
        if reference != nil, entry != nil {
            throw ValidationError("--reference says which forward it is of: leave out --entry")
        }
        try validateAgainst()
        try validatePipeline()
        if gate, history.noRecord { throw ValidationError("--gate needs the run recorded") }
        if let size, !LatentSize.isSide(size) {
            throw ValidationError("--size must be \(LatentSize.sideRule)")
        }
        guard (1...4096).contains(batch ?? 1), (1...65536).contains(tokens ?? 1) else {
            throw ValidationError("--batch must lie in 1...4096 and --tokens in 1...65536")
        }
        guard (1...1000).contains(repetitions ?? 1), (0...1000).contains(warmup) else {
            throw ValidationError("--repeat must be in 1...1000 and --warmup in 0...1000")
        }
        guard budget > 0, budget <= 86400 else {
            throw ValidationError("--budget must be above 0 and at most 86400 seconds")
        }
    }

    func run() throws {
        let project = try ProjectFile.find()
        var paths = models
        if paths.isEmpty {
            guard let model = project?.model else { throw ProjectFile.noModel }
            paths = [model]
        }
        guard trace == nil || paths.count == 1 else {
            throw UsageError(
                "--trace takes one model, and there are \(paths.count)",
                remedy: "name the one whose timeline to write")
        }
        if pairing.isPaired { return try compare(paths[0], project) }
        let mine = paths.enumerated().filter { shard.shard?.contains($0.offset) ?? true }
        let (workers, store) = (threads.makePool(), try history.open(project))
        try Arithmetic.prepare(for: workers, needsBLAS: true)
        var (profiles, runs): ([any ProfileDocument], [Int64]) = ([], [])
        for (_, path) in mine {
            let profile: (result: any ProfileDocument, run: Int64?) =
                sampling.pipeline
                ? try profilePipeline(path, project, workers, store)
                : try profile(path, project, workers, store)
            profiles.append(profile.result)
            if let run = profile.run { runs.append(run) }
        }
        let night =
            try gate && !runs.isEmpty
            ? store.map { try gateArguments.gate($0).outcome(runs) } : nil
        try show(profiles, night)
        try night?.throwVerdict()
    }

    private func profile(
        _ path: String, _ project: ProjectFile?, _ workers: WorkerPool, _ store: HistoryStore?
    ) throws -> (result: any ProfileDocument, run: Int64?) {
        let own = models.isEmpty ? project : nil
        let opened = try own.blaming("model") { try modelOptions.open(path) }
        let loaded = try entered(opened.load(workers: workers))
        let inputs = try inputs(loaded, project)
        let options = Profile.Options(
            warmup: warmup, repetitions: repetitions,
            plan: try plan(
                store,
                Subject(
                    architecture: loaded.architecture, dtype: loaded.dtype, reference: nil,
                    compute: loaded.compute(compute), numerics: numerics,
                    sizes: RunSizes(loaded.network.sizes(of: inputs)),
                    threads: workers.threadCount)),
            numerics: numerics,
            compute: compute)
        let progress = ProgressLine("profile")
        defer { progress.finish() }
        let profile = try Profile.run(
            loaded, inputs, options, workers: workers, progress: { progress.update($0, of: $1) })
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
            guard RunSizes(run) == subject.sizes, run.threads == subject.threads else {
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
