import ArgumentParser
import SanaModel
import SanaWorkbench

/// `sana-tools doctor`
struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check this machine and the project.",
        discussion: """
            Shows the CPU, the kernels chosen for it, threads and quota, library versions and \
            cache directories. In a project, it also opens the model; reads every golden, \
            trajectory and calibration that sana-tools.yaml names; compares them and the archives \
            with the model's weights; and checks that the database can be written. Writes nothing.

            EXAMPLES
              sana-tools doctor
              sana-tools doctor --format json

            EXIT CODES
              0  no errors
              1  errors
            """)

    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var database: DatabaseOption
    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption

    func run() throws {
        let report = DoctorReport(checks: MachineHealth.checks + projectChecks())
        try format.show(
            ResultDocument(.doctor, report.json), text: report.text, markdown: report.markdown)
        if !report.isHealthy { throw ExitCode.checkFailed }
    }

    private func projectChecks() -> [HealthCheck] {
        do {
            guard let project = try ProjectFile.find() else {
                return [
                    HealthCheck(
                        "project", "project file", .warning,
                        "no \(ProjectFile.name) in this directory or a parent",
                        hint: "'sana-tools init' writes one")
                ]
            }
            return ProjectHealth(
                project: project, workers: threads.makePool(), open: { try modelOptions.open($0) },
                database: database.path(project)
            ).checks
        } catch {
            let known = error as? any DiagnosticError
            return [
                HealthCheck(
                    "project", "project file", .error,
                    known?.description ?? "\(error)".printable, hint: known?.hint)
            ]
        }
    }
}
