import ArgumentParser
import Foundation
import SanaModel
import SanaQuant
import SanaWorkbench

extension HistoryCommand {
    /// `sana-tools history merge`
    struct Merge: TalkingCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add the runs of other histories.",
            discussion: """
                A run is known by its UUID, so merging twice adds nothing twice. The other files are only read.

                EXAMPLES
                  sana-tools history merge node-1.sqlite node-2.sqlite --db fleet.sqlite
                """)

        @Argument(
            help: ArgumentHelp("Histories to read.", valueName: "sqlite"), completion: .file())
        var others: [String]

        @OptionGroup var database: DatabaseOption
        @OptionGroup var talk: TalkOptions

        func run() throws {
            for path in others where !path.pathExists { throw FileError(.open, path, code: ENOENT) }
            let store = try database.openOrCreate()
            for path in others {
                let progress = ProgressLine("merge \(path.lastPathComponent.printable)")
                defer { progress.finish() }
                let merged = try store.merge(path) { progress.update($0, of: $1) }
                progress.finish()
                Console.note(
                    "sana-tools: \(path.printable): \(Format.counted(merged.added, "run")) added, \(merged.known) known before"
                )
            }
        }
    }

    /// `sana-tools history prune`
    struct Prune: TalkingCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove old runs.",
            discussion: """
                Keeps the newest runs of each series, and those of baselines.

                EXAMPLES
                  sana-tools history prune --keep 100
                """)

        @Option(help: "Runs of each series to keep.")
        var keep: Int

        @OptionGroup var database: DatabaseOption
        @OptionGroup var talk: TalkOptions

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
            abstract: "Every layer of every run, for other programs.",
            discussion: """
                A row has what the view layer_result has. In CSV a text that begins with = + - @ is preceded by ', \
                so that no spreadsheet takes it for a formula; JSON has it as it is.

                EXAMPLES
                  sana-tools history export --as csv > history.csv
                  sana-tools history export --as jsonl --run 12
                """)

        enum Format: String, ExpressibleByArgument, CaseIterable { case csv, jsonl }

        @Option(name: .customLong("as"), help: "csv with a header, or a JSON object a line.")
        var format = Format.csv

        @Option(
            name: .customLong("run"),
            help: ArgumentHelp("Only this run. Repeatable.", valueName: "run"))
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
