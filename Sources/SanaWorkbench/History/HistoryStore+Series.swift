import Foundation
import GRDB
import SanaModel

extension HistoryStore {
    /// Every run, oldest first. Nothing that a user waits for may need all of them.
    package func allRuns() throws -> [RunSummary] {
        try summaries("ORDER BY run.started_at, run.id")
    }

    /// Number of runs.
    package func runCount() throws -> Int {
        try reading { try Int.fetchOne($0, sql: "SELECT COUNT(*) FROM run") ?? 0 }
    }

    /// A run without its layers.
    ///
    /// - Throws: `HistoryError.noSuchRun`.
    package func summary(_ id: Int64) throws -> RunSummary {
        guard let run = try summaries("WHERE run.id = ?", [id]).first else {
            throw HistoryError.noSuchRun(path, id)
        }
        return run
    }

    /// The newest run of each series, oldest first.
    package func newestOfEachSeries() throws -> [RunSummary] {
        try summaries(
            """
            WHERE run.id IN (
                SELECT (SELECT id FROM run WHERE series_id = series.id
                    ORDER BY started_at DESC, id DESC LIMIT 1) FROM series)
            ORDER BY run.started_at, run.id
            """)
    }

    /// The newest run of each series that has one in the last day of the history, by number.
    package func newestOfTheLastDay() throws -> [RunSummary] {
        let last = try reading {
            try String.fetchOne($0, sql: "SELECT MAX(started_at) FROM run")
        }
        guard let last else { return [] }
        let day = try? Date(last, strategy: .iso8601).addingTimeInterval(-86400)
        let runs = try summaries(
            "WHERE run.started_at >= ? ORDER BY run.started_at, run.id",
            [day?.formatted(.iso8601) ?? last])
        // What one machine finds does not excuse what another found.
        return Dictionary(runs.map { ([$0.joined.seriesId, $0.run.machineId], $0) }) { _, newer in
            newer
        }.values.sorted { $0.joined.id < $1.joined.id }
    }

    /// The last runs of a series, oldest first.
    ///
    /// - Parameters:
    ///   - before: only those older than this run.
    ///   - areSound: only those that `RunRow.isSound`.
    package func runs(
        ofSeries series: Int64, before run: RunSummary? = nil, areSound: Bool = false, limit: Int
    ) throws -> [RunSummary] {
        var conditions = ["run.series_id = ?"]
        var arguments: StatementArguments = [series]
        if let run {
            conditions.append("(run.started_at, run.id) < (?, ?)")
            arguments += [run.run.startedAt, run.joined.id]
        }
        if areSound { conditions.append(RunRow.isSoundSQL) }
        arguments += [limit]
        return try summaries(
            """
            WHERE \(conditions.joined(separator: " AND "))
            ORDER BY run.started_at DESC, run.id DESC LIMIT ?
            """, arguments
        ).reversed()
    }

    /// Runs that `clauses` choose, from `WHERE` on.
    func summaries(
        _ clauses: String, _ arguments: StatementArguments = []
    ) throws -> [RunSummary] {
        try reading {
            try RunSummary.fetchAll($0, sql: RunSummary.sql + " " + clauses, arguments: arguments)
        }
    }

    /// The latency samples of a run.
    package func gateSamples(_ run: RunSummary) throws -> GateSamples {
        try samples(run)
    }

    /// Those of its forward alone.
    package func forwardSamples(_ run: RunSummary) throws -> GateSamples {
        try samples(run, where: "AND path = '\(Profile.totalPath)'")
    }

    private func samples(_ run: RunSummary, where clause: String = "") throws -> GateSamples {
        try reading { db in
            let layers = try SampleRow.fetchAll(
                db,
                sql: """
                    SELECT layer.path, samples, wall, cpu FROM latency
                    JOIN layer ON layer.id = layer_id WHERE run_id = ? \(clause) ORDER BY layer_id
                    """, arguments: [run.joined.id])
            let host =
                try RepetitionRow
                .filter(Column("run_id") == run.joined.id).order(Column("repetition"))
                .fetchAll(db)
            return try GateSamples(
                layers, host,
                clock: run.run.clock == Series.processClock ? nil : run.run.clock)
        }
    }

    /// The forwards of a series against the canary, oldest first, up to `run`.
    package func nights(through run: RunSummary) throws -> [DriftGate.Night] {
        let rows = try reading {
            try Row.fetchAll(
                $0,
                sql: """
                    SELECT run_id, model_cpu_ns, canary_cpu_ns, core_distance_ns FROM repetition
                    JOIN run ON run.id = run_id
                    WHERE series_id = ? AND (started_at, run.id) <= (?, ?)
                        AND model_cpu_ns > 0 AND canary_cpu_ns > 0
                    ORDER BY started_at, run.id, repetition
                    """, arguments: [run.joined.seriesId, run.run.startedAt, run.joined.id])
        }
        let distances = CoreDistances(rows.compactMap { $0[3] as Double? })
        var nights: [(run: Int64, times: [Double], rates: [Double])] = []
        for row in rows where !distances.isUnusual(row[3]) {
            let (id, model, canary): (Int64, Double, Double) = (row[0], row[1], row[2])
            if nights.last?.run != id { nights.append((id, [], [])) }
            nights[nights.count - 1].times.append(log(model))
            nights[nights.count - 1].rates.append(-log(canary))
        }
        let sensitivity = HostSensitivity(nights.map { ($0.times.median, $0.rates.median) })
            .exponent
        return nights.map { night in
            let ratios = zip(night.times, night.rates).map { $0 + sensitivity * $1 }
            return .init(run: night.run, logarithm: ratios.median)
        }
    }

    /// The arithmetic of the layers of a profile, by path.
    package func work(of run: RunSummary) throws -> [String: LayerWorkRow] {
        try reading { db in
            let rows = try Row.fetchAll(
                db,
                sql: """
                    SELECT path, layer_work.* FROM layer_work JOIN layer ON layer.id = layer_id
                    WHERE set_id = ?
                    """, arguments: [run.run.workSet])
            let named = try rows.map { ($0["path"] as String, try LayerWorkRow(row: $0)) }
            return Dictionary(named) { first, _ in first }
        }
    }

    /// The best peaks that the last profiles of the series of `run` saw: those of one run may have
    /// been measured beside other processes. `nil` where none has any.
    package func roof(like run: RunSummary) throws -> Chart.Roof? {
        let runs = try runs(ofSeries: run.joined.seriesId, limit: 200).map(\.run)
        guard let peak = runs.compactMap(\.peakGflops).max(),
            let bandwidth = runs.compactMap(\.readBandwidth).max()
        else { return nil }
        return Chart.Roof(peak: peak, bandwidth: bandwidth)
    }

    /// The machine that a run took place on.
    package func machine(of run: RunSummary) throws -> MachineRow? {
        try reading { try MachineRow.fetchOne($0, key: run.run.machineId) }
    }
}

/// The samples of one layer.
private struct SampleRow: HistoryColumns {
    package let path: String
    package let samples: Int
    package let wall: Data
    package let cpu: Data?
}

extension GateSamples {
    fileprivate init(
        _ rows: [SampleRow], _ host: [RepetitionRow], clock: String?
    ) throws {
        let layers = try rows.map(Layer.init)
        self.init(
            total: layers.first { $0.path == Profile.totalPath } ?? Layer(path: Profile.totalPath),
            layers: layers.filter { $0.path != Profile.totalPath },
            host: host.map {
                Host(
                    canaryGFLOPS: $0.canaryGflops, canaryCPUGFLOPS: $0.canaryCpuGflops,
                    otherLoad: $0.otherLoad, coreDistance: $0.coreDistanceNs)
            }, clock: clock)
    }
}

extension GateSamples.Layer {
    fileprivate init(_ row: SampleRow) throws {
        self.init(
            path: row.path,
            wall: try PackedSamples.decode(row.wall, count: row.samples).map(Double.init),
            cpu: try row.cpu.map { try PackedSamples.decode($0, count: row.samples) }?
                .map(Double.init) ?? [])
    }
}
