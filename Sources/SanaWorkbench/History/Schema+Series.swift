import Foundation
import GRDB

/// Series as rows with a key, samples packed, what many runs share stored once.
extension Schema {
    /// The fifth migration: every table is made anew, with stricter checks, and gets the old rows.
    package static func addSeries(_ db: Database) throws {
        try db.execute(sql: "DROP VIEW IF EXISTS layer_result")
        try db.execute(sql: "DROP INDEX IF EXISTS index_run_on_model_id_machine_id_kind")
        let old = [
            "baseline", "repetition", "layer_work", "accuracy", "latency_sample", "run", "layer",
            "model", "machine",
        ]
        for table in old { try db.rename(table: table, to: "old_" + table) }
        try db.execute(sql: seriesTables)
        try db.execute(sql: seriesIndexes)
        for table in ["machine", "model", "layer"] {
            let columns = try db.columns(in: table).map(\.name).joined(separator: ", ")
            try db.execute(
                sql: "INSERT INTO \(table) (\(columns)) SELECT \(columns) FROM old_\(table)")
        }
        try OldRuns(db: db).copy()
        try db.execute(
            sql: """
                INSERT INTO repetition (run_id, repetition, canary_gflops, canary_cpu_gflops, other_load)
                SELECT run_id, repetition, canary_gflops, canary_cpu_gflops, other_load
                FROM old_repetition;
                INSERT INTO baseline (name, run_id, set_at) SELECT name, run_id, set_at
                FROM old_baseline;
                UPDATE sqlite_sequence
                SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'old_run')
                WHERE name = 'run';
                """)
        for table in old { try db.drop(table: "old_" + table) }
        try db.execute(sql: layerResult(sizes: "run.batch, run.height, run.width"))
    }

    /// A value of a finite quantity that cannot be negative, or NULL.
    private static func amount(_ name: String, _ type: String = "REAL") -> String {
        "\(name) \(type) CHECK (\(name) >= 0 AND \(name) < 9e999)"
    }

    private static func amounts(_ names: String...) -> String {
        names.map { amount($0) }.joined(separator: ",\n    ")
    }

    /// The sixth migration: how far apart the cores were that the threads ran on.
    package static func addCoreDistances(_ db: Database) throws {
        try db.execute(
            sql: "ALTER TABLE repetition ADD COLUMN \(amount("core_distance_ns"))")
    }

    private static let seriesTables = """
        CREATE TABLE machine (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            fingerprint TEXT NOT NULL UNIQUE,
            cpu TEXT NOT NULL,
            processors INTEGER NOT NULL CHECK (processors > 0),
            memory_bytes INTEGER NOT NULL CHECK (memory_bytes >= 0),
            system TEXT NOT NULL,
            instruction_set TEXT NOT NULL
        ) STRICT;
        -- One row per source weights and stored types.
        CREATE TABLE model (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            digest TEXT NOT NULL,
            dtype TEXT NOT NULL,
            name TEXT NOT NULL,
            UNIQUE (digest, dtype)
        ) STRICT;
        -- Runs that may be compared. Columns that do not bear on a kind are empty or 0.
        CREATE TABLE series (
            id INTEGER PRIMARY KEY,
            architecture TEXT NOT NULL,
            kind TEXT NOT NULL,
            model TEXT NOT NULL,
            dtype TEXT NOT NULL,
            reference TEXT NOT NULL,
            machine TEXT NOT NULL,
            threads INTEGER NOT NULL,
            compute TEXT NOT NULL,
            numerics TEXT NOT NULL,
            clock TEXT NOT NULL,
            batch INTEGER NOT NULL,
            height INTEGER NOT NULL,
            width INTEGER NOT NULL,
            caption_tokens INTEGER NOT NULL,
            UNIQUE (architecture, kind, model, dtype, reference, machine, threads, compute, numerics,
                clock, batch, height, width, caption_tokens)
        ) STRICT;
        -- Rows that many runs share: the same errors night after night, the work of a model's layers.
        CREATE TABLE layer_set (
            id INTEGER PRIMARY KEY,
            digest BLOB NOT NULL UNIQUE
        ) STRICT;
        CREATE TABLE run (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            uuid TEXT NOT NULL UNIQUE,
            kind TEXT NOT NULL CHECK (kind IN ('verify', 'profile', 'trajectory')),
            started_at TEXT NOT NULL
                CHECK (started_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]Z'),
            tool_version TEXT NOT NULL,
            git_commit TEXT,
            machine_id INTEGER NOT NULL REFERENCES machine,
            model_id INTEGER NOT NULL REFERENCES model,
            series_id INTEGER NOT NULL REFERENCES series,
            model_path TEXT NOT NULL,
            reference TEXT,
            threads INTEGER NOT NULL CHECK (threads > 0),
            compute TEXT NOT NULL,
            numerics TEXT NOT NULL,
            batch INTEGER NOT NULL CHECK (batch >= 0),
            height INTEGER NOT NULL CHECK (height >= 0),
            width INTEGER NOT NULL CHECK (width >= 0),
            caption_tokens INTEGER NOT NULL CHECK (caption_tokens >= 0),
            peak_rss_bytes INTEGER NOT NULL CHECK (peak_rss_bytes >= 0),
            metric TEXT,
            verdict TEXT CHECK (verdict IN ('pass', 'fail', 'inconclusive')),
            cause TEXT,
            warnings TEXT,
            problems TEXT,
            -- Digest of the model's class, tensor names and shapes; NULL in runs of old versions.
            architecture TEXT,
            -- How CPU time was measured: 'process' is exact to a tick of the system only.
            clock TEXT NOT NULL DEFAULT 'process',
            -- Identifies the canary's kernel; NULL in runs of old versions.
            canary TEXT,
            -- Whether the user allowed a golden of other weights.
            allowed INTEGER NOT NULL DEFAULT 0 CHECK (allowed IN (0, 1)),
            error_set INTEGER REFERENCES layer_set,
            work_set INTEGER REFERENCES layer_set,
            \(amount("stored_bytes", "INTEGER")),
            seconds REAL NOT NULL CHECK (seconds >= 0 AND seconds < 9e999),
            probe_overhead REAL CHECK (probe_overhead > -9e999 AND probe_overhead < 9e999),
            \(amounts(
                "canary_gflops", "tolerance", "load_seconds", "int8_gops", "read_bandwidth",
                "peak_gflops", "output_relative_rms", "output_relative_power", "total_median_ns"))
        ) STRICT;
        CREATE TABLE layer (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            path TEXT NOT NULL UNIQUE
        ) STRICT;
        -- Nanoseconds of each repetition, packed: see PackedSamples.
        CREATE TABLE latency (
            run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
            layer_id INTEGER NOT NULL REFERENCES layer,
            samples INTEGER NOT NULL CHECK (samples > 0),
            median_ns REAL NOT NULL CHECK (median_ns >= 0 AND median_ns < 9e999),
            wall BLOB NOT NULL,
            cpu BLOB,
            PRIMARY KEY (run_id, layer_id)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE repetition (
            run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
            repetition INTEGER NOT NULL CHECK (repetition >= 0),
            canary_gflops REAL NOT NULL CHECK (canary_gflops > 0 AND canary_gflops < 9e999),
            canary_cpu_gflops REAL NOT NULL CHECK (canary_cpu_gflops > 0 AND canary_cpu_gflops < 9e999),
            \(amounts("other_load")),
            -- CPU time of the canary and of the forward next to it.
            \(amount("canary_cpu_ns", "INTEGER")),
            \(amount("model_cpu_ns", "INTEGER")),
            PRIMARY KEY (run_id, repetition)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE accuracy (
            set_id INTEGER NOT NULL REFERENCES layer_set ON DELETE CASCADE,
            layer_id INTEGER NOT NULL REFERENCES layer,
            nonfinite INTEGER NOT NULL CHECK (nonfinite >= 0),
            tolerance REAL NOT NULL CHECK (tolerance >= 0 AND tolerance < 9e999),
            verdict TEXT NOT NULL CHECK (verdict IN ('pass', 'fail')),
            max_abs_index TEXT,
            cosine REAL CHECK (cosine >= -1.01 AND cosine <= 1.01),
            sqnr_db REAL CHECK (sqnr_db > -9e999 AND sqnr_db < 9e999),
            fp16_headroom REAL CHECK (fp16_headroom > -9e999 AND fp16_headroom < 9e999),
            \(amounts(
                "relative_rms", "relative_power", "max_abs", "own_relative_rms",
                "inherited_relative_rms", "gain", "mean_abs", "p99_abs", "golden_rms",
                "golden_max_abs")),
            PRIMARY KEY (set_id, layer_id)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE layer_work (
            set_id INTEGER NOT NULL REFERENCES layer_set ON DELETE CASCADE,
            layer_id INTEGER NOT NULL REFERENCES layer,
            kind TEXT NOT NULL,
            operations INTEGER NOT NULL CHECK (operations >= 0),
            bytes INTEGER NOT NULL CHECK (bytes >= 0),
            PRIMARY KEY (set_id, layer_id)
        ) STRICT, WITHOUT ROWID;
        -- A name holds one run of each series that it is the baseline of.
        CREATE TABLE baseline (
            name TEXT NOT NULL,
            run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
            set_at TEXT NOT NULL,
            PRIMARY KEY (name, run_id)
        ) STRICT, WITHOUT ROWID;
        """

    private static let seriesIndexes = """
        CREATE INDEX run_by_series ON run (series_id, started_at);
        CREATE INDEX run_by_start ON run (started_at);
        CREATE INDEX run_by_model ON run (model_id);
        CREATE INDEX run_by_error_set ON run (error_set) WHERE error_set IS NOT NULL;
        CREATE INDEX run_by_work_set ON run (work_set) WHERE work_set IS NOT NULL;
        """

    /// Latency and error of every layer of every run side by side, for users of sqlite3.
    ///
    /// - Parameter sizes: columns that tell the sizes of the run's forward.
    package static func layerResult(sizes: String) -> String {
        """
        CREATE VIEW layer_result AS
        SELECT \(layerResultColumns("latency.samples", "latency.median_ns", sizes))
        FROM latency
        JOIN run ON run.id = latency.run_id
        JOIN layer ON layer.id = latency.layer_id
        JOIN model ON model.id = run.model_id
        JOIN machine ON machine.id = run.machine_id
        LEFT JOIN accuracy
            ON accuracy.set_id = run.error_set AND accuracy.layer_id = latency.layer_id
        UNION ALL
        SELECT \(layerResultColumns("NULL", "NULL", sizes))
        FROM run
        JOIN accuracy ON accuracy.set_id = run.error_set
        JOIN layer ON layer.id = accuracy.layer_id
        JOIN model ON model.id = run.model_id
        JOIN machine ON machine.id = run.machine_id
        WHERE NOT EXISTS (
            SELECT 1 FROM latency
            WHERE latency.run_id = run.id AND latency.layer_id = accuracy.layer_id)
        """
    }

    private static func layerResultColumns(
        _ samples: String, _ median: String, _ sizes: String
    ) -> String {
        """
        run.id AS run_id, run.started_at, run.kind, model.name AS model, model.dtype,
            model.digest, machine.fingerprint AS machine, run.threads, run.compute,
            run.numerics, \(sizes), run.canary_gflops,
            layer.path, \(samples) AS samples, \(median) AS median_ns,
            accuracy.relative_rms, accuracy.relative_power, accuracy.max_abs,
            accuracy.cosine, accuracy.sqnr_db, accuracy.own_relative_rms,
            accuracy.inherited_relative_rms, accuracy.gain, accuracy.mean_abs,
            accuracy.p99_abs, accuracy.golden_rms, accuracy.golden_max_abs,
            accuracy.fp16_headroom, accuracy.tolerance, accuracy.verdict
        """
    }
}

/// The runs of the fourth version, one after the other into the tables of the fifth.
private struct OldRuns {
    package let db: Database

    package func copy() throws {
        let kept = try Set(db.columns(in: "old_run").map(\.name))
        let columns = try db.columns(in: "run").map(\.name).filter(kept.contains)
            .joined(separator: ", ")
        let insert = try db.makeStatement(
            sql: """
                INSERT INTO run (\(columns), series_id, error_set, work_set, peak_gflops,
                    output_relative_rms, output_relative_power, total_median_ns)
                SELECT \(columns), ?, ?, ?, ?, ?, ?, ? FROM old_run WHERE id = ?
                """)
        let runs = try Row.fetchCursor(
            db,
            sql: """
                SELECT old_run.*, digest, dtype, fingerprint FROM old_run
                JOIN old_model ON old_model.id = model_id
                JOIN old_machine ON old_machine.id = machine_id ORDER BY old_run.id
                """)
        var series: [Series: Int64] = [:]
        while let row = try runs.next() {
            let key = Series(old: row)
            let seriesID = try series[key] ?? findOrInsert(key, sizesOf: row)
            series[key] = seriesID
            let id: Int64 = row["id"]
            let errors = try set(
                "accuracy",
                [
                    "cosine", "fp16_headroom", "gain", "golden_max_abs", "golden_rms",
                    "inherited_relative_rms", "layer_id", "max_abs", "max_abs_index", "mean_abs",
                    "nonfinite", "own_relative_rms", "p99_abs", "relative_power", "relative_rms",
                    "sqnr_db", "tolerance", "verdict",
                ], of: id)
            let work = try set("layer_work", ["bytes", "kind", "layer_id", "operations"], of: id)
            let peak = try Double.fetchOne(
                db,
                sql: """
                    SELECT max(attainable_gflops) FROM old_layer_work
                    WHERE run_id = ? AND kind IN ('Linear', 'Conv2d')
                    """, arguments: [id])
            let output = try Row.fetchOne(
                db,
                sql: """
                    SELECT relative_rms, relative_power FROM old_accuracy
                    JOIN old_layer ON old_layer.id = layer_id WHERE run_id = ? AND path = ?
                    """, arguments: [id, "outputs.sample"])
            let samples = try samples(of: id)
            try insert.execute(arguments: [
                seriesID, errors, work, peak, output?["relative_rms"] as Double?,
                output?["relative_power"] as Double?, samples.total, id,
            ])
            for var latency in samples.rows { try latency.insert(db) }
        }
    }

    /// The series in the fifth version's table, which has a column for each size.
    private func findOrInsert(_ series: Series, sizesOf run: Row) throws -> Int64 {
        var values = try series.databaseDictionary
        values["sizes"] = nil
        for size in ["batch", "height", "width", "caption_tokens"] {
            values[size] = run[size] as DatabaseValue
        }
        return try Series.findOrInsert(values, db)
    }

    private func set(_ table: String, _ columns: [String], of run: Int64) throws -> Int64? {
        let rows = try Row.fetchAll(
            db,
            sql:
                "SELECT \(columns.joined(separator: ", ")) FROM old_\(table) WHERE run_id = ? ORDER BY layer_id",
            arguments: [run])
        return try LayerSet.find(
            table, columns, rows.map { Array($0.databaseValues) }, db)
    }

    private func samples(of run: Int64) throws -> (rows: [LatencyRow], total: Double?) {
        let total = try Int64.fetchOne(
            db, sql: "SELECT id FROM old_layer WHERE path = ?", arguments: [Profile.totalPath])
        let cursor = try Row.fetchCursor(
            db,
            sql: """
                SELECT layer_id, ns, cpu_ns FROM old_latency_sample WHERE run_id = ?
                ORDER BY layer_id, repetition
                """, arguments: [run])
        var layers: [(id: Int64, wall: [Int], cpu: [Int])] = []
        while let row = try cursor.next() {
            guard let id = Int64.fromDatabaseValue(row[0]), let ns = Int.fromDatabaseValue(row[1])
            else {
                throw DatabaseError(
                    resultCode: .SQLITE_CONSTRAINT, message: "a latency is not a number")
            }
            if layers.last?.id != id { layers.append((id, [], [])) }
            layers[layers.count - 1].wall.append(ns)
            if let cpu = Int.fromDatabaseValue(row[2]) { layers[layers.count - 1].cpu.append(cpu) }
        }
        let rows = try layers.map {
            try LatencyRow(runId: run, layerId: $0.id, wall: $0.wall, cpu: $0.cpu)
        }
        return (rows, rows.first { $0.layerId == total }?.medianNs)
    }
}

extension Series {
    /// Of a run of the fourth version, which knew no architecture: the weights stand for it.
    fileprivate init(old row: Row) {
        let kind: String = row["kind"]
        self.init(
            kind: kind, architecture: row["digest"], modelPath: row["model_path"],
            dtype: row["dtype"], reference: row["reference"], machine: row["fingerprint"],
            threads: row["threads"], compute: row["compute"], numerics: row["numerics"],
            clock: Series.processClock,
            sizes: RunSizes(
                batch: row["batch"], height: row["height"], width: row["width"],
                captionTokens: row["caption_tokens"]))
    }
}
