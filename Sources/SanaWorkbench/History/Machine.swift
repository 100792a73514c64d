import Foundation
import SanaModel

/// The machine that a run took place on, as far as it bears on speed.
package struct Machine: Sendable, Equatable {
    package let cpu: String
    package let processors: Int
    package let memoryBytes: Int
    package let system: String
    /// See `Arithmetic.description`.
    package let instructionSet: String

    /// Identifies machines that may be compared: the same for two of one kind, no host name in it.
    package var fingerprint: String {
        let text = "\(cpu)|\(processors)|\(memoryBytes >> 30)|\(system)|\(instructionSet)"
        return String(ContentHash.sha256(of: text).hexadecimal.prefix(16))
    }

    package static var current: Machine {
        let info = ProcessInfo.processInfo
        return Machine(
            cpu: field("model name", in: "/proc/cpuinfo") ?? "unknown",
            processors: info.activeProcessorCount, memoryBytes: Int(info.physicalMemory),
            system: info.operatingSystemVersionString, instructionSet: Arithmetic.description)
    }

    /// Largest resident memory of this process so far.
    package static var peakResidentBytes: Int {
        // What getrusage tells includes the process that started this one.
        if let text = field("VmHWM", in: "/proc/self/status"),
            let kilobytes = text.split(separator: " ").first.flatMap({ Int($0) })
        {
            return kilobytes * 1024
        }
        var usage = rusage()
        getrusage(.init(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss * 1024
    }

    /// Lets `peakResidentBytes` begin anew, where the system can.
    static func restartPeak() {
        guard let file = fopen("/proc/self/clear_refs", "w") else { return }
        fputs("5", file)
        fclose(file)
    }

    /// Memory of this process that is resident now; 0 where the system does not tell.
    package static var residentBytes: Int {
        let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
        let pages = text?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }

    private static func field(_ name: String, in path: String) -> String? {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
        let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
        return line?.split(separator: ":", maxSplits: 1).last?.trimmingCharacters(in: .whitespaces)
    }
}
