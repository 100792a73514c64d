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
        return migrator
    }
}
