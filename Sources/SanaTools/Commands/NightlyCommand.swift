import ArgumentParser
import SanaModel
import SanaWorkbench

/// `sana-tools nightly`
struct NightlyCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nightly",
        abstract: "Inspect, convert, verify, profile, gate and report, with one verdict.",
        discussion: """
            Runs everything that a nightly job needs, as configured in sana-tools.yaml: inspects \
            the model, converts it to each dtype:, verifies the model and its archives, profiles \
            the model, compares the recorded runs with earlier ones, and writes an HTML report. \
            Each step runs in its own process and writes a log; later steps run even if an earlier \
            one failed.

            The exit code is that of the first step that failed, or 3 if a step was inconclusive \
            or had nothing to do.

            EXAMPLES
              sana-tools nightly
              sana-tools nightly --baseline release --format markdown
              sana-tools nightly --repeat 20 --output nights/today

            EXIT CODES
              0         every step passed
              1         a check failed
              3         inconclusive
              64 to 74  a step could not be run
            """)

    @Option(
        help: ArgumentHelp(
            "Directory for logs, report.html, verify.xml and samples.png (default: reports, next to sana-tools.yaml).",
            valueName: "directory"), completion: .directory)
    var output: String?

    @Option(
        name: .customLong("repeat"),
        help: "Number of repetitions (default: as many as the gate needs, see --budget).")
    var repetitions: Int?

    @Option(help: "Maximum seconds of timed runs if --repeat is not given.")
    var budget: Double?

    @Option(help: "Named baseline to compare with, instead of the last runs.")
    var baseline: String?

    @OptionGroup var database: DatabaseOption
    @OptionGroup var format: CheckFormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var verbosity: VerbosityOptions

    func run() throws {
        guard let project = try ProjectFile.find(), let model = project.model else {
            throw ProjectFile.noModel
        }
        var night = Night(
            project: project, folder: output ?? project.resolved("reports"),
            threads: Self.option("--threads", threads.threads.map(String.init))
                + Self.option("--kernels", threads.kernels),
            database: ["--db", database.path(project)],
            profile: Self.option("--repeat", repetitions.map(String.init))
                + Self.option("--budget", budget.map { "\($0)" }),
            gate: Self.option("--baseline", baseline))
        night.begins = { name in
            if Console.stderrIsTerminal { Console.note("sana-tools: \(name)") }
        }
        let outcome = try night.run(model: model)
        try format.show(
            ResultDocument(.nightly, outcome.json), text: outcome.text,
            markdown: outcome.markdown, github: outcome.github)
        if outcome.exitCode != 0 { throw ExitCode(outcome.exitCode) }
    }

    private static func option(_ name: String, _ value: String?) -> [String] {
        value.map { ["\(name)=\($0)"] } ?? []
    }
}
