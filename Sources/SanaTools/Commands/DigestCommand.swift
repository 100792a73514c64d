import ArgumentParser
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools digest`
struct DigestCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "digest",
        abstract: "Check files against their recorded hashes and show the weights digest.",
        discussion: """
            An archive is decoded, and every tensor is compared with the hash in its manifest. The \
            files of a Hugging Face snapshot, or of a directory made by 'hf download --local-dir', \
            are compared with the hashes recorded in the cache: SHA-256 for large files, git's \
            SHA-1 for small ones. Every entry of a torch.save file (.pth, .pt, .ckpt) or a .dduf \
            pipeline is compared with its CRC-32. For other files, the SHA-256 is shown for you to \
            compare.

            Works offline. All files are listed, even if some are damaged. Exits with 1 if a hash \
            does not match, or if a file is truncated, unreadable or not what its name says.

            EXAMPLES
              sana-tools digest model-int8.safetensors.zst
              sana-tools digest path/to/snapshots/REVISION
              sana-tools digest org/name@REVISION
              sana-tools digest Sana_1600M_1024px.pth
              sana-tools digest path/to/repo --format json
            """)

    @Argument(
        help: ArgumentHelp(
            "Archive, .safetensors file, NVlabs original (.pth), .dduf pipeline, repository or snapshot directory.",
            valueName: "model"),
        completion: .file())
    var model: String

    @Option(
        help: ArgumentHelp(
            "Component whose weights digest to show (default: the Sana transformer, else the ControlNet).",
            valueName: "directory"))
    var subfolder: String?

    @Option(help: "Variant whose weights digest to show, such as fp16 (default: the only one).")
    var variant: String?

    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var verbosity: VerbosityOptions

    func run() throws {
        let path = try ModelPath.resolve(model)
        guard path.isFolder || !path.pathExists || subfolder == nil && variant == nil else {
            throw UsageError(
                "\(path.printable) is a file: --subfolder and --variant apply to directories",
                remedy: "leave them out, or give the directory")
        }
        let workers = threads.makePool()
        let start = ContinuousClock.now
        let progress = ProgressLine("digest")
        defer { progress.finish() }
        let findings = try digests(path, workers) { progress.update($0, of: $1) }
        progress.finish()
        let report = DigestReport(
            model: model, archive: findings.archive?.manifest, files: findings.files,
            weightsDigest: findings.digest, byteCount: findings.byteCount,
            seconds: (ContinuousClock.now - start).inSeconds)
        try format.show(
            ResultDocument(.digest, report.json), text: report.text, markdown: report.markdown)
        try judge(findings, path)
    }

    private struct Findings {
        /// Whose hashes are right.
        var archive: Archive?
        var files: FileDigests?
        var digest: String?
        /// Why there is no digest.
        var obstacle: (any DiagnosticError)?
        var byteCount = 0
    }

    /// Hashes all there is; what is wrong with files or weights is kept for after the table.
    private func digests(
        _ path: String, _ workers: WorkerPool, progress: (Int, Int) -> Void
    ) throws -> Findings {
        var found = Findings()
        if OpenedFile.isArchive(path), let opened = try verifiedArchive(path, workers) {
            (found.archive, found.digest) = (opened, opened.manifest?.weightsDigest)
            found.byteCount = opened.contentByteCount
            return found
        }
        let files =
            path.isFolder
            ? try FileDigests.run(folder: path, workers: workers, progress: progress)
            : try FileDigests.run(file: path, workers: workers)
        guard !files.entries.isEmpty else {
            throw BadDataError(
                file: path, reason: "no files in this directory",
                remedy: "give a repository, a snapshot directory or a file")
        }
        found.files = files
        found.byteCount = files.entries.reduce(0) { $0 + $1.byteCount }
        guard path.isFolder || files.entries.allSatisfy({ !$0.isWrong }) else { return found }
        do {
            found.digest =
                path.isFolder
                ? try weightsDigest(inFolder: path, workers)
                : try WeightsDigest.compute(Checkpoint.weights(inFile: path), workers: workers)
        } catch let error as any DiagnosticError {
            found.obstacle = error
        }
        return found
    }

    /// The archive, every tensor of it compared with its hash; `nil` where it is broken.
    private func verifiedArchive(_ path: String, _ workers: WorkerPool) throws -> Archive? {
        do {
            let archive = try Archive(path: path)
            try archive.verify(using: workers)
            return archive
        } catch let error as any DiagnosticError where error.category == .badData {
            return nil
        }
    }

    /// Reports every file that is wrong.
    ///
    /// - Throws: the exit code of a failed check, or why weights have no digest.
    private func judge(_ findings: Findings, _ path: String) throws {
        let entries = findings.files?.entries ?? []
        for entry in entries {
            if let problem = entry.problem { Console.message("sana-tools: \(problem)") }
            let file = path.isFolder ? path.appendingPath(entry.name) : path
            guard let error = entry.error(file) else { continue }
            // Of a wrong hash an inspection shows nothing more.
            Console.report(entry.own.fault == nil ? error : ModelFault.of(model, error))
        }
        guard !entries.contains(where: { $0.isWrong || $0.problem != nil }) else {
            throw ExitCode.checkFailed
        }
        guard let obstacle = findings.obstacle else { return }
        if let error = obstacle as? QuantizationError {
            return Console.note("sana-tools: no digest of the weights: \(error.description)")
        }
        throw ModelFault.of(model, obstacle)
    }

    /// The digest of the weights in a directory; `nil` where it holds none, or several and none is
    /// chosen.
    private func weightsDigest(inFolder path: String, _ workers: WorkerPool) throws -> String? {
        guard try subfolder != nil || Self.holdsModel(path) else { return nil }
        if variant == nil {
            let folder = try Checkpoint.componentFolder(path, subfolder: subfolder)
            let all = try WeightFiles.candidates(
                in: folder.folderEntries(), folder: folder,
                stem: NetworkClass.stem(
                    beside: try? JSONFile.read(folder.appendingPath("config.json"))))
            if all.count > 1 {
                let list = all.map { $0.variant ?? "(none)" }.joined(separator: ", ").printable
                Console.note(
                    "sana-tools: no digest of the weights: there are several variants (\(list)); "
                        + "choose one with --variant")
                return nil
            }
        }
        if let archive = try OpenedModel.archivePath(path, subfolder: subfolder) {
            let opened = try OpenedFile.archive(archive)
            return try opened.manifest?.weightsDigest
                ?? WeightsDigest.compute(opened, workers: workers)
        }
        let checkpoint = try Checkpoint.open(path, subfolder: subfolder, variant: variant)
        return try WeightsDigest.compute(checkpoint.source, workers: workers)
    }

    /// Whether a directory should open as a Sana model: other components have no weights digest.
    private static func holdsModel(_ folder: String) throws -> Bool {
        if Repository.exists(folder) { return true }
        let config = folder.appendingPath("config.json")
        guard config.pathExists else { return false }
        return try JSONFile.read(config, allowsNonFinite: true)["_class_name"]?.string
            .flatMap(NetworkClass.named) != nil
    }
}
