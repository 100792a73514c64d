import GRDB
import SanaModel

/// A run as lists show it: its row, and what other tables know of it.
struct RunSummary: FetchableRecord, Sendable {
    let run: RunRow
    let joined: Joined

    /// Columns of other tables.
    struct Joined: HistoryColumns {
        /// Number of the run.
        let id: Int64
        let dtype: String
        let digest: String
        /// Fingerprint of the machine.
        let machine: String
        /// Key of the runs that it may be compared with.
        let seriesId: Int64
        /// Errors of the output in a verification.
        let outputRelativeRms: Double?
        let outputRelativePower: Double?
        /// Median latency of the forward in a profile.
        let totalMedianNs: Double?
    }

    init(row: Row) throws {
        run = try RunRow(row: row)
        joined = try Joined(row: row)
    }

    /// Ends where conditions and the order go.
    static let sql = """
        SELECT run.*, model.dtype, model.digest, machine.fingerprint AS machine
        FROM run JOIN model ON model.id = run.model_id JOIN machine ON machine.id = run.machine_id
        """
}

/// Latency and error of one layer of a run, as in the view `layer_result`.
struct LayerResult: HistoryColumns {
    let path: String
    let samples: Int?
    let medianNs: Double?
    let relativeRms: Double?
    let relativePower: Double?
    let maxAbs: Double?
    let cosine: Double?
    let sqnrDb: Double?
    let ownRelativeRms: Double?
    let inheritedRelativeRms: Double?
    let tolerance: Double?
    let verdict: String?

    var quantities: [Double?] {
        [
            medianNs, relativeRms, relativePower, maxAbs, ownRelativeRms, inheritedRelativeRms,
            tolerance,
        ]
    }
}
