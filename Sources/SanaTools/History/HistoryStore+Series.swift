import GRDB
import SanaModel

/// Runs that may be compared with each other.
///
/// Latency depends on the machine and its threads; accuracy does not, so verifications of all
/// machines are one series.
struct Series: Hashable, Sendable {
    let kind: String
    let digest: String
    let dtype: String
    let compute: String
    let numerics: String
    let batch: Int
    let height: Int
    let width: Int
    let captionTokens: Int
    /// Name of the golden's file, in a verification.
    let reference: String?
    /// Fingerprint and threads, in a profile.
    let machine: String?
    let threads: Int?

    init(_ summary: RunSummary) {
        let (run, joined) = (summary.run, summary.joined)
        let isProfile = run.kind == RunRecord.Kind.profile.rawValue
        kind = run.kind
        (digest, dtype) = (joined.digest, joined.dtype)
        (compute, numerics) = (run.compute, run.numerics)
        (batch, height, width) = (run.batch, run.height, run.width)
        captionTokens = run.captionTokens
        reference = run.reference?.lastPathComponent
        machine = isProfile ? joined.machine : nil
        threads = isProfile ? run.threads : nil
    }
}

extension HistoryStore {
    /// Every run, oldest first.
    func allRuns() throws -> [RunSummary] {
        try translatingErrors {
            try queue.read { db in
                try RunSummary.fetchAll(
                    db, sql: RunSummary.sql + " ORDER BY run.started_at, run.id")
            }
        }
    }

    /// The latency samples of a run.
    func gateSamples(_ run: RunSummary) throws -> GateSamples {
        try translatingErrors {
            try queue.read { db in
                let samples = try SampleRow.fetchAll(
                    db,
                    sql: """
                        SELECT layer.path, ns, cpu_ns FROM latency_sample JOIN layer ON layer.id = layer_id
                        WHERE run_id = ? ORDER BY layer.id, repetition
                        """, arguments: [run.joined.id])
                let host =
                    try RepetitionRow
                    .filter(Column("run_id") == run.joined.id).order(Column("repetition"))
                    .fetchAll(db)
                return GateSamples(samples, host)
            }
        }
    }

    /// The arithmetic of the layers of a profile, by path.
    func work(of run: RunSummary) throws -> [String: LayerWorkRow] {
        try translatingErrors {
            try queue.read { db in
                let paths = try LayerRow.fetchAll(db)
                let names = Dictionary(uniqueKeysWithValues: paths.map { ($0.id, $0.path) })
                let rows = try LayerWorkRow.filter(Column("run_id") == run.joined.id).fetchAll(db)
                let named = rows.compactMap { row in names[row.layerId].map { ($0, row) } }
                return Dictionary(named) { first, _ in first }
            }
        }
    }

    /// The best peaks that profiles of the machine of `run` with its threads and compute mode saw:
    /// those of one run may have been measured beside other processes. `nil` where none has any.
    func roof(like run: RunSummary) throws -> Chart.Roof? {
        try translatingErrors {
            try queue.read { db in
                let of = "run.machine_id = ? AND run.threads = ? AND run.compute = ?"
                let arguments: StatementArguments = [
                    run.run.machineId, run.run.threads, run.run.compute,
                ]
                let peak = try Double.fetchOne(
                    db,
                    sql: """
                        SELECT max(attainable_gflops) FROM layer_work JOIN run ON run.id = run_id
                        WHERE layer_work.kind IN ('Linear', 'Conv2d') AND \(of)
                        """, arguments: arguments)
                let bandwidth = try Double.fetchOne(
                    db, sql: "SELECT max(read_bandwidth) FROM run WHERE \(of)",
                    arguments: arguments)
                guard let peak, let bandwidth else { return nil }
                return Chart.Roof(peak: peak, bandwidth: bandwidth)
            }
        }
    }

    /// The machine that a run took place on.
    func machine(of run: RunSummary) throws -> MachineRow? {
        try translatingErrors {
            try queue.read { try MachineRow.fetchOne($0, id: run.run.machineId) }
        }
    }
}

/// One latency.
struct SampleRow: HistoryColumns {
    let path: String
    let ns: Int
    let cpuNs: Int?
}

extension GateSamples {
    fileprivate init(_ samples: [SampleRow], _ host: [RepetitionRow]) {
        var total = Layer(path: Profile.totalPath)
        var layers: [Layer] = []
        for sample in samples {
            if sample.path == total.path {
                total.append(sample)
            } else {
                if layers.last?.path != sample.path { layers.append(Layer(path: sample.path)) }
                layers[layers.count - 1].append(sample)
            }
        }
        self.init(
            total: total, layers: layers,
            host: host.map {
                Host(
                    canaryGFLOPS: $0.canaryGflops, canaryCPUGFLOPS: $0.canaryCpuGflops,
                    otherLoad: $0.otherLoad)
            })
    }
}

extension GateSamples.Layer {
    fileprivate mutating func append(_ sample: SampleRow) {
        wall.append(Double(sample.ns))
        if let time = sample.cpuNs { cpu.append(Double(time)) }
    }
}

extension MachineRow: Identifiable {}
