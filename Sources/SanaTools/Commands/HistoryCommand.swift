import ArgumentParser
import Foundation
import SanaModel
import SanaWorkbench

/// Where runs are recorded.
struct HistoryOptions: ParsableArguments {
    @OptionGroup var database: DatabaseOption

    @Flag(help: "Do not record this run.")
    var noRecord = false

    /// The store to record in; `nil` when the user wants none.
    func open(_ project: ProjectFile?) throws -> HistoryStore? {
        noRecord ? nil : try database.open(project, creating: true)
    }
}

/// Which database the history commands read.
struct DatabaseOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "History database (default: database in sana-tools.yaml, else \(HistoryStore.defaultPath) next to it).",
            valueName: "path"),
        completion: .file())
    var db: String?

    func path(_ project: ProjectFile?) -> String {
        db ?? project?.database ?? project?.defaultDatabase ?? HistoryStore.defaultPath
    }

    func open() throws -> HistoryStore { try open(ProjectFile.find(), creating: false) }

    func open(_ project: ProjectFile?, creating: Bool) throws -> HistoryStore {
        let own = db == nil && project?.database != nil ? project : nil
        return try own.blaming("database") {
            try HistoryStore(path: path(project), creating: creating)
        }
    }

    /// The database to change, which must be there.
    func openForWriting() throws -> HistoryStore {
        let project = try ProjectFile.find()
        let path = path(project)
        guard path.pathExists else { throw FileError(.open, path, code: ENOENT) }
        return try open(project, creating: true)
    }

    /// The database to add to; made where it is absent.
    func openOrCreate() throws -> HistoryStore {
        try open(ProjectFile.find(), creating: true)
    }
}

/// `sana-tools history`
struct HistoryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "history",
        abstract: "List, compare and report recorded runs.",
        discussion: """
            Every verify and profile run is recorded in one SQLite file, which sqlite3 can read \
            too. The view layer_result has the error and latency of each layer of each run.

            EXAMPLES
              sana-tools history list
              sana-tools history show 12 --format json
              sana-tools history gate --baseline release
              sana-tools history report --output report.html
              sqlite3 reports/sana-tools.sqlite 'SELECT * FROM layer_result LIMIT 5'
            """,
        subcommands: [
            List.self, Show.self, Compare.self, GateCommand.self, BaselineCommand.self, Merge.self,
            Export.self, Prune.self, Report.self,
        ], defaultSubcommand: List.self)

    /// `sana-tools history list`
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the newest runs.",
            discussion: """
                EXAMPLES
                  sana-tools history list --limit 5
                  sana-tools history list --db nightly.sqlite --format json
                """)

        @Option(help: "Number of runs to show.")
        var limit = 20

        @OptionGroup var database: DatabaseOption
        @OptionGroup var format: FormatOption

        func validate() throws {
            if limit < 1 { throw ValidationError("--limit must be at least 1") }
        }

        func run() throws {
            let runs = try database.open().runs(limit: limit)
            let table = RunSummary.table(runs)
            try format.show(
                ResultDocument(.historyList, runs.map(\.json)), text: table.text,
                markdown: table.markdown)
        }
    }

    /// `sana-tools history show`
    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one run, layer by layer.",
            discussion: """
                EXAMPLES
                  sana-tools history show
                  sana-tools history show 12 --format markdown
                """)

        @Argument(help: ArgumentHelp("Number of the run (default: the newest).", valueName: "run"))
        var number: Int64?

        @OptionGroup var database: DatabaseOption
        @OptionGroup var format: FormatOption

        func run() throws {
            let (run, layers) = try database.open().run(number)
            let table = LayerResult.table(layers)
            try format.show(
                ResultDocument(
                    .historyShow, run.json.setting("layers", to: .array(layers.map(\.json)))),
                text: run.text + "\n\n" + table.text,
                markdown: Markdown.paragraph(run.text) + "\n\n" + table.markdown)
        }
    }
}
