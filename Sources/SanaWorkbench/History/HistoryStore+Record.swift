import Foundation
import GRDB
import SanaModel

extension HistoryStore {
    /// Stores a run with all its layers.
    ///
    /// - Returns: its number.
    /// - Throws: `HistoryError`.
    @discardableResult
    package func record(_ record: RunRecord) throws -> Int64 {
        try writing { db in
            let machine = Machine.current
            let machineID = try Self.machine(machine, db)
            let model = ModelRow(
                digest: record.modelDigest, dtype: record.dtype,
                name: record.model.lastPathComponent)
            let modelID = try Self.find(model.request, orInsert: model, db)
            var layers: [Int64] = []
            for layer in record.layers {
                layers.append(
                    try Self.find(
                        LayerRow.filter(Column("path") == layer.path),
                        orInsert: LayerRow(path: layer.path), db))
            }
            let named = Array(zip(layers, record.layers))
            let latencies = try named.filter { !$1.samples.isEmpty }.map {
                try LatencyRow(runId: 0, layerId: $0, wall: $1.samples, cpu: $1.cpu)
            }
            var run = RunRow(record, machine: machineID, model: modelID)
            run.errorSet = try AccuracyRow.set(
                named.compactMap { id, layer in
                    layer.accuracy.map { AccuracyRow($0, layer: id) }
                }, db)
            run.workSet = try LayerWorkRow.set(
                named.compactMap { id, layer in
                    layer.work.map {
                        LayerWorkRow(
                            setId: 0, layerId: id, kind: $0.kind, operations: $0.operations,
                            bytes: $0.bytes)
                    }
                }, db)
            let runID = try Self.insert(
                &run, model: model, machine: machine.fingerprint, latencies, db)
            for (index, item) in (record.profile?.repetitions ?? []).enumerated() {
                var row = RepetitionRow(
                    runId: runID, repetition: index, canaryGflops: item.canaryGFLOPS,
                    canaryCpuGflops: item.canaryCPUGFLOPS, otherLoad: item.otherLoad,
                    canaryCpuNs: item.canaryCPUNanoseconds,
                    modelCpuNs: item.cpuNanoseconds, coreDistanceNs: item.coreDistance)
                try row.insert(db)
            }
            return runID
        }
    }

    /// Puts a run into its series, and its latencies beside it.
    ///
    /// - Returns: its number.
    package static func insert(
        _ run: inout RunRow, model: ModelRow, machine: String, _ latencies: [LatencyRow],
        _ db: Database
    ) throws -> Int64 {
        if run.architecture == nil {
            run.architecture = try String.fetchOne(
                db,
                sql: """
                    SELECT architecture FROM run WHERE model_id = ? AND architecture IS NOT NULL
                    LIMIT 1
                    """, arguments: [run.modelId])
        }
        let series = Series(run, model: model, machine: machine)
        run.seriesId = try series.findOrInsert(db)
        if let architecture = run.architecture {
            try Series.adopt(digest: model.digest, architecture: architecture, db)
        }
        try run.insert(db)
        let id = db.lastInsertedRowID
        for var latency in latencies {
            latency.runId = id
            try latency.insert(db)
        }
        return id
    }

    private static func machine(_ machine: Machine, _ db: Database) throws -> Int64 {
        try find(
            MachineRow.filter(Column("fingerprint") == machine.fingerprint),
            orInsert: MachineRow(
                fingerprint: machine.fingerprint, cpu: machine.cpu, processors: machine.processors,
                memoryBytes: machine.memoryBytes, system: machine.system,
                instructionSet: machine.instructionSet), db)
    }
}

extension ModelRow {
    /// The row with these weights and types.
    package var request: QueryInterfaceRequest<ModelRow> {
        ModelRow.filter(Column("digest") == digest && Column("dtype") == dtype)
    }
}

/// A row of a `LayerSet`.
package protocol LayerSetRow: HistoryRow {
    var layerId: Int64 { get }
}

extension AccuracyRow: LayerSetRow {}
extension LayerWorkRow: LayerSetRow {}

extension LayerSetRow {
    /// The key of the set of just these rows, see `LayerSet.find`.
    package static func set(_ rows: [Self], _ db: Database) throws -> Int64? {
        let dictionaries = try rows.sorted { $0.layerId < $1.layerId }.map {
            try $0.databaseDictionary
        }
        guard let first = dictionaries.first else { return nil }
        let columns = first.keys.filter { $0 != "set_id" }.sorted()
        return try LayerSet.find(
            databaseTableName, columns,
            dictionaries.map { row in columns.map { row[$0] ?? .null } }, db)
    }
}

private func finite(_ value: Double?) -> Double? { value.flatMap { $0.isFinite ? $0 : nil } }

extension RunRow {
    fileprivate init(_ record: RunRecord, machine: Int64, model: Int64) {
        func layer(_ path: String) -> RunRecord.Layer? { record.layers.first { $0.path == path } }
        let output = record.layers.last { $0.path.hasPrefix(Golden.outputPrefix) }?.accuracy?
            .comparison
        let total = layer(Profile.totalPath)?.samples ?? []
        self.init(
            uuid: UUID().uuidString.lowercased(), kind: record.kind.rawValue,
            startedAt: record.startedAt.formatted(.iso8601), toolVersion: ToolVersion.number,
            gitCommit: GitCommit.current, machineId: machine, modelId: model, seriesId: 0,
            modelPath: record.model, reference: record.reference, threads: record.threads,
            compute: record.compute, numerics: record.numerics, sizes: record.sizes,
            canaryGflops: record.canaryGFLOPS,
            peakRssBytes: record.peakRSSBytes, metric: record.metric, tolerance: record.tolerance,
            verdict: record.verdict?.rawValue, seconds: record.seconds, cause: record.cause,
            loadSeconds: record.profile?.loadSeconds, storedBytes: record.storedBytes,
            int8Gops: record.profile?.peaks?.int8GOPS,
            readBandwidth: record.profile?.peaks?.roofBandwidth,
            probeOverhead: record.profile?.probeOverhead,
            warnings: record.profile?.warnings.joined(separator: "\n"),
            problems: record.problems.isEmpty
                ? nil : record.problems.map(\.line).joined(separator: "\n"),
            architecture: record.architecture, clock: record.clock, canary: record.canary,
            allowed: record.allowed,
            peakGflops: record.layers.compactMap(\.work).filter(\.isProduct)
                .compactMap(\.attainableGFLOPS).max(),
            outputRelativeRms: output.flatMap { finite($0.relativeRMS) },
            outputRelativePower: output.flatMap { finite($0.relativePower) },
            totalMedianNs: total.isEmpty ? nil : total.map(Double.init).median)
    }
}

extension AccuracyRow {
    fileprivate init(_ accuracy: RunRecord.Accuracy, layer: Int64) {
        let comparison = accuracy.comparison
        self.init(
            setId: 0, layerId: layer, relativeRms: finite(comparison.relativeRMS),
            relativePower: finite(comparison.relativePower), maxAbs: finite(comparison.maxAbs),
            cosine: finite(comparison.cosine), sqnrDb: finite(comparison.sqnrDecibels),
            nonfinite: comparison.nonfinite, ownRelativeRms: finite(accuracy.isolated?.own),
            inheritedRelativeRms: finite(accuracy.isolated?.inherited),
            tolerance: accuracy.tolerance, verdict: accuracy.passes ? "pass" : "fail",
            gain: finite(accuracy.isolated?.gain), maxAbsIndex: "\(comparison.maxAbsIndex)",
            meanAbs: finite(comparison.meanAbs), p99Abs: finite(comparison.p99Abs),
            goldenRms: finite(comparison.goldenRMS),
            goldenMaxAbs: finite(comparison.goldenMaxAbs),
            fp16Headroom: finite(comparison.fp16Headroom))
    }
}
