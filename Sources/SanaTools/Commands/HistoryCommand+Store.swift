import ArgumentParser
import Foundation
import SanaModel
import SanaQuant
import SanaWorkbench

extension HistoryCommand {
    /// `sana-tools history merge`
    struct Merge: QuietableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add the runs of other history databases.",
            discussion: """
                Runs are identified by UUID, so a merge can be repeated. The other files are only \
                read.

                EXAMPLES
                  sana-tools history merge node-1.sqlite node-2.sqlite --db fleet.sqlite
                """)

        @Argument(
            help: ArgumentHelp("History databases to read.", valueName: "sqlite"),
            completion: .file())
        var others: [String]

        @OptionGroup var database: DatabaseOption
        @OptionGroup var verbosity: VerbosityOptions

        func run() throws {
            for path in others where !path.pathExists { throw FileError(.open, path, code: ENOENT) }
            let store = try database.openOrCreate()
            for path in others {
                let progress = ProgressLine("merge \(path.lastPathComponent.printable)")
                defer { progress.finish() }
                let merged = try store.merge(path) { progress.update($0, of: $1) }
                progress.finish()
                Console.note(
                    "sana-tools: \(path.printable): \(Format.counted(merged.added, "run")) added, \(merged.known) already present"
                )
            }
        }
    }

    /// `sana-tools history prune`
    struct Prune: QuietableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove old runs.",
            discussion: """
                Keeps the newest runs of each series, and the runs of baselines.

                EXAMPLES
                  sana-tools history prune --keep 100
                """)

        @Option(help: "Number of runs to keep in each series.")
        var keep: Int

        @OptionGroup var database: DatabaseOption
        @OptionGroup var verbosity: VerbosityOptions

        func validate() throws {
            if keep < 1 { throw ValidationError("--keep must be at least 1") }
        }

        func run() throws {
            let count = try database.openForWriting().prune(keeping: keep)
            Console.note("sana-tools: \(Format.counted(count, "run")) removed")
        }
    }

    /// `sana-tools history export`
    struct Export: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Export every layer of every run as CSV or JSON lines.",
            discussion: """
                A row has the columns of the view layer_result. In CSV, text that begins with =, \
                +, - or @ is preceded by ', so that spreadsheets do not read it as a formula. JSON \
                has the text unchanged.

                EXAMPLES
                  sana-tools history export --as csv > history.csv
                  sana-tools history export --as jsonl --run 12
                """)

        enum Format: String, ExpressibleByArgument, CaseIterable { case csv, jsonl }

        @Option(
            name: .customLong("as"), help: "csv with a header, or jsonl with one object per line.")
        var format = Format.csv

        @Option(
            name: .customLong("run"),
            help: ArgumentHelp("Export only this run. Repeatable.", valueName: "run"))
        var runs: [Int64] = []

        @OptionGroup var database: DatabaseOption

        func run() throws {
            var isFirst = true
            try database.open().export(runs) { row in
                switch format {
                case .csv:
                    if isFirst { try Console.data(CSV.line(row.map(\.name))) }
                    try Console.data(CSV.line(row.map(\.value.csvField)))
                case .jsonl:
                    try Console.data(
                        JSONValue.object(row.map { .init($0.name, $0.value) }).text())
                }
                isFirst = false
            }
        }
    }
}

extension JSONValue {
    /// The value of a cell; empty for `null`.
    fileprivate var csvField: String {
        switch self {
        case .string(let text): CSV.field(text)
        case .null: ""
        default: text()
        }
    }
}
