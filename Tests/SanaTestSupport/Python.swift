import Foundation

/// A Python for tests of what other programs make of our files, or we of theirs.
public enum Python {
    /// The first that can import `packages`: `SANA_TOOLS_PYTHON`, `.venv` of the repository, the
    /// system's.
    public static func having(_ packages: String) -> String? {
        let root = URL(fileURLWithPath: Fixtures.path).deletingLastPathComponent().path
        let chosen = ProcessInfo.processInfo.environment["SANA_TOOLS_PYTHON"]
        let pythons = [chosen, root + "/.venv/bin/python", "/usr/bin/python3"].compactMap { $0 }
        return pythons.first { path in
            let imports = try? SpawnedProcess(path, ["-c", "import \(packages)"])
            imports?.waitUntilExit()
            return imports?.exitCode == 0
        }
    }
}
