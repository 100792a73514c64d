import ArgumentParser
import SanaModel

/// `sana-tools verify`
struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Run the whole forward on stored inputs and compare every captured layer.",
        discussion: """
            Without MODEL, sana-tools.yaml names the model and the references, and the archives that convert \
            made of it are verified too.

            The tolerance bounds the relative RMS error ‖a−r‖/‖r‖ for float weights and the relative error \
            power ‖a−r‖²/‖r‖² for int8 weights; --metric overrides.

            EXAMPLES
              sana-tools verify --tolerance 1e-3
              sana-tools verify path/to/repo --reference golden.safetensors --tolerance 2e-6
              sana-tools verify a.safetensors.zst b.safetensors.zst --reference goldens --format json
            """)

    @Argument(
        help: ArgumentHelp(
            "Repository, folder, .safetensors file or archive; several are verified in turn.",
            valueName: "model"), completion: .file())
    var models: [String] = []

    @Option(
        help: ArgumentHelp(
            "Golden file, or a folder of goldens. Repeatable.", valueName: "path"),
        completion: .file())
    var reference: [String] = []

    @Option(help: "Largest error that passes (default: sana-tools.yaml, else 1e-3).")
    var tolerance: Double?

    @Option(help: "relative_rms or relative_power (default: by the type of the weights).")
    var metric: Metric?

    @Option(
        help: "fp32, or fp16-clip for checkpoints that need attention outputs clipped to ±65504.")
    var numerics = Numerics.fp32

    @Flag(help: "Accept goldens that were recorded from other weights.")
    var allowStale = false

    @Flag(help: "Show failing layers, the worst and the output only.")
    var summary = false

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var history: HistoryOptions

    func validate() throws {
        if let tolerance, !(tolerance >= 0 && tolerance.isFinite) {
            throw ValidationError("--tolerance must be a non-negative number")
        }
    }

    func run() throws {
        let project = try ProjectFile.find()
        let models = try models.isEmpty ? projectModels(project) : models
        let references = try Reference.expand(
            reference.isEmpty && self.models.isEmpty ? project?.references ?? [] : reference)
        guard !references.isEmpty else {
            throw UsageError(
                "no reference to compare with",
                remedy: "give --reference FILE, or record one with 'sana-tools capture'")
        }
        var options = Verification.Options()
        options.tolerance = tolerance ?? project?.tolerance ?? options.tolerance
        (options.metric, options.numerics, options.allowStale) = (metric, numerics, allowStale)

        let workers = threads.makePool()
        let store = try history.open(project)
        let progress = ProgressLine("verify")
        defer { progress.finish() }
        var results: [Verification] = []
        // What cannot be read is told after the results of all that can.
        var failures: [any DiagnosticError] = []
        for (index, path) in models.enumerated() {
            do {
                let model = try modelOptions.open(path).load(workers: workers)
                for (number, reference) in references.enumerated() {
                    progress.update(
                        index * references.count + number, of: models.count * references.count)
                    do {
                        let golden = try Golden(path: reference)
                        let result = try Verification.run(model, golden, options, workers: workers)
                        try store?.record(.verification(result, model, golden.inputs, workers))
                        results.append(result)
                    } catch let error as any DiagnosticError { failures.append(error) }
                }
            } catch let error as any DiagnosticError { failures.append(error) }
        }
        progress.finish()
        if !results.isEmpty {
            try format.show(
                json: .oneOrMany(results.map(\.json)), text: text(results),
                markdown: results.map { $0.markdown(allLayers: !summary) }.joined(separator: "\n"))
        }
        if let last = failures.last {
            for failure in failures.dropLast() { Console.report(failure) }
            throw last
        }
        guard results.allSatisfy(\.passes) else { throw ExitCode.checkFailed }
    }

    /// The project's model, and what convert made of it.
    private func projectModels(_ project: ProjectFile?) throws -> [String] {
        guard let project, let model = project.model else { throw ProjectFile.noModel }
        return [model] + project.existingArchives
    }

    private func text(_ results: [Verification]) -> String {
        let failed = results.filter { !$0.passes }.count
        let verdict =
            failed == 0
            ? "PASS: \(results.count) of \(results.count) comparisons within tolerance"
            : "FAIL: \(failed) of \(results.count) comparisons out of tolerance"
        return (results.map { $0.text(allLayers: !summary) } + [verdict]).joined(separator: "\n")
    }
}

extension Metric: ExpressibleByArgument {}
