import GRDB
import SanaModel

extension HistoryStore {
    /// What a merge did.
    struct Merged: Sendable, Equatable {
        let added: Int
        /// Runs that were here before.
        let known: Int
    }

    /// Adds the runs of another history that this one lacks, all of them or none.
    ///
    /// A run is known by its UUID, so merging twice, or in any order, gives the same runs. An older
    /// schema is brought up to date in memory; the other file is only read.
    ///
    /// - Throws: the errors of opening a history.
    func merge(_ other: String) throws -> Merged {
        let source = try HistoryStore(path: other, creating: false)
        return try source.translatingErrors {
            try source.queue.read { theirs in
                try translatingErrors { try queue.write { try Self.merge(theirs, into: $0) } }
            }
        }
    }

    private static func merge(_ theirs: Database, into ours: Database) throws -> Merged {
        let known = Set(try String.fetchAll(ours, sql: "SELECT uuid FROM run"))
        var layers: [Int64: Int64] = [:]
        for layer in try LayerRow.fetchAll(theirs) {
            guard let id = layer.id else { continue }
            layers[id] = try find(
                LayerRow.filter(Column("path") == layer.path), orInsert: LayerRow(path: layer.path),
                ours)
        }
        let runs = try RunRow.order(Column("id")).fetchAll(theirs)
        var added = 0
        for run in runs where !known.contains(run.uuid) {
            try copy(run, from: theirs, into: ours, layers)
            added += 1
        }
        return Merged(added: added, known: runs.count - added)
    }

    private static func copy(
        _ run: RunRow, from theirs: Database, into ours: Database, _ layers: [Int64: Int64]
    ) throws {
        guard let id = run.id,
            let machine = try MachineRow.fetchOne(theirs, key: run.machineId),
            let model = try ModelRow.fetchOne(theirs, key: run.modelId)
        else { throw DatabaseError(message: "run \(run.uuid) has no machine or model") }
        var row = run
        row.id = nil
        row.machineId = try find(
            MachineRow.filter(Column("fingerprint") == machine.fingerprint),
            orInsert: machine.without(id: ()), ours)
        row.modelId = try find(
            ModelRow.filter(Column("digest") == model.digest && Column("dtype") == model.dtype),
            orInsert: model.without(id: ()), ours)
        try row.insert(ours)
        let newID = ours.lastInsertedRowID
        func layer(_ id: Int64) throws -> Int64 {
            guard let new = layers[id] else { throw DatabaseError(message: "no layer \(id)") }
            return new
        }
        let mine = Column("run_id") == id
        for var sample in try LatencySampleRow.filter(mine).fetchAll(theirs) {
            (sample.runId, sample.layerId) = (newID, try layer(sample.layerId))
            try sample.insert(ours)
        }
        for var accuracy in try AccuracyRow.filter(mine).fetchAll(theirs) {
            (accuracy.runId, accuracy.layerId) = (newID, try layer(accuracy.layerId))
            try accuracy.insert(ours)
        }
        for var repetition in try RepetitionRow.filter(mine).fetchAll(theirs) {
            repetition.runId = newID
            try repetition.insert(ours)
        }
        for var work in try LayerWorkRow.filter(mine).fetchAll(theirs) {
            (work.runId, work.layerId) = (newID, try layer(work.layerId))
            try work.insert(ours)
        }
        for var baseline in try BaselineRow.filter(mine).fetchAll(theirs) {
            baseline.runId = newID
            try baseline.insert(ours)
        }
    }
}

extension NumberedRow {
    /// The row as it is inserted elsewhere.
    fileprivate func without(id: Void) -> Self {
        var row = self
        row.id = nil
        return row
    }
}
