import GRDB

/// The tables of the history, built by named migrations that are only ever appended to.
enum Schema {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1 runs") { db in
            try db.create(table: "machine") { table in
                table.autoIncrementedPrimaryKey("id")
                table.column("fingerprint", .text).notNull().unique()
                table.column("cpu", .text).notNull()
                table.column("processors", .integer).notNull().check { $0 > 0 }
                table.column("memory_bytes", .integer).notNull()
                table.column("system", .text).notNull()
                table.column("instruction_set", .text).notNull()
            }
            // One row per source weights and stored type: a checkpoint and its archives are series
            // of their own.
            try db.create(table: "model") { table in
                table.autoIncrementedPrimaryKey("id")
                table.column("digest", .text).notNull()
                table.column("dtype", .text).notNull()
                table.column("name", .text).notNull()
                table.uniqueKey(["digest", "dtype"])
            }
            try db.create(table: "run") { table in
                table.autoIncrementedPrimaryKey("id")
                table.column("uuid", .text).notNull().unique()
                table.column("kind", .text).notNull().check(sql: "kind IN ('verify', 'profile')")
                table.column("started_at", .text).notNull()
                table.column("tool_version", .text).notNull()
                table.column("git_commit", .text)
                table.column("machine_id", .integer).notNull().references("machine")
                table.column("model_id", .integer).notNull().references("model")
                table.column("model_path", .text).notNull()
                table.column("reference", .text)
                table.column("threads", .integer).notNull().check { $0 > 0 }
                table.column("compute", .text).notNull()
                table.column("numerics", .text).notNull()
                table.column("batch", .integer).notNull()
                table.column("height", .integer).notNull()
                table.column("width", .integer).notNull()
                table.column("caption_tokens", .integer).notNull()
                table.column("canary_gflops", .double)
                table.column("peak_rss_bytes", .integer).notNull()
                table.column("metric", .text)
                table.column("tolerance", .double)
                table.column("verdict", .text).check(sql: "verdict IN ('pass', 'fail')")
                table.column("seconds", .double).notNull()
            }
            try db.create(table: "layer") { table in
                table.autoIncrementedPrimaryKey("id")
                table.column("path", .text).notNull().unique()
            }
            try db.create(table: "latency_sample", options: .withoutRowID) { table in
                table.column("run_id", .integer).notNull()
                    .references("run", onDelete: .cascade)
                table.column("layer_id", .integer).notNull().references("layer")
                table.column("repetition", .integer).notNull()
                table.column("ns", .integer).notNull().check { $0 >= 0 }
                table.primaryKey(["run_id", "layer_id", "repetition"])
            }
            try db.create(table: "accuracy", options: .withoutRowID) { table in
                table.column("run_id", .integer).notNull()
                    .references("run", onDelete: .cascade)
                table.column("layer_id", .integer).notNull().references("layer")
                table.column("relative_rms", .double)
                table.column("relative_power", .double)
                table.column("max_abs", .double)
                table.column("cosine", .double)
                table.column("sqnr_db", .double)
                table.column("nonfinite", .integer).notNull()
                table.column("own_relative_rms", .double)
                table.column("inherited_relative_rms", .double)
                table.column("tolerance", .double).notNull()
                table.column("verdict", .text).notNull().check(sql: "verdict IN ('pass', 'fail')")
                table.primaryKey(["run_id", "layer_id"])
            }
            // Latency and error of every layer of every run side by side, for users of sqlite3.
            try db.execute(
                sql: """
                    CREATE VIEW layer_result AS
                    WITH ranked AS (
                        SELECT run_id, layer_id, ns,
                            ROW_NUMBER() OVER (PARTITION BY run_id, layer_id ORDER BY ns) AS place,
                            COUNT(*) OVER (PARTITION BY run_id, layer_id) AS samples
                        FROM latency_sample
                    ), latency AS (
                        SELECT run_id, layer_id, samples, AVG(ns) AS median_ns FROM ranked
                        WHERE place IN ((samples + 1) / 2, (samples + 2) / 2)
                        GROUP BY run_id, layer_id
                    ), pair AS (
                        SELECT run_id, layer_id FROM latency
                        UNION SELECT run_id, layer_id FROM accuracy
                    )
                    SELECT run.id AS run_id, run.started_at, run.kind, model.name AS model, model.dtype,
                        model.digest, machine.fingerprint AS machine, run.threads, run.compute,
                        run.numerics, run.batch, run.height, run.width, run.canary_gflops,
                        layer.path, latency.samples, latency.median_ns,
                        accuracy.relative_rms, accuracy.relative_power, accuracy.max_abs,
                        accuracy.cosine, accuracy.sqnr_db, accuracy.own_relative_rms,
                        accuracy.tolerance, accuracy.verdict
                    FROM pair
                    JOIN run ON run.id = pair.run_id
                    JOIN layer ON layer.id = pair.layer_id
                    JOIN model ON model.id = run.model_id
                    JOIN machine ON machine.id = run.machine_id
                    LEFT JOIN latency USING (run_id, layer_id)
                    LEFT JOIN accuracy USING (run_id, layer_id)
                    """)
        }
        migrator.registerMigration("2 causes", migrate: addCauses)
        migrator.registerMigration("3 gate", migrate: addGate)
        migrator.registerMigration("4 problems") { db in
            // Ways in which golden and model do not belong together, one a line.
            try db.alter(table: "run") { $0.add(column: "problems", .text) }
        }
        return migrator
    }

    /// Adds the kind `trajectory`, the verdict `inconclusive`, what makes a run fail, and the
    /// statistics that verifications have beside their error.
    private static func addCauses(_ db: Database) throws {
        try db.drop(view: "layer_result")
        // Checks cannot be altered: the table is made anew, as SQLite's manual has it.
        let definition = try String.fetchOne(
            db, sql: "SELECT sql FROM sqlite_master WHERE name = 'run' AND type = 'table'")
        guard let definition else { throw DatabaseError(message: "no table run") }
        let changed =
            definition
            .replacing("\"run\"", with: "\"run_2\"", maxReplacements: 1)
            .replacing("'verify', 'profile'", with: "'verify', 'profile', 'trajectory'")
            .replacing("'pass', 'fail'", with: "'pass', 'fail', 'inconclusive'")
        try db.execute(sql: changed)
        try db.execute(sql: "INSERT INTO run_2 SELECT * FROM run")
        try db.drop(table: "run")
        try db.rename(table: "run_2", to: "run")
        try db.alter(table: "run") { $0.add(column: "cause", .text) }
        try db.alter(table: "accuracy") { table in
            table.add(column: "gain", .double)
            table.add(column: "max_abs_index", .text)
            for name in ["mean_abs", "p99_abs", "golden_rms", "golden_max_abs", "fp16_headroom"] {
                table.add(column: name, .double)
            }
        }
        try db.execute(
            sql: """
                CREATE VIEW layer_result AS
                WITH ranked AS (
                    SELECT run_id, layer_id, ns,
                        ROW_NUMBER() OVER (PARTITION BY run_id, layer_id ORDER BY ns) AS place,
                        COUNT(*) OVER (PARTITION BY run_id, layer_id) AS samples
                    FROM latency_sample
                ), latency AS (
                    SELECT run_id, layer_id, samples, AVG(ns) AS median_ns FROM ranked
                    WHERE place IN ((samples + 1) / 2, (samples + 2) / 2)
                    GROUP BY run_id, layer_id
                ), pair AS (
                    SELECT run_id, layer_id FROM latency
                    UNION SELECT run_id, layer_id FROM accuracy
                )
                SELECT run.id AS run_id, run.started_at, run.kind, model.name AS model, model.dtype,
                    model.digest, machine.fingerprint AS machine, run.threads, run.compute,
                    run.numerics, run.batch, run.height, run.width, run.canary_gflops,
                    layer.path, latency.samples, latency.median_ns,
                    accuracy.relative_rms, accuracy.relative_power, accuracy.max_abs,
                    accuracy.cosine, accuracy.sqnr_db, accuracy.own_relative_rms,
                    accuracy.inherited_relative_rms, accuracy.gain, accuracy.mean_abs,
                    accuracy.p99_abs, accuracy.golden_rms, accuracy.golden_max_abs,
                    accuracy.fp16_headroom, accuracy.tolerance, accuracy.verdict
                FROM pair
                JOIN run ON run.id = pair.run_id
                JOIN layer ON layer.id = pair.layer_id
                JOIN model ON model.id = run.model_id
                JOIN machine ON machine.id = run.machine_id
                LEFT JOIN latency USING (run_id, layer_id)
                LEFT JOIN accuracy USING (run_id, layer_id)
                """)
    }

    /// Adds what a gate and a report need: what the host did at each repetition, the work of each
    /// layer, named baselines.
    private static func addGate(_ db: Database) throws {
        try db.alter(table: "run") { table in
            table.add(column: "load_seconds", .double)
            table.add(column: "stored_bytes", .integer)
            table.add(column: "int8_gops", .double)
            table.add(column: "read_bandwidth", .double)
            table.add(column: "probe_overhead", .double)
            // What disturbed timing, a sentence a line.
            table.add(column: "warnings", .text)
        }
        // Processor time of all threads meanwhile.
        try db.alter(table: "latency_sample") { $0.add(column: "cpu_ns", .integer) }
        try db.create(table: "repetition", options: .withoutRowID) { table in
            table.column("run_id", .integer).notNull().references("run", onDelete: .cascade)
            table.column("repetition", .integer).notNull()
            table.column("canary_gflops", .double).notNull().check { $0 > 0 }
            table.column("canary_cpu_gflops", .double).notNull().check { $0 > 0 }
            table.column("other_load", .double).check { $0 >= 0 }
            table.primaryKey(["run_id", "repetition"])
        }
        try db.create(table: "layer_work", options: .withoutRowID) { table in
            table.column("run_id", .integer).notNull().references("run", onDelete: .cascade)
            table.column("layer_id", .integer).notNull().references("layer")
            table.column("kind", .text).notNull()
            table.column("operations", .integer).notNull().check { $0 >= 0 }
            table.column("bytes", .integer).notNull().check { $0 >= 0 }
            // What the roofline allows.
            table.column("attainable_gflops", .double)
            table.primaryKey(["run_id", "layer_id"])
        }
        // A name holds one run of each series that it is the baseline of.
        try db.create(table: "baseline", options: .withoutRowID) { table in
            table.column("name", .text).notNull()
            table.column("run_id", .integer).notNull().references("run", onDelete: .cascade)
            table.column("set_at", .text).notNull()
            table.primaryKey(["name", "run_id"])
        }
        try db.create(indexOn: "run", columns: ["model_id", "machine_id", "kind"])
    }
}
