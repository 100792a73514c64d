import GRDB

/// The first migrations, as released but for the view `layer_result`, which the fifth creates: they
/// must build the tables that databases of their versions have.
extension Schema {
    package static func addRuns(_ db: Database) throws {
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
        try createRun("run", kinds: "'verify', 'profile'", verdicts: "'pass', 'fail'", db)
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
    }

    /// The table of runs, whose checks the second version widened.
    private static func createRun(
        _ name: String, kinds: String, verdicts: String, _ db: Database
    ) throws {
        try db.create(table: name) { table in
            table.autoIncrementedPrimaryKey("id")
            table.column("uuid", .text).notNull().unique()
            table.column("kind", .text).notNull().check(sql: "kind IN (\(kinds))")
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
            table.column("verdict", .text).check(sql: "verdict IN (\(verdicts))")
            table.column("seconds", .double).notNull()
        }
    }

    /// Adds the kind `trajectory`, the verdict `inconclusive`, what makes a run fail, and the
    /// statistics that verifications have beside their error.
    package static func addCauses(_ db: Database) throws {
        try db.execute(sql: "DROP VIEW IF EXISTS layer_result")
        // Checks cannot be altered: the table is made anew, as SQLite's manual has it.
        try createRun(
            "run_2", kinds: "'verify', 'profile', 'trajectory'",
            verdicts: "'pass', 'fail', 'inconclusive'", db)
        let columns = try db.columns(in: "run_2").map(\.name).joined(separator: ", ")
        try db.execute(sql: "INSERT INTO run_2 (\(columns)) SELECT \(columns) FROM run")
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
    }

    /// Adds what a gate and a report need: what the host did at each repetition, the work of each
    /// layer, named baselines.
    package static func addGate(_ db: Database) throws {
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

    /// Adds the ways in which golden and model do not belong together, one a line.
    package static func addProblems(_ db: Database) throws {
        try db.alter(table: "run") { $0.add(column: "problems", .text) }
    }
}
