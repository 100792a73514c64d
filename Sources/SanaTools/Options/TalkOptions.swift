import ArgumentParser
import SanaWorkbench

/// How much a command says on stderr.
struct TalkOptions: ParsableArguments {
    @Flag(name: .shortAndLong, help: "Suppress progress and notes on stderr.")
    var quiet = false
}

/// A command that says what it does while it works.
protocol TalkingCommand: ParsableCommand {
    var talk: TalkOptions { get }
}
