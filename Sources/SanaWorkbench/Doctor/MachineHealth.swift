import Foundation
import GRDB
import SanaModel
import SanaQuant

/// What this machine offers.
package enum MachineHealth {
    package static var checks: [HealthCheck] { machine + libraries + [cache] }

    private static var machine: [HealthCheck] {
        let machine = Machine.current
        let threads = WorkerPool.processorCount
        let kernels = Arithmetic.available.joined(separator: ", ")
        let limit =
            threads < machine.processors
            ? ", limited by a control group or an affinity mask" : ""
        return [
            HealthCheck(
                "machine", "CPU",
                "\(machine.cpu), \(Format.counted(machine.processors, "CPU")), \(machine.system)"),
            HealthCheck(
                "machine", "kernels",
                "\(Arithmetic.description), of \(kernels)"
                    + (Arithmetic.hasFastBF16 ? "; bf16 matmuls in hardware" : "")),
            HealthCheck("machine", "threads", "\(threads)\(limit)"),
            HealthCheck("machine", "memory", Format.bytes(machine.memoryBytes)),
        ]
    }

    private static var libraries: [HealthCheck] {
        var checks = [HealthCheck("libraries", "zstd", LinkedLibraries.zstdVersion)]
        let sqlite = try? DatabaseQueue().read {
            try String.fetchOne($0, sql: "SELECT sqlite_version()")
        }
        checks.append(
            sqlite.flatMap { $0 }.map { HealthCheck("libraries", "SQLite", $0) }
                ?? HealthCheck("libraries", "SQLite", .error, "does not open a database"))
        do {
            try Arithmetic.prepare(for: WorkerPool(threadCount: 1), needsBLAS: true)
            checks.append(
                HealthCheck("libraries", "OpenBLAS", "loads, core \(Arithmetic.blasCore)"))
        } catch {
            checks.append(
                HealthCheck(
                    "libraries", "OpenBLAS", .error, error.description.printable,
                    hint: "install libopenblas0"))
        }
        return checks
    }

    private static var cache: HealthCheck {
        let path = HubCache().path
        guard path.isFolder else {
            return HealthCheck(
                "machine", "Hugging Face cache",
                "\(path.printable) does not exist; models are then opened by path only")
        }
        let models = (try? path.folderEntries())?.count { $0.hasPrefix("models--") } ?? 0
        return HealthCheck(
            "machine", "Hugging Face cache",
            "\(path.printable), \(Format.counted(models, "model"))")
    }
}
