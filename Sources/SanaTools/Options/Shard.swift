import ArgumentParser
import SanaWorkbench

extension Shard: ExpressibleByArgument {}

/// `--shard`
struct ShardOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Process shard i of n (1-based).",
            valueName: "i/n"))
    var shard: Shard?
}
