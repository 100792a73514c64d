import GRDB
import SanaModel

/// A run as lists show it: its row, and what other tables know of it.
package struct RunSummary: FetchableRecord, Sendable {
    package let run: RunRow
    package let joined: Joined

    /// Columns of other tables.
    package struct Joined: HistoryColumns {
        /// Number of the run.
        package let id: Int64
        package let dtype: String
        package let digest: String
        /// Fingerprint of the machine.
        package let machine: String
        /// Key of the runs that it may be compared with.
        package let seriesId: Int64
        /// Errors of the output in a verification.
        package let outputRelativeRms: Double?
        package let outputRelativePower: Double?
        /// Median latency of the forward in a profile.
        package let totalMedianNs: Double?
    }

    package init(row: Row) throws {
        run = try RunRow(row: row)
        joined = try Joined(row: row)
    }

    /// Ends where conditions and the order go.
    package static let sql = """
        SELECT run.*, model.dtype, model.digest, machine.fingerprint AS machine
        FROM run JOIN model ON model.id = run.model_id JOIN machine ON machine.id = run.machine_id
        """
}

/// Latency and error of one layer of a run, as in the view `layer_result`.
package struct LayerResult: HistoryColumns {
    package let path: String
    package let samples: Int?
    package let medianNs: Double?
    package let relativeRms: Double?
    package let relativePower: Double?
    package let maxAbs: Double?
    package let cosine: Double?
    package let sqnrDb: Double?
    package let ownRelativeRms: Double?
    package let inheritedRelativeRms: Double?
    package let tolerance: Double?
    package let verdict: String?

    package var quantities: [Double?] {
        [
            medianNs, relativeRms, relativePower, maxAbs, ownRelativeRms, inheritedRelativeRms,
            tolerance,
        ]
    }
}
