import GRDB

extension HistoryStore {
    /// Removes all but the newest `keep` runs of each series, and gives the room back. Runs of a
    /// baseline stay.
    ///
    /// - Returns: the number of runs that went.
    package func prune(keeping keep: Int) throws -> Int {
        let count = try writing { db in
            try db.execute(
                sql: """
                    DELETE FROM run WHERE id IN (
                        SELECT id FROM (
                            SELECT id, ROW_NUMBER() OVER (
                                PARTITION BY series_id ORDER BY started_at DESC, id DESC) AS place
                            FROM run)
                        WHERE place > ?)
                    AND id NOT IN (SELECT run_id FROM baseline)
                    """, arguments: [keep])
            let count = db.changesCount
            try LayerSet.removeUnused(db)
            return count
        }
        if count > 0 {
            try translatingErrors { try queue.writeWithoutTransaction(HistoryFile.vacuum) }
        }
        return count
    }
}
