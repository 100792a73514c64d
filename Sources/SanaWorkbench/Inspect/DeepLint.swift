import SanaModel

/// Opens the other components of a pipeline: binds every tensor of those whose network is known,
/// and reads the vocabulary of the tokenizer.
package struct DeepLint {
    package private(set) var problems: [Problem] = []

    /// Problems of one component that are listed before the rest is counted.
    private static let shownCount = 10

    /// - Parameters:
    ///   - files: its weights, as far as they can be read.
    ///   - config: its `config.json`.
    package init(
        _ component: RepositoryLint.Component, _ scan: FolderScan, files: [PartialFile],
        config: JSONValue?
    ) {
        let label = scan.path
        if component.className.contains("Tokenizer"), scan.files.contains("tokenizer.json") {
            report(scan.prefix + "tokenizer.json") {
                _ = try Tokenizer(
                    content: scan.content("tokenizer.json"), path: scan.file("tokenizer.json"))
            }
        }
        guard let config, !files.isEmpty else { return }
        let stored = PartialSource(files)
        report(scan.prefix + "config.json") {
            try QuantizationCheck.require(config: config, tensors: stored.tensors, file: label)
            let source = try LogicalTensors.read(stored, config: config, file: label)
            guard NetworkClass.named(component.className) != nil else { return }
            try NetworkClass.configuration(config, file: label, source: source)
                .check(source: source, label: label)
        }
    }

    /// Runs what opens a file, and takes what is wrong with it for problems.
    private mutating func report(_ location: String, _ open: () throws -> Void) {
        do { try open() } catch let error as BindingError {
            let lines =
                error.unexpected.map { "'\($0.printable)' has no place in the network" }
                + error.missing.map { "'\($0.name.printable)' \($0.shape) is missing" }
                + error.mismatched.map {
                    "'\($0.tensor.name.printable)' is \($0.tensor.dtype.rawValue) "
                        + "\($0.tensor.shape), not \($0.expectedShape)"
                }
            problems += lines.prefix(Self.shownCount).map {
                Problem(.componentTensors, location.printable, $0)
            }
            if lines.count > Self.shownCount {
                problems.append(
                    Problem(
                        .componentTensors, location.printable,
                        "and \(lines.count - Self.shownCount) more"))
            }
        } catch let error as any DiagnosticError {
            problems.append(
                Problem(
                    .componentTensors, location.printable, error.description,
                    remedy: error.remedy))
        } catch {}
    }
}
