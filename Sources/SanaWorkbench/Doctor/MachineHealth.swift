import Foundation
import GRDB
import SanaModel
import SanaQuant

/// What this machine offers.
package enum MachineHealth {
    package static var checks: [HealthCheck] { machine + libraries + [cache] }

    private static var machine: [HealthCheck] {
        let machine = Machine.current
        let kernels = Arithmetic.available.joined(separator: ", ")
        return [
            HealthCheck(
                "machine", "CPU",
                "\(machine.cpu), \(Format.counted(machine.processors, "CPU")), \(machine.system)"),
            HealthCheck(
                "machine", "kernels",
                "\(Arithmetic.description), of \(kernels)"
                    + (Arithmetic.hasFastBF16 ? "; bf16 matmuls in hardware" : "")),
            HealthCheck("machine", "threads", threads(of: machine.processors)),
            HealthCheck("machine", "memory", Format.bytes(machine.memoryBytes)),
        ]
    }

    private static func threads(of processors: Int) -> String {
        let (threads, quota) = (WorkerPool.processorCount, WorkerPool.quota)
        let limit =
            if let quota {
                "CPU quota of the control group: \(quota)"
            } else {
                "no CPU quota" + (threads < processors ? ", limited by an affinity mask" : "")
            }
        return "\(threads) of \(Format.counted(processors, "CPU")), \(limit)"
    }

    private static var libraries: [HealthCheck] {
        var checks = [
            HealthCheck("libraries", "zstd", LinkedLibraries.zstdVersion),
            HealthCheck("libraries", "libpng", PNGImage.libraryVersion),
        ]
        let sqlite = try? DatabaseQueue().read {
            try String.fetchOne($0, sql: "SELECT sqlite_version()")
        }
        checks.append(
            sqlite.flatMap { $0 }.map { HealthCheck("libraries", "SQLite", $0) }
                ?? HealthCheck("libraries", "SQLite", .error, "does not open a database"))
        do {
            try Arithmetic.prepare(for: WorkerPool(threadCount: 1), needsBLAS: true)
            checks.append(
                HealthCheck(
                    "libraries", "OpenBLAS",
                    "\(Arithmetic.blasVersion ?? "unknown version"), core \(Arithmetic.blasCore)"))
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
