import ArgumentParser
import SanaModel

/// `sana-tools profile --against`: two models in turns.
struct AgainstArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Judge MODEL by this one, forwards of both taking turns; nothing is recorded.",
            valueName: "model"), completion: .file())
    var against: String?

    @Option(help: "Pairs of forwards with --against (default: 100).")
    var pairs: Int?

    func validate() throws {
        if pairs != nil, against == nil { throw ValidationError("--pairs needs --against") }
        if let pairs, !(1...2000).contains(pairs) {
            throw ValidationError("--pairs must lie in 1...2000")
        }
    }
}

extension ProfileCommand {
    /// - Throws: the exit code of the verdict, unless it is a pass.
    func compare(
        _ path: String, against other: String, _ project: ProjectFile?, _ workers: WorkerPool
    ) throws {
        let opened = try modelOptions.open(path)
        let theirs = try modelOptions.open(other)
        let inputs = try inputs(opened, project)
        var options = PairedProfile.Options(
            warmup: max(1, warmup), numerics: numerics, compute: compute,
            threshold: gateArguments.threshold)
        if let pairs = pairing.pairs { options.pairs = pairs }
        if let threshold = gateArguments.layerThreshold { options.blockThreshold = threshold }
        let progress = ProgressLine("profile")
        let profile = try PairedProfile.run(
            opened.load(workers: workers), against: theirs.load(workers: workers), inputs, options,
            workers: workers, progress: { progress.update($0, of: $1) })
        progress.finish()
        let report = PairedReport(profile)
        try format.show(json: report.json, text: report.text, markdown: report.markdown)
        switch report.result.verdict {
        case .pass: break
        case .inconclusive: throw ExitCode.inconclusive
        case .fail: throw ExitCode.checkFailed
        }
    }

    /// What makes no sense beside --against.
    func validateAgainst() throws {
        guard pairing.against != nil else { return }
        if gate { throw ValidationError("--against judges by itself: leave out --gate") }
        if trace != nil { throw ValidationError("--trace and --against exclude each other") }
        if shard.shard != nil { throw ValidationError("--against takes one MODEL: no --shard") }
        if models.count > 1 { throw ValidationError("--against takes one MODEL") }
    }
}
