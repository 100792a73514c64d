import Foundation

/// What Linux's control groups, version 2, leave a process of the processors' time; Foundation
/// knows of version 1 and of affinities alone.
///
/// Source: the kernel's `Documentation/admin-guide/cgroup-v2.rst`, `cpu.max`.
enum ProcessorQuota {
    /// Whole processors that this process may use at a time, at least 1; `nil` without a limit.
    static var count: Int? {
        guard let groups = try? String(contentsOfFile: "/proc/self/cgroup", encoding: .utf8),
            let line = groups.split(separator: "\n").first(where: { $0.hasPrefix("0::") })
        else { return nil }
        return count(of: String(line.dropFirst(3)), below: "/sys/fs/cgroup")
    }

    /// The least that `group` and the groups around it allow. In a container the mounted tree may
    /// begin below the path that the process is told: what is not there sets no limit.
    static func count(of group: String, below root: String) -> Int? {
        var parts = group.split(separator: "/")[...]
        var least: Int?
        while true {
            let file = ([root] + parts.map(String.init) + ["cpu.max"]).joined(separator: "/")
            if let text = try? String(contentsOfFile: file, encoding: .utf8),
                let count = processors(text)
            {
                least = min(least ?? count, count)
            }
            if parts.popLast() == nil { return least }
        }
    }

    /// `QUOTA PERIOD`, both in microseconds, or `max PERIOD`. Rounded down: workers that run at the
    /// same time wait for the one that is held back.
    static func processors(_ text: String) -> Int? {
        let numbers = text.split(whereSeparator: \.isWhitespace).map { Int($0) }
        guard numbers.count == 2, let quota = numbers[0], let period = numbers[1], quota > 0,
            period > 0
        else { return nil }
        return max(1, quota / period)
    }
}
