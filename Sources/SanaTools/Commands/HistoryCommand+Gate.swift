import ArgumentParser
import SanaModel
import SanaQuant
import SanaWorkbench

/// What a gate compares with, and its limits.
struct GateArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Named baseline to compare with, instead of the last runs.", valueName: "name"))
    var baseline: String?

    @Option(help: "Number of earlier runs of the same series to compare with.")
    var last = 10

    @Option(help: "Slowdown of the forward that counts as a regression: 0.03 is 3 %.")
    var threshold = GateOptions().threshold

    @Option(
        help: ArgumentHelp(
            "Slowdown of a block that counts as a regression (default: 0.03; 0.025 in pairs and with --runs 3)."
        ))
    var layerThreshold: Double?

    @Option(help: "Number of newest runs to judge together; 3 detect smaller slowdowns.")
    var runs = 1

    func validate() throws {
        if last < 1 { throw ValidationError("--last must be at least 1") }
        if !(1...100).contains(runs) { throw ValidationError("--runs must be in 1...100") }
        for (name, value) in [
            ("--threshold", threshold), ("--layer-threshold", layerThreshold ?? threshold),
        ] where !(value > 0 && value < 10) {
            throw ValidationError("\(name) must be a number above 0 and below 10: 0.02 is 2 %")
        }
    }

    func gate(_ store: HistoryStore) -> Gate {
        var gate = Gate(store: store, baseline: baseline.map { .named($0) } ?? .last(last))
        gate.candidates = runs
        gate.options = options
        return gate
    }

    var options: GateOptions {
        GateOptions(threshold: threshold, layerThreshold: layerThreshold)
    }
}

/// Earlier steps of the night that failed.
struct FailedStepOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Earlier step of the night that failed, such as 'convert (exit 73)'; makes the verdict a failure. Repeatable.",
            valueName: "text"))
    var failed: [String] = []
}

extension HistoryCommand {
    /// `sana-tools history gate`
    struct GateCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "gate",
            abstract: "Check whether runs got slower or less accurate.",
            discussion: """
                Compares the newest run of every series of the last day, or the given runs, with \
                the previous runs of the same series or with a named baseline. Profiles with the \
                same architecture, stored types, machine, number of threads, compute mode, clock \
                and size are a series; so are verifications of one model name against one golden. \
                New weights are compared with the old ones.

                A slow host is not a slow model: the CPU time of the forward is compared with that \
                of the canary, which runs between its blocks, and the CPU time of a layer with \
                that of the rest of its forward. A slowdown above the limit is a regression. The \
                limit is the threshold or three standard deviations of the difference between \
                runs, whichever is larger. If the limit is above the threshold, or if there are \
                fewer than five runs to estimate how much runs vary, anything that is not a \
                regression is inconclusive. Slow drift is detected by adding up the distances of \
                all runs from a fixed reference: the ten runs from the newest one pinned with \
                'history baseline set' on, or the first ten of the series. An error regresses if \
                it rises beyond rounding.

                Verifications are judged by their own verdict first. One that failed, is stale or \
                could not be read fails the gate, whatever else got faster or slower. A model that \
                used to be verified and no longer is makes the gate inconclusive. Runs are compared only with runs \
                that passed on a golden of their own weights.

                EXAMPLES
                  sana-tools history gate
                  sana-tools history gate 12 --baseline release --format markdown
                  sana-tools history gate --last 10 --threshold 0.05
                  sana-tools history gate --runs 3

                EXIT CODES
                  0   pass
                  1   regress, or a verification failed
                  3   inconclusive
                  66  no such run or baseline
                """)

        @Argument(help: ArgumentHelp("Numbers of runs to judge.", valueName: "run"))
        var runs: [Int64] = []

        @OptionGroup var arguments: GateArguments
        @OptionGroup var steps: FailedStepOptions
        @OptionGroup var database: DatabaseOption
        @OptionGroup var format: CheckFormatOption

        func run() throws {
            var outcome = try arguments.gate(database.open()).outcome(runs)
            outcome.failedSteps = steps.failed
            try format.show(
                ResultDocument(.historyGate, outcome.json), text: outcome.text,
                markdown: outcome.markdown, github: outcome.github)
            try outcome.verdict.throwUnlessPass()
        }
    }

    /// `sana-tools history report`
    struct Report: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write the history as one HTML page.",
            discussion: """
                Shows the verdict first, then layers, history with its steps, roofline, sizes and \
                errors. The page needs no network and no JavaScript, has a light and a dark theme, \
                and can be printed.

                EXAMPLES
                  sana-tools history report --output report.html
                  sana-tools history report --output report.html --baseline release \\
                    --picture samples.png
                """)

        @Option(
            help: ArgumentHelp("File to write; an existing one is replaced.", valueName: "html"),
            completion: .file())
        var output: String

        @Option(
            help: ArgumentHelp(
                "Image to include, as written by 'verify --pictures' or 'sample'; repeatable.",
                valueName: "png"), completion: .file())
        var picture: [String] = []

        @OptionGroup var arguments: GateArguments
        @OptionGroup var steps: FailedStepOptions
        @OptionGroup var database: DatabaseOption

        func run() throws {
            let store = try database.open()
            var outcome = try arguments.gate(store).outcome()
            outcome.failedSteps = steps.failed
            var page = ReportPage(store: store, outcome: outcome)
            page.pictures = try picture.map(Self.png)
            let file = try OutputFile(output, replaceExisting: true)
            try file.write(Array(try page.html().utf8))
            try file.commit()
        }

        private static func png(_ path: String) throws -> [UInt8] {
            let content = try ByteView(mapping: path)
            let bytes = content.withUnsafeBytes { Array($0.prefix(16 << 20)) }
            guard bytes.starts(with: [0x89, 0x50, 0x4E, 0x47]), content.count == bytes.count else {
                throw BadDataError(
                    file: path, reason: "not a PNG of at most 16 MiB",
                    remedy: "give a file that 'verify --pictures' or 'sample' wrote")
            }
            return bytes
        }
    }

    /// `sana-tools history compare`
    struct Compare: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Compare two runs of the same kind, layer by layer.",
            discussion: """
                Shows every layer that both runs have, whatever their series: an int8 archive and \
                its source, two machines, two versions. Gives no verdict and exits with 0.

                EXAMPLES
                  sana-tools history compare 11 12
                  sana-tools history compare 11 12 --format json
                """)

        @Argument(help: ArgumentHelp("Number of the reference run.", valueName: "a"))
        var first: Int64

        @Argument(help: ArgumentHelp("Number of the run to compare.", valueName: "b"))
        var second: Int64

        @OptionGroup var database: DatabaseOption
        @OptionGroup var format: FormatOption

        func run() throws {
            let store = try database.open()
            let isProfile = try [first, second].map {
                try store.run($0).0.run.kind == RunRecord.Kind.profile.rawValue
            }
            guard isProfile[0] == isProfile[1] else {
                throw UsageError(
                    "one run is a profile, the other a verification",
                    remedy: "'sana-tools history list' shows the kind of each")
            }
            let gate = Gate(store: store, baseline: .runs([first]))
            guard let result = try gate.judge([second]).first else { return }
            let table =
                result.latency.map { LatencyGate.table($0.findings) }
                ?? AccuracyGate.table(result.accuracy)
            try format.show(
                ResultDocument(.historyCompare, result.json), text: table.text,
                markdown: table.markdown)
        }
    }

    /// `sana-tools history baseline`
    struct BaselineCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "baseline",
            abstract: "Manage the named runs that others are compared with.",
            discussion: """
                EXAMPLES
                  sana-tools history baseline set release
                  sana-tools history gate --baseline release
                  sana-tools history baseline list
                """,
            subcommands: [Set.self, List.self, Remove.self], defaultSubcommand: List.self)

        /// `sana-tools history baseline set`
        struct Set: QuietableCommand {
            static let configuration = CommandConfiguration(
                abstract: "Set a baseline.",
                discussion: """
                    A baseline has one run of each series. Setting a new run replaces the old one.

                    EXAMPLES
                      sana-tools history baseline set release
                      sana-tools history baseline set release 11 12
                    """)

            @Argument(help: "Name of the baseline.")
            var name: String

            @Argument(
                help: ArgumentHelp(
                    "Numbers of runs (default: the newest of each series).", valueName: "run"))
            var runs: [Int64] = []

            @OptionGroup var database: DatabaseOption
            @OptionGroup var verbosity: VerbosityOptions

            func validate() throws {
                if name.isEmpty { throw ValidationError("a baseline needs a name") }
            }

            func run() throws {
                let store = try database.openForWriting()
                let ids = try runs.isEmpty ? store.newestOfEachSeries().map(\.joined.id) : runs
                try store.setBaseline(name, to: ids)
                Console.note(
                    "sana-tools: baseline '\(name.printable)': runs \(ids.map(String.init).joined(separator: ", "))"
                )
            }
        }

        /// `sana-tools history baseline list`
        struct List: ParsableCommand {
            static let configuration = CommandConfiguration(
                abstract: "List the baselines and their runs.",
                discussion: """
                    EXAMPLES
                      sana-tools history baseline list
                    """)

            @OptionGroup var database: DatabaseOption
            @OptionGroup var format: FormatOption

            func run() throws {
                let baselines = try database.open().baselines()
                var table = TextTable([("name", .left), ("run", .right), ("set", .left)])
                for item in baselines {
                    table.append([item.name.printable, "\(item.runId)", item.setAt.printable])
                }
                let json = baselines.map {
                    JSONValue.fields([
                        "name": .string($0.name), "run": .int(Int($0.runId)),
                        "set_at": .string($0.setAt),
                    ])
                }
                try format.show(
                    ResultDocument(.baselineList, json), text: table.text, markdown: table.markdown)
            }
        }

        /// `sana-tools history baseline remove`
        struct Remove: ParsableCommand {
            static let configuration = CommandConfiguration(
                abstract: "Remove a baseline; its runs are kept.",
                discussion: """
                    EXAMPLES
                      sana-tools history baseline remove release
                    """)

            @Argument(help: "Name of the baseline.")
            var name: String

            @OptionGroup var database: DatabaseOption

            func run() throws { try database.openForWriting().removeBaseline(name) }
        }
    }
}
