import ArgumentParser
import SanaWorkbench

/// How much a command writes to stderr.
struct VerbosityOptions: ParsableArguments {
    @Flag(name: .shortAndLong, help: "Suppress progress and notes on stderr.")
    var quiet = false
}

/// A command that reports its progress.
protocol QuietableCommand: ParsableCommand {
    var verbosity: VerbosityOptions { get }
}
