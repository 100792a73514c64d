import ArgumentParser
import SanaModel
import SanaWorkbench

/// `sana-tools profile --against`: two models, or two builds, interleaved.
struct AgainstArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Compare MODEL with this one, alternating their forwards in one process.",
            valueName: "model"), completion: .file())
    var against: String?

    @Option(
        help: ArgumentHelp(
            "Compare this build with another sana-tools program, alternating their processes; nothing is recorded.",
            valueName: "program"), completion: .file())
    var againstBuild: String?

    @Option(
        help:
            "Number of pairs: forwards with --against (default: 100), processes with --against-build (default: 20)."
    )
    var pairs: Int?

    var isPaired: Bool { against != nil || againstBuild != nil }

    func validate() throws {
        if pairs != nil, !isPaired {
            throw ValidationError("--pairs needs --against or --against-build")
        }
        if against != nil, againstBuild != nil {
            throw ValidationError("--against and --against-build cannot be used together")
        }
        if let pairs, !(1...2000).contains(pairs) {
            throw ValidationError("--pairs must be in 1...2000")
        }
    }
}

extension ProfileCommand {
    /// - Throws: the exit code of the verdict, unless it is a pass.
    func compare(
        _ path: String, on network: (any Network) -> any Network, _ project: ProjectFile?
    ) throws {
        let progress = ProgressLine("profile")
        defer { progress.finish() }
        let profile =
            if let build = pairing.againstBuild {
                try compare(path, withBuild: build, project, progress)
            } else {
                try compare(path, on: network, with: pairing.against ?? path, project, progress)
            }
        progress.finish()
        let report = PairedReport(profile)
        try format.show(
            ResultDocument(.profileAgainst, report.json), text: report.text,
            markdown: report.markdown, github: report.github)
        try report.result.verdict.throwUnlessPass()
    }

    private func options(pairs: Int) -> PairedProfile.Options {
        var options = PairedProfile.Options(
            warmup: max(1, warmup), pairs: pairing.pairs ?? pairs, numerics: arithmetic.numerics,
            compute: arithmetic.compute, threshold: gateArguments.threshold)
        if let threshold = gateArguments.layerThreshold { options.blockThreshold = threshold }
        return options
    }

    private func compare(
        _ path: String, on network: (any Network) -> any Network, with other: String,
        _ project: ProjectFile?, _ progress: ProgressLine
    ) throws -> PairedProfile {
        let (workers, store) = (threads.makePool(), try history.open(project))
        let opened = try modelOptions.open(path)
        let theirs = try modelOptions.open(other)
        var loaded = try entered(opened.load(workers: workers))
        loaded.network = network(loaded.network)
        let inputs = try inputs(loaded, project)
        let profile = try PairedProfile.run(
            loaded, against: entered(theirs.load(workers: workers)), inputs,
            options(pairs: 100),
            workers: workers, progress: { progress.update($0, of: $1) })
        if let store, let record = profile.record {
            try store.record(
                .profile(record, loaded, workers, against: profile.baseline))
        }
        return profile
    }

    private func compare(
        _ path: String, withBuild build: String, _ project: ProjectFile?, _ progress: ProgressLine
    ) throws -> PairedProfile {
        let model = try entered(modelOptions.open(path).load(workers: threads.makePool()))
        let sizes = RunSizes(model.network.sizes(of: try inputs(model, project)))
        var arguments = [path]
        func add(_ flag: String, _ value: String?) {
            if let value { arguments += ["--\(flag)", value] }
        }
        add("subfolder", modelOptions.subfolder)
        add("variant", modelOptions.variant)
        add("config", modelOptions.config)
        if let reference {
            add("reference", reference)
        } else {
            add("entry", entry)
            add("size", size.map { "\($0)" })
            add("latent", latent.map { "\($0.height)x\($0.width)" })
            add("batch", "\(sizes.batch)")
            add("tokens", tokens.map { "\($0)" })
        }
        add("tile", tiles.tile?.text)
        add("numerics", arithmetic.numerics.rawValue)
        add("compute", arithmetic.compute.oldName)
        add("threads", threads.threads.map { "\($0)" })
        add("kernels", threads.kernels)
        return try BuildComparison(other: build, arguments: arguments).run(
            options(pairs: 20), sizes: sizes, progress: { progress.update($0, of: $1) })
    }

    /// What makes no sense with --against or --against-build.
    func validateAgainst() throws {
        guard pairing.isPaired else { return }
        let option = pairing.against == nil ? "--against-build" : "--against"
        if gate { throw ValidationError("\(option) gives its own verdict: leave out --gate") }
        if repetitions != nil {
            throw ValidationError("\(option) takes --pairs instead of --repeat")
        }
        if trace != nil {
            throw ValidationError("--trace and \(option) cannot be used together")
        }
        if shard.shard != nil {
            throw ValidationError("\(option) takes one MODEL: leave out --shard")
        }
        if models.count > 1 { throw ValidationError("\(option) takes one MODEL") }
    }
}
