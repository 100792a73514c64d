import CSignalCleanup
import Foundation
import SanaModel

/// Inspect, convert, verify, profile, gate, report: what `nightly` does, with one verdict.
///
/// Every step is a process of its own: one that crashes or runs out of memory is a step that
/// failed, and the night goes on.
package struct Night {
    package let project: ProjectFile
    /// Directory for the logs, the report and the other files.
    package let folder: String
    /// Arguments of every command that takes `--threads`.
    package let threads: [String]
    /// Arguments of every command that reads or writes the history.
    package let database: [String]
    /// Arguments of `profile`.
    package let profile: [String]
    /// Arguments of `history gate` and `history report`.
    package let gate: [String]
    /// Told of each step that begins.
    package var begins: (String) -> Void = { _ in }

    package init(
        project: ProjectFile, folder: String, threads: [String], database: [String],
        profile: [String], gate: [String], begins: @escaping (String) -> Void = { _ in }
    ) {
        (self.project, self.folder, self.threads) = (project, folder, threads)
        (self.database, self.profile, self.gate, self.begins) = (database, profile, gate, begins)
    }

    package var reportPath: String { folder.appendingPath("report.html") }

    /// - Throws: `FileError` where the directory or a log cannot be written.
    package func run(model: String) throws -> NightOutcomeReport {
        try FileManager.default.createFolder(folder)
        var steps = [try step("inspect", ["inspect", model] + threads)]
        steps.append(
            project.dtypes.isEmpty
                ? notRun("convert", "no dtype: in \(ProjectFile.name)")
                : try step("convert", ["convert"] + threads))
        steps.append(try verify())
        steps.append(try step("profile", ["profile"] + profile + threads + database))
        let failed = steps.compactMap(\.failure).flatMap { ["--failed", $0] }
        let gate = try step("gate", ["history", "gate"] + self.gate + database + failed)
        let report = try step(
            "report",
            ["history", "report", "--output", reportPath] + pictures + self.gate + database + failed
        )
        return NightOutcomeReport(
            project: project.label, steps: steps + [gate, report],
            headline: gate.exitCode < 64 ? gate.summary : nil,
            reportPath: report.exitCode == 0 ? reportPath : nil)
    }

    private var picturePath: String { folder.appendingPath("samples.png") }
    private var pictures: [String] {
        picturePath.pathExists ? ["--picture", picturePath] : []
    }

    private func verify() throws -> NightStep {
        try? FileManager.default.removeItem(atPath: picturePath)
        guard !project.references.isEmpty || !project.trajectories.isEmpty else {
            return notRun("verify", "no references: in \(ProjectFile.name)")
        }
        let pictures = project.trajectories.isEmpty ? [] : ["--pictures", picturePath]
        return try step(
            "verify",
            ["verify", "--summary", "--junit", folder.appendingPath("verify.xml")] + pictures
                + threads + database)
    }

    private func notRun(_ name: String, _ reason: String) -> NightStep {
        NightStep(name: name, outcome: .notRun, seconds: 0, summary: reason, log: nil)
    }

    /// Runs this program with other arguments, its output going to a log.
    private func step(_ name: String, _ arguments: [String]) throws -> NightStep {
        begins(name)
        let start = ContinuousClock.now
        let log = folder.appendingPath("\(name).log")
        let process = Process()
        process.executableURL = URL(
            fileURLWithPath: Bundle.main.executablePath ?? "/proc/self/exe")
        process.arguments = arguments
        process.environment = ChildProcess.environment
        process.standardInput = FileHandle.nullDevice
        let files = try (Self.emptied(log), Self.emptied(log + ".errors"))
        (process.standardOutput, process.standardError) = files
        defer { signal_cleanup_set_child(0) }
        do { try process.run() } catch {
            throw UsageError("cannot run \(name): \(error.localizedDescription)")
        }
        signal_cleanup_set_child(process.processIdentifier)
        process.waitUntilExit()
        let outcome: NightStep.Outcome =
            process.terminationReason == .exit
            ? .ended(process.terminationStatus) : .signal(process.terminationStatus)
        let (output, errors) = (Self.content(log), Self.content(log + ".errors"))
        try files.0.write(contentsOf: Data(errors.utf8))
        try? FileManager.default.removeItem(atPath: log + ".errors")
        return NightStep(
            name: name, outcome: outcome, seconds: (ContinuousClock.now - start).inSeconds,
            summary: Self.summary(name, outcome, output, errors), log: log)
    }

    /// The line that says most: the error of what could not be done, else the result's.
    private static func summary(
        _ name: String, _ outcome: NightStep.Outcome, _ output: String, _ errors: String
    ) -> String {
        let mark = "sana-tools: error: "
        let error = errors.split(separator: "\n").last { $0.hasPrefix(mark) }
        switch outcome {
        case .signal(let number): return "ended by signal \(number)"
        case .ended(let code) where code >= 64:
            return error.map { String($0.dropFirst(mark.count)) } ?? "exit code \(code)"
        default: break
        }
        let lines = output.split(separator: "\n").map(String.init)
        if name == "profile" { return lines.first ?? "" }
        if name == "report" { return "written" }
        return lines.last ?? ""
    }

    private static func emptied(_ path: String) throws -> FileHandle {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw FileError(.create, path, code: errno) }
        return FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    }

    private static func content(_ path: String) -> String {
        let data = try? Data(contentsOf: URL(fileURLWithPath: path))
        return String(decoding: data ?? Data(), as: UTF8.self)
    }
}
