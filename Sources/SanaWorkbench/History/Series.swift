import GRDB
import SanaModel

/// Runs that may be compared with each other, a row of the table `series`.
///
/// Latency depends on the architecture, the stored types, the machine and how time is measured, but
/// not on the values of weights. Accuracy depends on the model, which its name tells, and the
/// golden, but not on the machine; weights made anew are compared with those before.
package struct Series: HistoryRow, Hashable {
    package static let databaseTableName = "series"

    /// The clock that counts all threads of the process, of old versions: it knows a thread that
    /// runs to a tick of the system only.
    package static let processClock = "process"

    /// See `OpenedModel.architecture`; the digest of the weights in runs of old versions.
    package var architecture: String
    package let kind: String
    /// Of verifications, see `modelName(_:)`.
    package let model: String
    /// All stored types of a profile, the one that holds most bytes first. Rules of a conversion
    /// may change them in a verification, where `I8` stands for all that have int8 weights.
    package let dtype: String
    /// File name of a verification's golden.
    package let reference: String
    /// Fingerprint of a profile's machine.
    package let machine: String
    /// Of a profile.
    package let threads: Int
    package let compute: String
    package let numerics: String
    /// Of a profile.
    package let clock: String
    package let sizes: RunSizes

    package init(
        kind: String, architecture: String, modelPath: String, dtype: String, reference: String?,
        machine: String, threads: Int, compute: String, numerics: String, clock: String,
        sizes: RunSizes
    ) {
        let isProfile = kind == RunRecord.Kind.profile.rawValue
        (self.kind, self.architecture) = (kind, architecture)
        model = isProfile ? "" : Self.modelName(modelPath)
        let isInt8 = dtype.split(separator: "+").contains("I8")
        self.dtype = !isProfile && isInt8 ? "I8" : dtype
        self.reference = reference?.lastPathComponent ?? ""
        self.machine = isProfile ? machine : ""
        self.threads = isProfile ? threads : 0
        (self.compute, self.numerics) = (compute, numerics)
        self.clock = isProfile ? clock : ""
        self.sizes = sizes
    }

    package init(_ run: RunRow, model: ModelRow, machine: String) {
        self.init(
            kind: run.kind, architecture: run.architecture ?? model.digest,
            modelPath: run.modelPath, dtype: model.dtype, reference: run.reference,
            machine: machine, threads: run.threads, compute: run.compute, numerics: run.numerics,
            // Times are compared with the canary's, so another canary is another clock.
            clock: run.clock + (run.canary.map { " " + $0 } ?? ""),
            sizes: run.sizes)
    }

    /// What a model is called whatever its revision: `org/name` in the Hugging Face cache, else the
    /// last part of its path that is not a name diffusers gives to every model's.
    package static func modelName(_ path: String) -> String {
        let parts = path.split(separator: "/").map(String.init)
        if let place = parts.lastIndex(of: "snapshots"), place > 0,
            parts[place - 1].hasPrefix("models--")
        {
            return String(parts[place - 1].dropFirst("models--".count)).replacing("--", with: "/")
        }
        let common = { (part: String) in
            commonFolders.contains(part) || part.hasPrefix(WeightFiles.stem)
                || part.hasPrefix(WeightFiles.transformersStem + ".safetensors")
        }
        return parts.last { !common($0) } ?? path
    }

    /// Folders that every repository has.
    private static let commonFolders = Set(
        PipelineComponent.allCases.filter(\.isNetwork).map(\.rawValue) + ["."])

    /// The key of its row, which is made where it is absent.
    package func findOrInsert(_ db: Database) throws -> Int64 {
        try Self.findOrInsert(databaseDictionary, db)
    }

    /// The same for the columns of whichever version the table is of.
    package static func findOrInsert(
        _ row: [String: DatabaseValue], _ db: Database
    ) throws -> Int64 {
        let values = row.sorted { $0.key < $1.key }
        let names = values.map(\.key)
        let arguments = StatementArguments(values.map(\.value))
        let condition = names.map { "\($0) = ?" }.joined(separator: " AND ")
        if let id = try Int64.fetchOne(
            db, sql: "SELECT id FROM series WHERE \(condition)", arguments: arguments)
        {
            return id
        }
        try db.execute(
            sql: """
                INSERT INTO series (\(names.joined(separator: ", ")))
                VALUES (\(names.map { _ in "?" }.joined(separator: ", ")))
                """, arguments: arguments)
        return db.lastInsertedRowID
    }

    /// Moves runs of old versions, in whose series the digest of the weights stands for the
    /// architecture, to the series of that architecture.
    package static func adopt(digest: String, architecture: String, _ db: Database) throws {
        guard digest != architecture else { return }
        let old = try Row.fetchAll(
            db, sql: "SELECT * FROM series WHERE architecture = ?", arguments: [digest])
        for row in old {
            let id: Int64 = row["id"]
            var series = try Series(row: row)
            series.architecture = architecture
            try db.execute(
                sql: "UPDATE run SET series_id = ?, architecture = ? WHERE series_id = ?",
                arguments: [try series.findOrInsert(db), architecture, id])
            try db.execute(sql: "DELETE FROM series WHERE id = ?", arguments: [id])
        }
    }
}
