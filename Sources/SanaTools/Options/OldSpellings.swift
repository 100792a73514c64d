/// Renamed options: the old names still work, but no help shows them.
enum OldSpellings {
    /// By command, the old and the new name.
    static let options: [String: [String: String]] = [
        "convert": ["--rules": "--rule-file", "--components": "--other-components"],
        "verify": ["--tolerances": "--tolerance-file"],
    ]

    /// The command line with the current names.
    static func replaced(in arguments: [String]) -> [String] {
        guard let command = arguments.first, let names = options[command] else { return arguments }
        let given = arguments.prefix { $0 != "--" }.map { argument in
            let parts = argument.split(
                separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let first = parts.first, let name = names[String(first)] else { return argument }
            return parts.count == 1 ? name : "\(name)=\(parts[1])"
        }
        return given + arguments.dropFirst(given.count)
    }
}
