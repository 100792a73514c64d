import Foundation
import GRDB

/// A named baseline as lists show it.
package struct Baseline: HistoryColumns {
    package let name: String
    package let runId: Int64
    package let setAt: String
}

extension HistoryStore {
    /// All named baselines, by name and run.
    package func baselines() throws -> [Baseline] {
        try translatingErrors {
            try queue.read {
                try Baseline.fetchAll(
                    $0, sql: "SELECT name, run_id, set_at FROM baseline ORDER BY name, run_id")
            }
        }
    }

    /// The runs that have the name of a baseline, by number.
    ///
    /// - Throws: `HistoryError.noSuchBaseline`.
    package func runs(ofBaseline name: String) throws -> [RunSummary] {
        let runs = try summaries(
            "WHERE run.id IN (SELECT run_id FROM baseline WHERE name = ?) ORDER BY run.id", [name])
        guard !runs.isEmpty else { throw HistoryError.noSuchBaseline(path, name) }
        return runs
    }

    /// The newest run of the series of `run` that is in a baseline of any name; `nil` where none
    /// is.
    package func pinnedRun(like run: RunSummary) throws -> Int64? {
        try summaries(
            """
            WHERE run.series_id = ? AND run.id IN (SELECT run_id FROM baseline)
            ORDER BY run.started_at DESC, run.id DESC LIMIT 1
            """, [run.joined.seriesId]
        ).first?.joined.id
    }

    /// Makes runs a baseline, in place of those of the same series that had the name.
    ///
    /// - Throws: `HistoryError.noSuchRun`.
    package func setBaseline(_ name: String, to ids: [Int64], at date: Date = Date()) throws {
        try writing { db in
            for id in ids {
                let new = try RunSummary.fetchOne(
                    db, sql: RunSummary.sql + " WHERE run.id = ?", arguments: [id])
                guard let new else { throw HistoryError.noSuchRun(path, id) }
                let old = try RunSummary.fetchAll(
                    db,
                    sql: RunSummary.sql
                        + " WHERE run.id IN (SELECT run_id FROM baseline WHERE name = ?)",
                    arguments: [name])
                for run in old where run.joined.seriesId == new.joined.seriesId {
                    try BaselineRow
                        .filter(
                            Column("name") == name && Column("run_id") == run.joined.id
                        ).deleteAll(db)
                }
                var row = BaselineRow(
                    name: name, runId: id, setAt: date.formatted(.iso8601))
                try row.insert(db)
            }
        }
    }

    /// Forgets a baseline; its runs stay.
    ///
    /// - Throws: `HistoryError.noSuchBaseline`.
    package func removeBaseline(_ name: String) throws {
        try writing { db in
            let count = try BaselineRow.filter(Column("name") == name).deleteAll(db)
            if count == 0 { throw HistoryError.noSuchBaseline(path, name) }
        }
    }
}
