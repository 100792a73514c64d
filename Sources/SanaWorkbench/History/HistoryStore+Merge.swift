import GRDB
import SanaModel

extension HistoryStore {
    /// What a merge did.
    package struct Merged: Sendable, Equatable {
        package let added: Int
        /// Runs that were here before.
        package let known: Int
    }

    /// Adds the runs of another history that this one lacks, all of them or none.
    ///
    /// A run is known by its UUID, so merging twice, or in any order, gives the same runs. The
    /// other file is only read: its rows must pass the checks of our own tables first.
    ///
    /// - Throws: the errors of opening a history.
    package func merge(
        _ other: String, progress: (_ completed: Int, _ total: Int) -> Void = { _, _ in }
    ) throws -> Merged {
        // Read to the end before our database is locked.
        let source = try HistoryStore(copying: other)
        return try source.reading { theirs in
            try writing { ours in
                try HistoryMerge(source: source, theirs: theirs, ours: ours).run(progress)
            }
        }
    }
}

/// The copying of one history's runs into another, in a transaction of each.
private struct HistoryMerge {
    package let source: HistoryStore
    package let theirs: Database
    package let ours: Database

    package func run(_ progress: (Int, Int) -> Void) throws -> HistoryStore.Merged {
        let known = Set(try String.fetchAll(ours, sql: "SELECT uuid FROM run"))
        var layers: [Int64: Int64] = [:]
        for layer in try read({ try LayerRow.fetchAll(theirs) }) {
            guard let id = layer.id else { continue }
            layers[id] = try HistoryStore.find(
                LayerRow.filter(Column("path") == layer.path), orInsert: LayerRow(path: layer.path),
                ours)
        }
        let runs = try read { try RunRow.order(Column("id")).fetchAll(theirs) }
        var added = 0
        for (index, run) in runs.enumerated() where !known.contains(run.uuid) {
            progress(index, runs.count)
            do {
                try copy(run, layers)
            } catch let error as DatabaseError where error.resultCode == .SQLITE_CONSTRAINT {
                // What our schema does not take is theirs.
                throw HistoryError(error, source.path, isWriting: false)
            }
            added += 1
        }
        return HistoryStore.Merged(added: added, known: runs.count - added)
    }

    /// Reads from the other file; errors name that file.
    private func read<Value>(_ body: () throws -> Value) throws -> Value {
        try source.translatingErrors(body)
    }

    private func copy(_ run: RunRow, _ layers: [Int64: Int64]) throws {
        let (id, machine, model) = try read {
            guard let id = run.id,
                let machine = try MachineRow.fetchOne(theirs, key: run.machineId),
                let model = try ModelRow.fetchOne(theirs, key: run.modelId)
            else { throw DatabaseError(message: "run \(run.uuid) has no machine or model") }
            return (id, machine, model)
        }
        func layer(_ id: Int64) throws -> Int64 {
            try read {
                guard let new = layers[id] else { throw DatabaseError(message: "no layer \(id)") }
                return new
            }
        }
        let mine = Column("run_id") == id
        var row = run
        row.id = nil
        row.machineId = try HistoryStore.find(
            MachineRow.filter(Column("fingerprint") == machine.fingerprint),
            orInsert: machine.without(id: ()), ours)
        row.modelId = try HistoryStore.find(
            model.request, orInsert: model.without(id: ()), ours)
        row.errorSet = try AccuracyRow.set(
            read { try AccuracyRow.filter(Column("set_id") == run.errorSet).fetchAll(theirs) }.map {
                var row = $0
                row.layerId = try layer(row.layerId)
                return row
            }, ours)
        row.workSet = try LayerWorkRow.set(
            read { try LayerWorkRow.filter(Column("set_id") == run.workSet).fetchAll(theirs) }.map {
                var row = $0
                row.layerId = try layer(row.layerId)
                return row
            }, ours)
        let latencies = try read { try LatencyRow.filter(mine).fetchAll(theirs) }.map {
            try $0.check()
            var row = $0
            row.layerId = try layer(row.layerId)
            return row
        }
        let newID = try HistoryStore.insert(
            &row, model: model, machine: machine.fingerprint, latencies, ours)
        for var repetition in try read({ try RepetitionRow.filter(mine).fetchAll(theirs) }) {
            repetition.runId = newID
            try repetition.insert(ours)
        }
        for var baseline in try read({ try BaselineRow.filter(mine).fetchAll(theirs) }) {
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
