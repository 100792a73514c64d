import ArgumentParser
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools verify`
struct VerifyCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Run a full forward on recorded inputs and compare every captured layer.",
        discussion: """
            Without MODEL, verifies the model that sana-tools.yaml names and the archives that \
            'convert' made from it, against the references listed there. Fails with 66 if an \
            archive listed in dtype: is missing or was made from other weights.

            The tolerance bounds the relative RMS error ‖a−r‖/‖r‖ for float weights, and the \
            relative error power ‖a−r‖²/‖r‖² for quantized weights and --compute bf16; --metric \
            overrides this. A failure is reported with the layer that causes it. --isolated also \
            runs every layer on the golden's own input, to separate the layer's own error from the \
            error it inherits.

            A trajectory, recorded by 'capture --trajectory', is a full sampling run. The same \
            sampler starts from the same latent and prompts, and the latent is compared after each \
            step.

            A pipeline, recorded by 'capture --pipeline' and given with --reference, is compared \
            from prompt to image: tokens, embeddings, every step, the decoded sample and the pixel \
            levels. Unless --no-isolated is given, each stage also runs on the golden's own input, \
            and the first stage that is out of tolerance by itself is the cause.

            --calibrate writes the tolerances that the model needs, whatever the verdict. \
            --tolerance-file applies them to runs with the same source weights, stored types, \
            --compute and --numerics; --tolerance applies to all other runs.

            EXAMPLES
              sana-tools verify --tolerance 1e-3
              sana-tools verify repo --reference golden.safetensors --tolerance 2e-6
              sana-tools verify a.safetensors.zst b.safetensors.zst --reference goldens
              sana-tools verify repo --reference goldens --isolated --junit verify.xml
              sana-tools verify repo --reference pipeline.safetensors --pictures out.png
              sana-tools verify repo --reference goldens --layer-tolerance '*.ff=2e-3'
              sana-tools verify repo --reference goldens --calibrate limits.json
              sana-tools verify repo --reference goldens --tolerance-file limits.json
              sana-tools verify *.safetensors.zst --reference goldens --gate --shard 1/4
              sana-tools verify repo a-fp16.safetensors.zst a-int8.safetensors.zst \\
                --trajectory trajectory.safetensors --pictures samples.png

            EXIT CODES
              0   all comparisons are within tolerance
              1   a comparison failed
              3   none failed, and at least one is inconclusive
              65  a model or golden is bad data
              66  a model or golden is missing, or an archive of the project is stale

            With --calibrate, 0 means that the file was written, and 1 that a golden does not \
            match or is not precise enough; otherwise the exit code is that of --gate.
            """)

    @Argument(
        help: ArgumentHelp(
            "Repository, directory, .safetensors file, archive, NVlabs original (.pth) or .dduf pipeline; several are verified one by one.",
            valueName: "model"), completion: .file())
    var models: [String] = []

    @Option(
        help: ArgumentHelp(
            "Golden, or a directory of goldens. Repeatable.", valueName: "path"),
        completion: .file())
    var reference: [String] = []

    @Option(
        help: ArgumentHelp(
            "Trajectory, or a directory of trajectories. Repeatable.", valueName: "path"),
        completion: .file())
    var trajectory: [String] = []

    @Option(
        help: ArgumentHelp(
            "PNG to write, with diffusers' images above those of each model. Pipelines add the amplified difference; trajectories need latents that are pixels.",
            valueName: "file"), completion: .file())
    var pictures: String?

    @OptionGroup var tolerances: ToleranceOptions

    @Option(help: "relative_rms or relative_power (default: by the type of weights and matmuls).")
    var metric: Metric?

    @Option(
        help: ArgumentHelp(
            "Checkpoint that converted models were made from, to compare each of their tensors with (default: the project's model).",
            valueName: "model"), completion: .file())
    var source: String?

    @OptionGroup var arithmetic: ArithmeticOptions

    @Flag(
        inversion: .prefixedNo,
        help:
            "Also run layers on golden inputs, which takes up to four times as long (default: if the model is small)."
    )
    var isolated: Bool?

    @Flag(help: "Accept goldens recorded from other weights.")
    var allowStale = false

    @Flag(help: "Show only failing layers, the worst layer and the output.")
    var summary = false

    @Flag(help: "Show every statistic of a layer; --format json always does.")
    var wide = false

    @Option(help: CheckFormat.help)
    var format = VerificationFormat.text

    @Option(
        help: ArgumentHelp("Also write the results as JUnit XML.", valueName: "file"),
        completion: .file())
    var junit: String?

    @Flag(help: "Also run 'history gate' on the recorded runs.")
    var gate = false

    @OptionGroup var tiles: TileOption
    @OptionGroup var components: ComponentOptions
    @OptionGroup var gateArguments: GateArguments
    @OptionGroup var shard: ShardOption
    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var verbosity: VerbosityOptions
    @OptionGroup var history: HistoryOptions

    enum VerificationFormat: String, ExpressibleByArgument, CaseIterable {
        case text, json, markdown, junit, github
        case jsonV1 = "json-v1"
    }

    func run() throws {
        let project = try ProjectFile.find()
        let paths = try models.isEmpty ? projectModels(project) : models
        let references = try self.references(project)
        guard tolerances.calibrate == nil || paths.count == 1 else {
            throw UsageError(
                "--calibrate takes one model, not \(paths.count)",
                remedy: "name the one whose tolerances to write")
        }
        if gate, history.noRecord {
            throw UsageError("--gate needs the runs recorded", remedy: "leave out --no-record")
        }
        let calibrations = try tolerances.calibrations(project, isProject: isOwn(project))
        let options = try options(project, calibrations)
        try checkRules(references, project)
        let store = try history.open(project)
        let places = try components.places()
        let arePipelines = references.allSatisfy { if case .pipeline = $0 { true } else { false } }
        guard places.isEmpty || arePipelines else {
            throw UsageError(
                "--component is only for recorded pipelines, but there are other references",
                remedy: "verify the others separately")
        }
        let workers = threads.makePool()
        var batch = VerificationBatch(
            options: options, calibrations: calibrations, workers: workers, store: store,
            open: { path in
                let own = models.isEmpty && path == project?.model ? project : nil
                let place = places[PipelineComponent.transformer.rawValue] ?? path
                return try own.blaming("model") { try modelOptions.open(place) }
            },
            pipeline: {
                try OpenedPipeline(
                    $0, places: places, variant: modelOptions.variant, workers: workers)
            }, shard: shard.shard)
        batch.origin = try origin(project)
        batch.isProject = models.isEmpty
        batch.calibrates = tolerances.calibrate != nil
        batch.promised = Set(models.isEmpty ? project?.promisedArchives ?? [] : [])
        var outcome = try batch.run(paths, references)
        let runs = outcome.runs + outcome.failedRuns
        if gate, let store, !runs.isEmpty {
            outcome.night = try gateArguments.gate(store).outcome(runs)
        }
        try show(outcome)
        if let last = outcome.failures.last {
            // They are among the results, which a log of GitHub Actions shows with the messages.
            if Console.isOneStream || format == .github {
                throw ExitCode(last.error.category.exitCode)
            }
            for failure in outcome.failures.dropLast() { Console.report(failure.error) }
            throw last.error
        }
        var verdict = outcome.verdict
        if let path = tolerances.calibrate {
            try calibrate(path, outcome)
            // Whether it passes now is what tolerances are made for; what got worse is not.
            verdict = outcome.night?.judgements.map(\.change).max() ?? .pass
        } else {
            verdict = max(verdict, outcome.night?.verdict ?? .pass)
        }
        try verdict.throwUnlessPass()
    }

    /// Finds layer tolerances that match nothing before anything is run and recorded; the project's
    /// are about forwards.
    ///
    /// Says nothing where a golden cannot be read, which is told of when it is compared: a rule may
    /// be about that one.
    private func checkRules(
        _ references: [VerificationBatch.Reference], _ project: ProjectFile?
    ) throws {
        let hasForward = references.contains { if case .forward = $0 { true } else { false } }
        let rules = tolerances.rules(project, isProject: isOwn(project) && hasForward)
        guard !rules.isEmpty else { return }
        guard let paths = try? references.flatMap({ try $0.paths() }), !paths.isEmpty,
            let unused = Tolerances(rules: rules).unused(Set(paths)).first
        else { return }
        let isGiven = tolerances.layerTolerance.contains(unused)
        try (isGiven ? nil : project).blaming("layer_tolerances") {
            throw UsageError(
                "layer tolerance '\(unused.text.printable)' matches no layer",
                remedy: "'sana-tools verify --format json' lists the paths", page: .tolerances)
        }
    }

    /// Whether the project's own model, or archives made from it, are verified: what the project
    /// says of them applies.
    private func isOwn(_ project: ProjectFile?) -> Bool {
        models.isEmpty || models.allSatisfy { project?.owns($0) ?? false }
    }

    /// Goldens and trajectories; those of the project where none are named and the models are its
    /// own.
    private func references(_ project: ProjectFile?) throws -> [VerificationBatch.Reference] {
        let own = isOwn(project) && reference.isEmpty && trajectory.isEmpty ? project : nil
        /// What is there is compared even where others are not.
        func expand(_ paths: [String]) throws -> [String] {
            try Reference.expand(paths, mustExist: !paths.contains(where: \.pathExists))
        }
        let forwards =
            try Reference.expand(reference, mustExist: false)
            + own.blaming("references") { try expand(own?.references ?? []) }
        let samplings =
            try Reference.expand(trajectory, mustExist: false)
            + own.blaming("trajectories") { try expand(own?.trajectories ?? []) }
        guard !forwards.isEmpty || !samplings.isEmpty else {
            // A golden given as MODEL is why there is none.
            for model in models { try WrongModelFile.refuse(ModelPath.resolve(model)) }
            throw UsageError(
                "no reference to compare with",
                remedy: "give --reference FILE, or record one with 'sana-tools capture'",
                page: .capture)
        }
        guard isolated != true || !forwards.isEmpty else {
            throw UsageError(
                "--isolated runs the layers of a forward, but there is only a trajectory",
                remedy: "leave it out, or also give a --reference")
        }
        let references =
            forwards.map { VerificationBatch.Reference($0) } + samplings.map { .trajectory($0) }
        let areForwards = references.allSatisfy { if case .forward = $0 { true } else { false } }
        guard pictures == nil || !areForwards else {
            throw UsageError(
                "--pictures needs samples, but there is no --trajectory and no recorded pipeline",
                remedy: "record one with 'sana-tools capture --trajectory' or --pipeline")
        }
        return references
    }

    private func options(
        _ project: ProjectFile?, _ calibrations: [Calibration]
    ) throws -> Verification.Options {
        var options = Verification.Options()
        options.tolerances = tolerances.make(project, isProject: isOwn(project))
        options.metric = metric
        if let metric, let other = calibrations.first,
            !calibrations.contains(where: { $0.metric == metric })
        {
            throw UsageError(
                "the tolerances file uses \(other.metric.rawValue), but --metric differs",
                remedy: "leave --metric out, or calibrate with it")
        }
        (options.numerics, options.compute) = (arithmetic.numerics, arithmetic.compute)
        (options.allowStale, options.isolated) = (allowStale, isolated)
        options.tile = tiles.tile
        return options
    }

    /// The weights that converted models are compared with: those of --source, else the project's.
    private func origin(_ project: ProjectFile?) throws -> SourceModel? {
        if let source {
            _ = try ModelPath.resolve(source)
            return SourceModel(path: source, isGiven: true) { try modelOptions.open(source) }
        }
        guard let model = project?.model else { return nil }
        return SourceModel(path: model, isGiven: false) { try modelOptions.open(model) }
    }

    /// The project's model, and the archives that 'convert' made from it.
    private func projectModels(_ project: ProjectFile?) throws -> [String] {
        guard let project, let model = project.model else { throw ProjectFile.noModel }
        let promised = project.promisedArchives
        return [model] + project.existingArchives.filter { !promised.contains($0) } + promised
    }

    private func show(_ outcome: VerificationBatch.Outcome) throws {
        if let junit { try outcome.junit.write(junit) }
        if let pictures { try draw(outcome, pictures) }
        if format == .junit { return try Console.data(outcome.junit.text) }
        guard !outcome.isEmpty else { return }
        guard let plain = OutputFormat(rawValue: format.rawValue) else {
            let report = outcome.github
            try Console.data(report.text)
            return try report.summary.append()
        }
        let detail = Verification.Detail(allLayers: !summary, isWide: wide)
        try plain.show(
            ResultDocument(.verify, outcome.json), text: outcome.text(detail),
            markdown: outcome.markdown(detail))
    }

    private func draw(_ outcome: VerificationBatch.Outcome, _ path: String) throws {
        guard let sheet = outcome.pictures else {
            Console.note(
                "sana-tools: no images written: nothing was sampled, or latents are not pixels")
            return
        }
        let file = try OutputFile(path, replaceExisting: true)
        try file.write(sheet.image.file())
        try file.commit()
        var absent: [String] = []
        for failure in outcome.failures where failure.isOfSampling {
            let model = failure.model.printable
            if !absent.contains(model) { absent.append(model) }
        }
        if !absent.isEmpty {
            Console.note(
                "sana-tools: \(path.printable) does not show models that could not be sampled: "
                    + absent.joined(separator: ", "))
        }
        let rows = sheet.captions.map(\.printable).joined(separator: ", ")
        Console.note("sana-tools: \(path.printable) shows, from the top: \(rows)")
    }

    /// Writes what the results needed, times the margin.
    private func calibrate(_ path: String, _ outcome: VerificationBatch.Outcome) throws {
        let results = outcome.results
        let problems = results.flatMap(\.problems)
        guard problems.isEmpty, results.allSatisfy({ $0.output != nil }),
            var calibration = Calibration(results, margin: tolerances.margin)
        else {
            var seen = Set<String>()
            let reasons = problems.map(\.message).filter { seen.insert($0).inserted }.prefix(5)
            Console.message(
                "sana-tools: error: no tolerances were written: "
                    + (reasons.isEmpty
                        ? "values are not finite" : reasons.joined(separator: "; ")))
            throw ExitCode.checkFailed
        }
        calibration.scales = outcome.scales
        try calibration.write(path, order: results.flatMap { $0.compared.map(\.path) })
        Console.note(
            "sana-tools: wrote tolerances of \(Format.counted(calibration.layers.count, "layer")) to \(path.printable)"
        )
    }
}

extension Metric: ExpressibleByArgument {}
