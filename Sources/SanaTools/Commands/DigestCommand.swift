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
            them by: SHA-256 for large files, git's SHA-1 for small ones. Other files are hashed with SHA-256 for you to compare.

            Works offline. Exit code 65 when anything is not what it should be, 1 when files cannot be read, as behind a link that leads \
            nowhere; the others are shown all the same.

            EXAMPLES
              sana-tools digest model-int8.safetensors.zst
              sana-tools digest ~/.cache/huggingface/hub/models--org--name/snapshots/REVISION
              sana-tools digest org/name@REVISION
              sana-tools digest path/to/repo --format json
            """)

    @Argument(
        help: ArgumentHelp(
            "Archive, .safetensors file, repository or snapshot folder.", valueName: "model"),
        completion: .file())
    var model: String

    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var talk: TalkOptions

    func run() throws {
        let path = try ModelPath.resolve(model)
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
            if !found.unreadable.isEmpty {
                digest = try? OpenedModel.open(path).sourceDigest(workers: workers)
            } else if try DigestCommand.holdsModel(path) {
                digest = try OpenedModel.open(path).sourceDigest(workers: workers)
            }
        } else {
            let found = try FileDigests.run(file: path)
            files = found
            digest = try WeightsDigest.compute(
                Checkpoint.weights(inFile: path), workers: workers)
            byteCount = try ByteView(mapping: path).count
        }
        progress.finish()
        let report = DigestReport(
            model: model, archive: archive?.manifest, files: files, weightsDigest: digest,
            byteCount: byteCount, seconds: (ContinuousClock.now - start).inSeconds)
        try format.show(json: report.json, text: report.text, markdown: report.markdown)
        if let wrong = files?.entries.first(where: \.isWrong) {
            throw BadDataError(
                file: path.isFolder ? path.appendingPath(wrong.name) : path,
                reason: "has hash \(wrong.hash?.text ?? ""), and the cache or the download says "
                    + (wrong.expected?.text ?? ""),
                remedy: "delete the file and download it again")
        }
        guard let files, !files.unreadable.isEmpty else { return }
        for file in files.unreadable {
            Console.talk("sana-tools: \(file.problem ?? "")")
        }
        throw ExitCode.checkFailed
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
