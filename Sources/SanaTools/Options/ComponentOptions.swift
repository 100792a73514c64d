import ArgumentParser
import SanaModel
import SanaWorkbench

/// Components of a pipeline that are elsewhere.
struct ComponentOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Load a component from another directory, file, archive or repository. Repeatable.",
            valueName: "name=path"))
    var component: [String] = []

    /// Components by name.
    ///
    /// - Throws: `UsageError`.
    func places() throws -> [String: String] {
        var places: [String: String] = [:]
        for text in component {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[1].isEmpty else {
                throw UsageError(
                    "--component \(text.printable) is not name=path",
                    remedy: "write it as --component transformer=path/to/transformer")
            }
            guard places.updateValue(String(parts[1]), forKey: String(parts[0])) == nil else {
                throw UsageError("--component \(parts[0].description.printable) is given twice")
            }
        }
        return places
    }
}
