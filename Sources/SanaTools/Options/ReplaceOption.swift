import ArgumentParser

/// Whether a file that is there may be written over.
struct ReplaceOption: ParsableArguments {
    @Flag(help: "Replace an existing output.")
    var force = false
}
