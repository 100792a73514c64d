import Foundation
import SanaModel

/// What the host has done so far, as counters whose differences tell what disturbs a measurement.
package struct HostState: Sendable {
    package let instant: ContinuousClock.Instant
    /// CPU time of this process, to the scheduler's tick.
    package let ownNanoseconds: Int
    /// CPU time of everything, hypervisor included; `nil` where the system does not tell.
    package let busyNanoseconds: Int?
    /// Part of that which the hypervisor gave to other machines.
    package let stolenNanoseconds: Int
    package let swappedPages: Int

    package static var now: HostState {
        let (busy, stolen) = processorTimes()
        return HostState(
            instant: .now, ownNanoseconds: ownProcessorTime, busyNanoseconds: busy,
            stolenNanoseconds: stolen, swappedPages: swappedPages())
    }

    /// What happened between two states.
    package struct Load: Sendable {
        package let seconds: Double
        package let cpuNanoseconds: Int
        /// Part of all processors that other processes and machines took.
        package let otherShare: Double?
        package let stolenShare: Double
        package let swappedPages: Int
    }

    package func since(_ earlier: HostState) -> Load {
        let nanoseconds = Double((instant - earlier.instant).inNanoseconds)
        let capacity = nanoseconds * Double(ProcessInfo.processInfo.activeProcessorCount)
        let own = ownNanoseconds - earlier.ownNanoseconds
        var other: Double?
        if let busy = busyNanoseconds, let before = earlier.busyNanoseconds, capacity > 0 {
            other = min(1, max(0, Double(busy - before - own) / capacity))
        }
        return Load(
            seconds: nanoseconds / 1e9, cpuNanoseconds: own, otherShare: other,
            stolenShare: capacity > 0
                ? Double(stolenNanoseconds - earlier.stolenNanoseconds) / capacity : 0,
            swappedPages: swappedPages - earlier.swappedPages)
    }

    /// Nanoseconds that all threads of this process have run, other running ones to the last tick.
    private static var ownProcessorTime: Int {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Int(time.tv_sec) * 1_000_000_000 + Int(time.tv_nsec)
    }

    /// The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal in
    /// ticks.
    private static func processorTimes() -> (busy: Int?, stolen: Int) {
        guard let line = text("/proc/stat")?.prefix(while: { $0 != "\n" }) else { return (nil, 0) }
        let ticks = line.split(separator: " ").dropFirst().compactMap { Int($0) }
        guard ticks.count >= 8 else { return (nil, 0) }
        let tick = 1_000_000_000 / max(1, Int(sysconf(Int32(_SC_CLK_TCK))))
        let busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7]
        return (busy * tick, ticks[7] * tick)
    }

    private static func swappedPages() -> Int {
        let lines = text("/proc/vmstat")?.split(separator: "\n") ?? []
        return lines.filter { $0.hasPrefix("pswpin ") || $0.hasPrefix("pswpout ") }
            .reduce(0) { $0 + (Int($1.split(separator: " ").last ?? "") ?? 0) }
    }

    private static func text(_ path: String) -> String? {
        try? String(contentsOfFile: path, encoding: .utf8)
    }
}

extension HostState.Load {
    /// Load from others that a measurement does not bear unnoticed.
    package static let tolerableLoad = 0.05

    /// What disturbed timing in this span, a sentence each.
    package func warnings(threads: Int, _ repetitions: [Profile.Repetition]) -> [String] {
        var result: [String] = []
        let loads = repetitions.compactMap(\.otherLoad)
        if let load = loads.isEmpty ? otherShare : loads.median, load > Self.tolerableLoad {
            result.append("other processes took \(Format.percent(load)) of the CPUs")
        }
        if stolenShare > 0.01 {
            result.append(
                "the hypervisor gave \(Format.percent(stolenShare)) of the CPUs to others")
        }
        let canaries = repetitions.map(\.canaryGFLOPS)
        if let low = canaries.min(), let high = canaries.max(), low < 0.85 * high {
            result.append(
                "the speed of the machine varied: its canary ran at "
                    + "\(Format.decimal(low, digits: 0))–\(Format.decimal(high, digits: 0)) GFLOP/s"
            )
        }
        let processors = WorkerPool.processorCount
        if threads > processors {
            result.append("\(threads) threads share \(processors) CPUs")
        }
        if let governor = Self.governor, governor != "performance" {
            result.append("frequency scaling is on: governor \(governor.printable)")
        }
        if swappedPages > 0 { result.append("the machine swapped \(swappedPages) pages") }
        return result
    }

    /// How the first processor's frequency is chosen; `nil` where the system does not tell.
    private static var governor: String? {
        (try? String(
            contentsOfFile: "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
