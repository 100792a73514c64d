import ArgumentParser
import SanaModel
import SanaQuant
import SanaWorkbench

/// What a gate compares with, and how much it bears.
struct GateArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Compare with this named baseline, in place of the last runs.", valueName: "name"))
    var baseline: String?

    @Option(help: "Compare with so many runs of the same series before it.")
    var last = 10

    @Option(help: "Slowdown of the forward that is a regression: 0.03 is 3 %.")
    var threshold = GateOptions().threshold

    @Option(
        help: ArgumentHelp(
            "Slowdown of one block that is a regression (default: 0.03; 0.025 in pairs and with --runs 3)."
        ))
    var layerThreshold: Double?

    @Option(help: "Judge so many runs of a series together, the newest: 3 see smaller slowdowns.")
    var runs = 1

    func validate() throws {
        if last < 1 { throw ValidationError("--last must be at least 1") }
        if !(1...100).contains(runs) { throw ValidationError("--runs must lie in 1...100") }
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

/// What failed before in the same night.
struct FailedStepOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Step of the night that failed before, such as 'convert (exit 73)': the whole counts as failed. Repeatable.",
            valueName: "text"))
    var failed: [String] = []
}

extension HistoryCommand {
    /// `sana-tools history gate`
    struct GateCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "gate",
            abstract: "Say whether runs got slower or less accurate.",
            discussion: """
                Judges the newest run of every series of the last day, or the runs named, by the last runs of the \
                same series or by a named baseline. Profiles of one architecture, stored types, machine, number of \
                threads, compute mode, clock and size are a series, and so are verifications of one model name \
                against one golden: new weights are compared with the old.

                A slow host is not a slow model: the CPU time of the forward is compared with that of the canary, \
                which runs between its blocks, and that of a layer with the rest of its forward. It is a regression \
                above the limit: the threshold, or three standard deviations of the difference between runs, \
                whichever is larger. Where the limit is above the threshold, or fewer than five runs tell how much \
                runs differ, what is not a regression is inconclusive. A slow drift is found by adding up the \
                distances of all runs from a reference that does not move: the ten runs from the newest pinned with \
                'history baseline set' on, or the first ten of the series. An error is a regression when it rises \
                beyond rounding.

                Verifications are judged by their own verdict first: one that failed, is stale or could not be read \
                fails the gate whatever else got faster or slower, and a model that is no longer verified makes it \
                inconclusive. Only runs that passed on a golden of their own weights are compared with.

                EXAMPLES
                  sana-tools history gate
                  sana-tools history gate 12 --baseline release --format markdown
                  sana-tools history gate --last 10 --threshold 0.05
                  sana-tools history gate --runs 3

                EXIT CODES
                  0 pass, 1 a verification failed or regress, 3 inconclusive, 66 no such run or baseline
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
            try outcome.throwVerdict()
        }
    }

    /// `sana-tools history report`
    struct Report: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "The history as one HTML page.",
            discussion: """
                Verdict first, then layers, history with its steps, roofline, sizes and errors. The page needs no \
                network and no JavaScript, has a light and a dark side and prints.

                EXAMPLES
                  sana-tools history report --output report.html
                  sana-tools history report --output report.html --baseline release --picture samples.png
                """)

        @Option(
            help: ArgumentHelp("File to write; an old one is replaced.", valueName: "html"),
            completion: .file())
        var output: String

        @Option(
            help: ArgumentHelp(
                "Picture to show, as 'verify --pictures' writes it.", valueName: "png"),
            completion: .file())
        var picture: String?

        @OptionGroup var arguments: GateArguments
        @OptionGroup var steps: FailedStepOptions
        @OptionGroup var database: DatabaseOption

        func run() throws {
            let store = try database.open()
            var outcome = try arguments.gate(store).outcome()
            outcome.failedSteps = steps.failed
            var page = ReportPage(store: store, outcome: outcome)
            page.picture = try picture.map(Self.png)
            let file = try OutputFile(output, replaceExisting: true)
            try file.write(Array(try page.html().utf8))
            try file.commit()
        }

        private static func png(_ path: String) throws -> [UInt8] {
            let content = try ByteView(mapping: path)
            let bytes = content.withUnsafeBytes { Array($0.prefix(16 << 20)) }
            guard bytes.starts(with: [0x89, 0x50, 0x4E, 0x47]), content.count == bytes.count else {
                throw BadDataError(
                    file: path, reason: "is no PNG of at most 16 MiB",
                    remedy: "give what 'sana-tools verify --pictures' wrote")
            }
            return bytes
        }
    }

    /// `sana-tools history compare`
    struct Compare: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Two runs of one kind, layer by layer.",
            discussion: """
                Shows every layer that both runs have, whatever their series: an int8 archive beside its source, \
                two machines, two versions. It judges nothing and ends with 0.

                EXAMPLES
                  sana-tools history compare 11 12
                  sana-tools history compare 11 12 --format json
                """)

        @Argument(help: ArgumentHelp("Number of the run to compare with.", valueName: "a"))
        var first: Int64

        @Argument(help: ArgumentHelp("Number of the run.", valueName: "b"))
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
            commandName: "baseline", abstract: "Name runs that others are compared with.",
            discussion: """
                EXAMPLES
                  sana-tools history baseline set release
                  sana-tools history gate --baseline release
                  sana-tools history baseline list
                """,
            subcommands: [Set.self, List.self, Remove.self], defaultSubcommand: List.self)

        /// `sana-tools history baseline set`
        struct Set: TalkingCommand {
            static let configuration = CommandConfiguration(
                abstract: "Make runs a baseline.",
                discussion: """
                    A baseline has one run of each series: a new one takes the place of the old.

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
            @OptionGroup var talk: TalkOptions

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
                abstract: "The baselines and their runs.",
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
                abstract: "Forget a baseline; its runs stay.",
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
