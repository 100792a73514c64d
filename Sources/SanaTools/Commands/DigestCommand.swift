import ArgumentParser
import SanaModel
import SanaQuant

/// `sana-tools digest`
struct DigestCommand: TalkingCommand {
    static let configuration = CommandConfiguration(
        commandName: "digest",
        abstract: "Check files against the hashes they carry, and show the digest of the weights.",
        discussion: """
            An archive is decoded and every tensor compared with the hash in its manifest. The files of a Hugging Face \
            snapshot (or of a folder made by 'hf download --local-dir') are compared with the hashes that the cache knows \
            them by: SHA-256 for large files, git's SHA-1 for small ones. Every entry of a file of torch.save (.pth, .pt, .ckpt) and of \
            a .dduf pipeline is compared with the CRC-32 that the file has of it. Other files are hashed with SHA-256 for you to \
            compare.

            Works offline. Exit code 65 when a hash is not what it should be, 1 when the CRC-32 of an entry is not or a file cannot \
            be read, as behind a link that leads nowhere; the others are shown all the same.

            EXAMPLES
              sana-tools digest model-int8.safetensors.zst
              sana-tools digest ~/.cache/huggingface/hub/models--org--name/snapshots/REVISION
              sana-tools digest org/name@REVISION
              sana-tools digest Sana_1600M_1024px.pth
              sana-tools digest path/to/repo --format json
            """)

    @Argument(
        help: ArgumentHelp(
            "Archive, .safetensors file, NVlabs original (.pth), .dduf pipeline, repository or snapshot folder.",
            valueName: "model"),
        completion: .file())
    var model: String

    @Option(
        help: ArgumentHelp(
            "Component of a repository whose weights digest to show (default: the Sana transformer, else the ControlNet).",
            valueName: "folder"))
    var subfolder: String?

    @Option(help: "Weights variant whose digest to show, such as fp16 (default: the only one).")
    var variant: String?

    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var talk: TalkOptions

    func run() throws {
        let path = try ModelPath.resolve(model)
        guard path.isFolder || !path.pathExists || subfolder == nil && variant == nil else {
            throw UsageError(
                "\(path.printable) is a file: --subfolder and --variant choose among a folder's",
                remedy: "leave them out, or give the folder")
        }
        let workers = threads.makePool()
        let start = ContinuousClock.now
        let progress = ProgressLine("digest")
        defer { progress.finish() }
        var (archive, files): (Archive?, FileDigests?)
        var digest: String?
        let byteCount: Int
        if OpenedFile.isArchive(path) {
            let opened = try Archive(path: path)
            try opened.verify(using: workers)
            (archive, digest) = (opened, opened.manifest?.weightsDigest)
            byteCount = opened.contentByteCount
        } else if path.isFolder {
            let found = try FileDigests.run(
                folder: path, workers: workers, progress: { progress.update($0, of: $1) })
            guard !found.entries.isEmpty else {
                throw BadDataError(
                    file: path, reason: "no files in this folder",
                    remedy: "give a repository, a snapshot folder or a file")
            }
            files = found
            byteCount = found.entries.reduce(0) { $0 + $1.byteCount }
            digest =
                found.unreadable.isEmpty
                ? try weightsDigest(inFolder: path, workers)
                : try? weightsDigest(inFolder: path, workers)
        } else {
            let found = try FileDigests.run(file: path, workers: workers)
            files = found
            if found.entries.allSatisfy(\.own.damages.isEmpty) {
                digest = try WeightsDigest.compute(
                    Checkpoint.weights(inFile: path), workers: workers)
            }
            byteCount = try ByteView(mapping: path).count
        }
        progress.finish()
        let report = DigestReport(
            model: model, archive: archive?.manifest, files: files, weightsDigest: digest,
            byteCount: byteCount, seconds: (ContinuousClock.now - start).inSeconds)
        try format.show(json: report.json, text: report.text, markdown: report.markdown)
        for file in files?.unreadable ?? [] {
            Console.talk("sana-tools: \(file.problem ?? "")")
        }
        guard let wrong = files?.entries.first(where: \.isWrong) else {
            if files?.unreadable.isEmpty == false { throw ExitCode.checkFailed }
            return
        }
        let file = path.isFolder ? path.appendingPath(wrong.name) : path
        if let damage = wrong.own.damages.first {
            let others = wrong.own.damages.count - 1
            Console.report(
                BadDataError(
                    file: file,
                    reason: "entry '\(damage.entry.printable)' has CRC-32 "
                        + "\(damage.found.hexadecimal), and the file says "
                        + damage.stated.hexadecimal
                        + (others > 0
                            ? "; \(others) more \(others == 1 ? "entry is" : "entries are") damaged"
                            : ""),
                    remedy: "download the file again"))
            throw ExitCode.checkFailed
        }
        throw BadDataError(
            file: file,
            reason: "has hash \(wrong.hash?.text ?? ""), and the cache or the download says "
                + (wrong.expected?.text ?? ""),
            remedy: "delete the file and download it again")
    }

    /// The digest of the weights in a folder; `nil` where it holds none, or several and none is
    /// chosen.
    private func weightsDigest(inFolder path: String, _ workers: WorkerPool) throws -> String? {
        guard try subfolder != nil || Self.holdsModel(path) else { return nil }
        if variant == nil {
            let folder = try Checkpoint.componentFolder(path, subfolder: subfolder)
            let all = try WeightFiles.candidates(in: folder.folderEntries(), folder: folder)
            if all.count > 1 {
                let list = all.map { $0.variant ?? "(none)" }.joined(separator: ", ").printable
                Console.note(
                    "sana-tools: no digest of the weights: there are several variants (\(list)); "
                        + "choose one with --variant")
                return nil
            }
        }
        return try OpenedModel.open(path, subfolder: subfolder, variant: variant)
            .sourceDigest(workers: workers)
    }

    /// Whether a folder should open as a Sana model: other components have no weights digest.
    private static func holdsModel(_ folder: String) throws -> Bool {
        if Repository.exists(folder) { return true }
        let config = folder.appendingPath("config.json")
        guard config.pathExists else { return false }
        return try JSONFile.read(config, allowsNonFinite: true)["_class_name"]?.string
            .flatMap(SanaConfig.ModelClass.init) != nil
    }
}

extension UInt32 {
    /// Eight digits.
    fileprivate var hexadecimal: String {
        let digits = String(self, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}
