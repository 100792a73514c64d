import GRDB
import SanaTestSupport
import Testing

/// Histories, and names that end up in them.
extension MutationTarget {
    static func history(_ program: BuiltProgram) throws -> MutationTarget {
        for _ in 0..<3 {
            for command in [
                [
                    "verify", "fixtures/tiny/qknorm", "--reference",
                    "fixtures/goldens/tiny-qknorm.safetensors",
                ],
                ["profile", "fixtures/tiny/qknorm", "--latent", "2x2", "--repeat", "2"],
            ] {
                let made = try program.run(command + ["--db", "h.sqlite"])
                try #require(made.code == 0, "\(made.talk)")
            }
        }
        // Everything into the one file.
        try DatabaseQueue(path: program.folder("h.sqlite")).writeWithoutTransaction { db in
            _ = try String.fetchAll(db, sql: "PRAGMA journal_mode = DELETE")
        }
        let db = ["--db", "h.sqlite"]
        return MutationTarget(
            name: "history", file: "h.sqlite",
            commands: [
                ["history", "list"] + db + json, ["history", "show"] + db + json,
                ["history", "gate"] + db + json, ["history", "export", "--as", "jsonl"] + db,
                ["history", "merge", "h.sqlite", "--db", "x.sqlite"],
                ["history", "report", "--output", "x.html"] + db,
                ["history", "baseline", "set", "name"] + db,
            ],
            leavings: [
                "h.sqlite-wal", "h.sqlite-shm", "h.sqlite-journal", "x.sqlite", "x.sqlite-wal",
                "x.sqlite-shm", "x.html",
            ])
    }

    static func historyValues(_ program: BuiltProgram) throws -> MutationTarget {
        let bytes = try history(program)
        let db = ["--db", "h.sqlite"]
        return MutationTarget(
            name: "history values", file: bytes.file,
            commands: bytes.commands + [["history", "list"] + db, ["history", "gate"] + db],
            leavings: bytes.leavings, hasValues: true)
    }

    static func fileNames(_ program: BuiltProgram) throws -> MutationTarget {
        try copy("tiny/qknorm", to: "NAME", in: program)
        let golden = "fixtures/goldens/tiny-qknorm.safetensors"
        return MutationTarget(
            name: "file names", file: "NAME/config.json",
            commands: [
                ["inspect", "NAME"] + one, ["inspect", "NAME", "--format", "markdown"],
                // One thread: in a forked child two would spin where they meet in an initializer.
                ["digest", "NAME", "--format", "text", "--threads", "1"],
                ["diff", "NAME", "fixtures/tiny/qknorm", "--threads", "1"],
                ["verify", "NAME", "--reference", golden, "--db", "x.sqlite", "--threads", "1"],
                [
                    "verify", "NAME", "--reference", golden, "--no-record", "--format", "junit",
                    "--threads", "1",
                ],
                [
                    "convert", "NAME", "--dtype", "int8", "--output", "x.safetensors.zst",
                    "--threads", "1",
                ],
            ], leavings: ["x.safetensors.zst", "x.sqlite", "x.sqlite-wal", "x.sqlite-shm"],
            isNamed: true)
    }
}
