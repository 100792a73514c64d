import Foundation

/// The page and the data of `make mutations`.
struct MutationReport {
    let results: [MutationCampaign.Result]
    let seed: UInt64

    /// Where the section that `make fuzz` writes begins.
    private static let fuzzing = "<!-- fuzzing: begin -->"

    /// Writes `path`.md and `path`.json; the section on fuzzing stays.
    func write(_ path: String) throws {
        let old = (try? String(contentsOfFile: path + ".md", encoding: .utf8)) ?? ""
        let kept = old.range(of: Self.fuzzing).map { "\n" + old[$0.lowerBound...] } ?? ""
        try Data((page + kept).utf8).write(to: URL(fileURLWithPath: path + ".md"))
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try (encoder.encode(results) + [10]).write(to: URL(fileURLWithPath: path + ".json"))
    }

    private var page: String {
        let total = results.map(\.mutations).reduce(0, +)
        let findings = results.map { $0.crashes + $0.hangs + $0.overAllocations + $0.otherFindings }
            .reduce(0, +)
        let rows = results.map { result in
            let codes = result.exitCodes.sorted { $0.key < $1.key }
                .map { "\($0.key): \($0.value)" }.joined(separator: ", ")
            let memory = Double(result.peakNewResidentBytes) / 1e6
            return "| \(result.kind) | \(result.bytes) | \(result.mutations) | \(codes) | "
                + "\(result.crashes) | \(result.hangs) | \(result.overAllocations) | "
                + "\(result.otherFindings) | \(String(format: "%.2f s", result.slowestSeconds)) | "
                + "\(String(format: "%.1f MB", memory)) |"
        }
        return """
            # Broken files

            \(total) mutations of \(results.count) kinds of files, \(findings) findings. `make mutations` writes this page.

            Each mutation has one to three defects: flipped bits, other bytes, cut ends, inserted, doubled, zeroed and
            removed ranges, other numbers in JSON and YAML, integers at the edges of their ranges, wrong header lengths,
            and hostile text in names and values. Half of the defects are in the first and last 4 KiB, where the structure
            is. In `.pth` and `.dduf` files, most change the records of the zip file, an opcode of the pickle or its
            argument, or another small entry.

            * **Names and Unicode**: letters that join others to one Character, runs of combining marks, text that looks
              equal but has other bytes, terminal escapes, markup, paths, and bytes that are not UTF-8 go into the text of
              every kind. For "file names" the model is intact and its directory has such a name.
            * **Database**: "history" damages the bytes of a SQLite file. "history values" keeps the file intact and sets
              values to NULL, infinities, negative and huge numbers, blobs and hostile text. Each is listed, shown, gated,
              exported, merged and reported.

            Each broken file is read by one of the commands that take such a file (`Tests/SanaToolsTests/Mutations`), in a
            process of its own. Findings are:

            * **crash**: a signal. RLIMIT_DATA is what the process has before the command plus 10 × the stored file plus 64 MiB,
              so excessive private memory, touched or not, is a crash (LoRA: 512 MiB more, for OpenBLAS).
            * **hang**: more than 2 s of CPU time or 60 s of wall time.
            * **memory**: peak resident memory (wait4) more than 10 × the stored file plus 64 MiB above that of `--version`.
            * **other**: an exit code other than 0, 1 (a check failed), 3 (inconclusive), 65, 66, or 64 for
              `sana-tools.yaml` and rules; an error without exactly one message, or with 65 and without the file's name;
              invalid JSON; a control character on stdout or stderr; an unpacked archive that differs from what was packed;
              a `digest` of a zip file that finds no damage but other weights.

            | file | bytes | mutations | exit codes | crashes | hangs | memory | other | slowest | peak new memory |
            |---|--:|--:|---|--:|--:|--:|--:|--:|--:|
            \(rows.joined(separator: "\n"))

            Seed \(seed); `SANA_MUTATIONS_SEED=2 make mutations` uses another. `make test` runs 20 of each kind.

            """
    }
}
