import Foundation

/// A program that runs beside the tests.
///
/// Foundation's `Process` learns of an end through a socket, which programs that are started at the
/// same moment can inherit, and may then wait for good. Here the thread that asks waits for its own
/// child, and for a limited time.
public final class SpawnedProcess {
    public let processIdentifier: pid_t
    private let command: String
    private let deadline: ContinuousClock.Instant
    /// As of wait(2), once the program has ended.
    private var status: Int32?

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - environment: added to that of this process.
    ///   - folder: the current folder of the program; that of this process where `nil`.
    ///   - output: a file of this process; `/dev/null` where `nil`, as with the other two.
    ///   - limit: when the program is killed.
    /// - Throws: `POSIXError` where no process can be started; a program that is not there exits
    ///   with 127.
    public init(
        _ executable: String, _ arguments: [String], environment: [String: String] = [:],
        in folder: String? = nil, input: FileHandle? = nil, output: FileHandle? = nil,
        errors: FileHandle? = nil, limit: Duration = .seconds(600)
    ) throws {
        let started = [executable] + arguments
        command = started.joined(separator: " ")
        deadline = .now + limit
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for (number, file) in zip(Int32(0)..., [input, output, errors]) {
            if let file {
                posix_spawn_file_actions_adddup2(&actions, file.fileDescriptor, number)
            } else {
                posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0)
            }
        }
        // A test run in the background, or one that ignores broken pipes, would hand that down.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        for signal in [SIGINT, SIGQUIT, SIGPIPE] { sigaddset(&signals, signal) }
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))

        let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        var argv = (["env", "--chdir", folder ?? "."] + started).map { strdup($0) } + [nil]
        var envp = variables.map { strdup("\($0)=\($1)") } + [nil]
        defer { for string in argv + envp { free(string) } }
        var child = pid_t()
        let refusal = posix_spawn(&child, "/usr/bin/env", &actions, &attributes, &argv, &envp)
        guard refusal == 0 else { throw POSIXError(POSIXErrorCode(rawValue: refusal) ?? .EIO) }
        processIdentifier = child
    }

    deinit {
        guard isRunning else { return }
        kill(processIdentifier, SIGKILL)
        waitpid(processIdentifier, nil, 0)
    }

    /// Whether the program has not ended; past its limit it is killed.
    public var isRunning: Bool {
        guard status == nil else { return false }
        if ContinuousClock.now >= deadline {
            FileHandle.standardError.write(Data("killed, since it did not end: \(command)\n".utf8))
            kill(processIdentifier, SIGKILL)
            status = wait(0)
        } else {
            status = wait(WNOHANG)
        }
        return status == nil
    }

    public func waitUntilExit() {
        var pause: useconds_t = 500
        while isRunning {
            usleep(pause)
            pause = min(pause * 2, 20_000)
        }
    }

    /// The exit code once the program has ended; `nil` before, and where a signal ended it.
    public var exitCode: Int32? {
        guard !isRunning, let status, status & 0x7F == 0 else { return nil }
        return (status >> 8) & 0xFF
    }

    /// The signal that ended the program.
    public var signal: Int32? {
        guard !isRunning, let status, status & 0x7F != 0 else { return nil }
        return status & 0x7F
    }

    private func wait(_ options: Int32) -> Int32? {
        var status: Int32 = 0
        while true {
            let child = waitpid(processIdentifier, &status, options)
            if child == processIdentifier { return status }
            if child == 0 { return nil }
            precondition(errno == EINTR, "waitpid(\(processIdentifier)): errno \(errno)")
        }
    }
}
