import ArgumentParser

/// How much a command says on stderr.
struct TalkOptions: ParsableArguments {
    @Flag(name: .shortAndLong, help: "No progress and no remarks on stderr, only errors.")
    var quiet = false
}

/// A command that says what it does while it works.
protocol TalkingCommand: ParsableCommand {
    var talk: TalkOptions { get }
}
