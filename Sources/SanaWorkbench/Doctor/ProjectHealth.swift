import Foundation
import Libc
import SanaModel
import SanaQuant

/// Whether what sana-tools.yaml names is there, readable and current.
package struct ProjectHealth {
    package let project: ProjectFile
    package let workers: WorkerPool
    /// Opens a MODEL, as every command does.
    package let open: (String) throws -> OpenedModel
    /// Where runs are recorded.
    package let database: String

    package init(
        project: ProjectFile, workers: WorkerPool, open: @escaping (String) throws -> OpenedModel,
        database: String
    ) {
        (self.project, self.workers, self.open, self.database) = (project, workers, open, database)
    }

    package var checks: [HealthCheck] {
        var checks = [ok("project file", project.label)]
        let (model, digest) = openedModel
        checks.append(model)
        checks += references(project.references, "golden", digest)
        checks += references(project.trajectories, "trajectory", digest)
        checks += project.calibrations.map(calibration)
        if let digest { checks += project.promisedArchives.map { archive($0, digest) } }
        if project.references.isEmpty, project.trajectories.isEmpty {
            checks.append(
                HealthCheck(
                    "project", "goldens", .warning, "none named, so nothing can be verified",
                    hint: "record one with 'sana-tools capture', and list it in references:"))
        }
        return checks + [databaseCheck]
    }

    private var openedModel: (HealthCheck, digest: String?) {
        guard let name = project.model else {
            let hint = "name one with model:"
            return (HealthCheck("project", "model", .error, "none named", hint: hint), nil)
        }
        do {
            let model = try open(name)
            let digest = try model.sourceDigest(workers: workers)
            let type = model.configJSON["_class_name"]?.string ?? "unknown class"
            let size = Format.counted(model.source.tensors.count, "tensor")
            return (
                ok("model", "\(name.printable), \(type.printable), \(size)"), digest
            )
        } catch { return (failure("model", error), nil) }
    }

    /// Files of `patterns`, each read whole and compared with the model's weights.
    private func references(_ patterns: [String], _ name: String, _ digest: String?)
        -> [HealthCheck]
    {
        patterns.flatMap { pattern -> [HealthCheck] in
            do {
                return try Reference.expand([pattern]).map { try reference($0, name, digest) }
            } catch let error as any DiagnosticError where error.category == .noInput {
                return [
                    HealthCheck(
                        "project", name, .error, error.description,
                        hint: "record one with 'sana-tools capture'")
                ]
            } catch { return [failure(name, error)] }
        }
    }

    private func reference(_ path: String, _ name: String, _ digest: String?) throws -> HealthCheck
    {
        let (_, metadata) = try OpenedFile.open(path)
        guard let text = metadata["contract"], let contract = try? JSONScanner.parse(text) else {
            return HealthCheck(
                "project", name, .error, "\(path.printable) has no contract",
                hint: "record it again with 'sana-tools capture'")
        }
        guard let digest, let its = contract["weights"]?["digest"]?.string else {
            return ok(name, "\(path.printable), weights not compared")
        }
        guard its == digest else {
            return HealthCheck(
                "project", name, .error, "\(path.printable) is stale: recorded from other weights",
                hint: "record it again with 'sana-tools capture'")
        }
        return ok(name, path.printable)
    }

    private func calibration(_ path: String) -> HealthCheck {
        do {
            let layers = try Calibration(path: path).layers.count
            return ok("tolerances", "\(path.printable), \(Format.counted(layers, "layer"))")
        } catch { return failure("tolerances", error) }
    }

    private func archive(_ path: String, _ digest: String) -> HealthCheck {
        guard path.pathExists else {
            return HealthCheck(
                "project", "archive", .warning, "\(path.printable) does not exist yet",
                hint: "run 'sana-tools convert'")
        }
        do {
            guard try open(path).sourceDigest(workers: workers) == digest else {
                return HealthCheck(
                    "project", "archive", .error,
                    "\(path.printable) is stale: made from other weights",
                    hint: "run 'sana-tools convert'")
            }
            return ok("archive", path.printable)
        } catch { return failure("archive", error) }
    }

    /// Looks without writing: opening a history to write would migrate an old one.
    private var databaseCheck: HealthCheck {
        var folder = database.parentFolder
        guard database.pathExists else {
            while !folder.pathExists, folder != folder.parentFolder { folder = folder.parentFolder }
            return access(folder.isEmpty ? "." : folder, W_OK | X_OK) == 0
                ? ok("database", "\(database.printable) does not exist yet and can be created")
                : unwritable
        }
        do {
            let runs = try HistoryStore(path: database, creating: false).runs(limit: 1)
            // SQLite makes its journal next to the file.
            guard access(database, W_OK) == 0, access(folder.isEmpty ? "." : folder, W_OK) == 0
            else { return unwritable }
            let newest = runs.first.map { "newest run \($0.joined.id)" } ?? "no runs"
            return ok("database", "\(database.printable), \(newest), writable")
        } catch { return failure("database", error) }
    }

    private var unwritable: HealthCheck {
        HealthCheck(
            "project", "database", .error, "\(database.printable) cannot be written",
            hint: "check the permissions of the file and its directory")
    }

    private func ok(_ name: String, _ detail: String) -> HealthCheck {
        HealthCheck("project", name, detail)
    }

    private func failure(_ name: String, _ error: any Error) -> HealthCheck {
        let known = error as? any DiagnosticError
        return HealthCheck(
            "project", name, .error, known?.description ?? "\(error)".printable,
            hint: known?.hint)
    }
}
