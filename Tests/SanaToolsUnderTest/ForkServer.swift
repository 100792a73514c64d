import Foundation

/// Runs many commands without starting a process for each, for the tests that feed them broken
/// files.
///
/// Each line of stdin is one run: seconds of processor time, bytes of new data, then the arguments,
/// separated by tabs. A child of this process runs them as if they had been the command line, its
/// output and talk going to the files `stdout` and `stderr` of the current folder. The answer is a
/// line: wait status, peak resident bytes, microseconds of processor time.
enum ForkServer {
    static let variable = "SANA_TOOLS_FORK_SERVER"
    /// Seconds on the clock after which a child that only waits is ended by SIGALRM.
    private static let patience: UInt32 = 60

    static var isWanted: Bool { getenv(variable) != nil }

    static func serve(_ run: ([String]) -> Never) -> Never {
        while let line = readLine() {
            let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
            guard fields.count > 2, let seconds = UInt(fields[0]), let bytes = UInt(fields[1])
            else { _exit(64) }
            let child = fork()
            guard child >= 0 else { _exit(71) }
            if child == 0 {
                redirect(1, "stdout")
                redirect(2, "stderr")
                alarm(patience)
                limit(__rlimit_resource_t(RLIMIT_CPU.rawValue), seconds)
                limit(__rlimit_resource_t(RLIMIT_DATA.rawValue), dataBytes + bytes)
                limit(__rlimit_resource_t(RLIMIT_CORE.rawValue), 0)
                run(fields.dropFirst(2).map(String.init))
            }
            var (status, usage) = (Int32(0), rusage())
            while wait4(child, &status, 0, &usage) < 0, errno == EINTR {}
            let time = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec
            let micros = Int(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)
            let answer = "\(status) \(usage.ru_maxrss * 1024) \(time * 1_000_000 + micros)\n"
            _ = answer.withCString { write(1, $0, strlen($0)) }
        }
        _exit(0)
    }

    /// Bytes of private writable memory that this process has: what RLIMIT_DATA counts.
    private static var dataBytes: UInt {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmData:") }
        return (line?.split(separator: " ").dropLast().last.flatMap { UInt($0) } ?? 0) * 1024
    }

    private static func limit(_ resource: __rlimit_resource_t, _ value: UInt) {
        var limit = rlimit(rlim_cur: value, rlim_max: value)
        guard setrlimit(resource, &limit) == 0 else { _exit(71) }
    }

    private static func redirect(_ descriptor: Int32, _ path: String) {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        guard file >= 0, dup2(file, descriptor) == descriptor else { _exit(71) }
        close(file)
    }
}
