import Foundation
import SanaModel

/// What programs that a command starts are given: nothing is looked up in the current folder, which
/// may be a stranger's.
package enum ChildProcess {
    /// Lists of directories, separated by colons, in which an empty or relative name is the current
    /// directory or one in it.
    private static let searchLists = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"]

    /// The environment with absolute directories alone in its search lists.
    package static var environment: [String: String] {
        var environment = ProcessInfo.processInfo.environment
        for name in searchLists {
            guard let list = environment[name] else { continue }
            let folders = absoluteFolders(list)
            environment[name] = folders.isEmpty ? nil : folders.joined(separator: ":")
        }
        // For Pythons that a Python starts.
        environment["PYTHONSAFEPATH"] = "1"
        return environment
    }

    /// The program that `name` means: a path as it is, a bare name from the absolute directories of
    /// PATH.
    ///
    /// - Throws: `UsageError`.
    package static func executable(
        _ name: String, path: String? = ProcessInfo.processInfo.environment["PATH"]
    ) throws -> String {
        let candidates =
            name.contains("/")
            ? [name] : absoluteFolders(path ?? "").map { $0.appendingPath(name) }
        let found = candidates.first { !$0.isFolder && access($0, X_OK) == 0 }
        guard let found, !name.isEmpty else {
            throw UsageError(
                "no interpreter '\(name.printable)'", remedy: "name one with --python")
        }
        return found
    }

    package static func absoluteFolders(_ list: String) -> [String] {
        list.split(separator: ":").filter { $0.hasPrefix("/") }.map(String.init)
    }
}
